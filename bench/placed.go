package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/transport"
)

const clusterID = "bench"

// placed is a cluster of three agents with the default intervals and time-outs,
// and the books of a fleet of hosts that exist in the books only.
type placed struct {
	dir     string
	binary  string
	ca      transport.CA
	members []*process
	ids     []fleet.HostID
	rpc     []string
	apis    []string
	gossip  []string
	key     string

	hosts []*host // registered hosts without an agent
	names atomic.Uint64

	mu     sync.Mutex
	leases []string // granted and not yet released
}

func startPlaced(ctx context.Context, s settings) (*placed, error) {
	p := &placed{dir: filepath.Join(s.dir, "placed"), binary: s.placed}
	if err := p.prepare(); err != nil {
		return nil, err
	}
	for i := range p.ids {
		config := filepath.Join(p.dir, fmt.Sprintf("p%d", i), "config.hcl")
		if err := os.WriteFile(config, []byte(p.configuration(i, "")), 0o600); err != nil {
			return nil, err
		}
		m := newProcess(p.dir, fmt.Sprintf("p%d", i), p.binary, "agent", "--config", config)
		if err := m.start(); err != nil {
			p.stop()
			return nil, err
		}
		p.members = append(p.members, m)
	}
	err := until(ctx, 30*time.Second, "three agents are ready; their logs are in "+p.dir, func(ctx context.Context) error { return p.ready(ctx) })
	if err == nil {
		err = p.register(ctx, 300, 0)
	}
	if err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

// prepare makes what an operator would: CA, certificates, gossip key.
func (p *placed) prepare() (err error) {
	if p.ca, err = transport.NewCA(clusterID); err != nil {
		return err
	}
	if err := p.ca.Write(filepath.Join(p.dir, "ca")); err != nil {
		return err
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	p.key = base64.StdEncoding.EncodeToString(key)
	ports, err := freePorts(9)
	if err != nil {
		return err
	}
	for i := range 3 {
		id := fleet.HostID(fmt.Sprintf("00000000-0000-4000-8000-00000000000%d", i+1))
		p.ids = append(p.ids, id)
		p.rpc = append(p.rpc, fmt.Sprintf("127.0.0.1:%d", ports[3*i]))
		p.gossip = append(p.gossip, fmt.Sprintf("127.0.0.1:%d", ports[3*i+1]))
		p.apis = append(p.apis, fmt.Sprintf("127.0.0.1:%d", ports[3*i+2]))
		if err := p.certificate(transport.RoleVoter, id, filepath.Join(p.dir, fmt.Sprintf("p%d", i))); err != nil {
			return err
		}
	}
	return nil
}

func (p *placed) certificate(role string, id fleet.HostID, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	cert, key, err := p.ca.Issue(role, id, []string{"127.0.0.1"}, 24*time.Hour)
	if err != nil {
		return err
	}
	return transport.WritePair(filepath.Join(dir, "host.pem"), filepath.Join(dir, "host.key"), cert, key)
}

func (p *placed) configuration(i int, server string) string {
	var servers, join []string
	for k, id := range p.ids {
		servers = append(servers, fmt.Sprintf("%q", string(id)+"@"+p.rpc[k]))
		join = append(join, fmt.Sprintf("%q", p.gossip[k]))
	}
	dir := filepath.Join(p.dir, fmt.Sprintf("p%d", i))
	return fmt.Sprintf(`cluster {
  id      = %q
  servers = [%s]
  join    = [%s]
}
node {
  id        = %q
  name      = "p%d"
  data_dir  = %q
  log_level = "info"
}
server {
  enabled = true
  %s
}
rpc { bind = %q }
# Not the machine's: its other load would count as foreign, and its agents are not
# its only processes.
capacity {
  cpu    = 64
  memory = "256GiB"
}
gossip {
  bind    = %q
  keyring = [%q]
  preset  = "local"
}
api { bind = %q }
tls {
  ca   = %q
  cert = %q
  key  = %q
}
limits { connections = 4096 }
`, clusterID, strings.Join(servers, ", "), strings.Join(join, ", "), p.ids[i], i, filepath.Join(dir, "data"), server, p.rpc[i], p.gossip[i], p.key, p.apis[i],
		filepath.Join(p.dir, "ca", "ca.pem"), filepath.Join(dir, "host.pem"), filepath.Join(dir, "host.key"))
}

func (p *placed) stop() {
	for _, h := range p.hosts {
		h.close()
	}
	for _, m := range p.members {
		m.end(syscall.SIGTERM)
	}
}

func (p *placed) client(i int) (*api.Client, error) {
	return api.New(api.Config{Address: "http://" + p.apis[i], Getenv: func(string) string { return "" }})
}

// ready: every running agent answers and names the same leader.
func (p *placed) ready(ctx context.Context) error {
	_, err := p.leader(ctx)
	return err
}

func (p *placed) leader(ctx context.Context) (int, error) {
	leader := ""
	for i, m := range p.members {
		if !m.running() {
			continue
		}
		c, err := p.client(i)
		if err != nil {
			return 0, err
		}
		status, _, err := c.Status(ctx, api.QueryOptions{})
		c.Close()
		switch {
		case err != nil:
			return 0, err
		case status.Leader == nil || leader != "" && leader != status.Leader.ID:
			return 0, errors.New("the agents name no leader together")
		case status.Voters < len(p.members):
			return 0, fmt.Errorf("%d voters are registered", status.Voters)
		}
		leader = status.Leader.ID
	}
	for i, id := range p.ids {
		if string(id) == leader && p.members[i].running() {
			return i, nil
		}
	}
	return 0, fmt.Errorf("leader %q is none of the agents", leader)
}

// reservation is one operation: a lease for a new workload on one of the hosts,
// with 128 bytes of text.
func (p *placed) reservation() api.LeaseOperation {
	n := p.names.Add(1)
	return api.LeaseOperation{Op: "reserve", Workload: fmt.Sprintf("bench-%d", n), Destination: string(p.hosts[n%uint64(len(p.hosts))].id),
		CPU: 0.001, Memory: 1 << 20, Reason: value}
}

func (p *placed) granted(batch api.LeaseBatch) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range batch.Results {
		if r.Error != nil {
			return r.Error
		}
		p.leases = append(p.leases, r.Lease)
	}
	return nil
}

// workers makes clients of the leader, by the product's own Go client.
func (p *placed) workers(ctx context.Context, operations int) (func() (worker, error), error) {
	leader, err := p.leader(ctx)
	if err != nil {
		return nil, err
	}
	return func() (worker, error) { return p.worker(leader, operations) }, nil
}

func (p *placed) worker(leader, operations int) (worker, error) {
	c, err := p.client(leader)
	if err != nil {
		return worker{}, err
	}
	work := func(ctx context.Context) error {
		batch, err := c.Reserve(ctx, p.reservation())
		if err != nil {
			return err
		}
		return p.granted(batch)
	}
	if operations > 1 {
		work = func(ctx context.Context) error {
			ops := make([]api.LeaseOperation, operations)
			for i := range ops {
				ops[i] = p.reservation()
			}
			batch, err := c.LeaseBatch(ctx, ops...)
			if err != nil {
				return err
			}
			return p.granted(batch)
		}
	}
	return worker{operations: operations, work: work, close: c.Close}, nil
}

// release gives every lease back, so that each run meets the same books. What has
// expired meanwhile is refused, which is as good.
func (p *placed) release(ctx context.Context) error {
	leader, err := p.leader(ctx)
	if err != nil {
		return err
	}
	c, err := p.client(leader)
	if err != nil {
		return err
	}
	defer c.Close()
	p.mu.Lock()
	leases := p.leases
	p.leases = nil
	p.mu.Unlock()
	for len(leases) > 0 {
		n := min(len(leases), api.MaxLeaseOperations)
		ops := make([]api.LeaseOperation, n)
		for i, id := range leases[:n] {
			ops[i] = api.LeaseOperation{Op: "release", Lease: id}
		}
		if _, err := c.LeaseBatch(ctx, ops...); err != nil {
			return err
		}
		leases = leases[n:]
	}
	return nil
}
