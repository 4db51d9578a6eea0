package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/placed-dev/placed/api"
)

// AgentConfig of the agents, the same for every host.
type AgentConfig struct {
	// Binary is a placed with the libvirt driver.
	Binary string
	// Automation is what a new cluster begins with.
	Automation string
	// Options of the libvirt driver.
	Options map[string]string
	// Cores and Memory are each host's capacity: hosts on one machine would all
	// show the same.
	Cores  float64
	Memory string
	// Sample, Report and Pass are the paces of the agents' loops.
	Sample, Report, Pass time.Duration
	// Policy is what stands in the policy block beside the automation, More what
	// stands behind everything else in a host's configuration.
	Policy string
	More   func(*Host) string
}

func (c AgentConfig) withDefaults() AgentConfig {
	set := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	set(&c.Sample, 2*time.Second)
	set(&c.Report, 2*time.Second)
	set(&c.Pass, 5*time.Second)
	c.Automation, c.Memory = cmp.Or(c.Automation, "observe"), cmp.Or(c.Memory, "2GiB")
	c.Cores, c.Policy = cmp.Or(c.Cores, 4), cmp.Or(c.Policy, "moves_per_pass = 2")
	if c.More == nil {
		c.More = func(*Host) string { return "" }
	}
	return c
}

const (
	portAgent  = 4100
	portGossip = 4101
	portAPI    = 4102
)

// PrepareAgents makes certificates, keys and configurations of every host.
func (l *Lab) PrepareAgents(ctx context.Context, cfg AgentConfig) error {
	cfg = cfg.withDefaults()
	ca := filepath.Join(l.cfg.Dir, "ca")
	if err := os.RemoveAll(ca); err != nil {
		return err
	}
	if err := run(ctx, cfg.Binary, "tls", "ca", "create", "--cluster", "lab", "--dir", ca); err != nil {
		return err
	}
	key := strings.Repeat("cGxhY2VkLWxhYi1n", 2) + "b3NzaXAtMTI=" // 32 bytes; the lab's networks are its own
	for _, h := range l.Hosts {
		tls := h.Path("/tls")
		if err := run(ctx, cfg.Binary, "tls", "cert", "create", "--ca", ca, "--id", h.UUID(), "--role", "voter", "--address", h.Address, "--out", tls); err != nil {
			return err
		}
		if err := os.WriteFile(h.Path("/placed.hcl"), []byte(l.agentFile(h, cfg, key)), 0o600); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(l.cfg.Dir, "binary"), []byte(cfg.Binary), 0o644)
}

func (l *Lab) agentFile(h *Host, cfg AgentConfig, key string) string {
	var join, servers []string
	for _, other := range l.Hosts {
		join = append(join, fmt.Sprintf("%q", fmt.Sprintf("%s:%d", other.Address, portGossip)))
		servers = append(servers, fmt.Sprintf("%q", fmt.Sprintf("%s@%s:%d", other.UUID(), other.Address, portAgent)))
	}
	// All hosts of a lab are on the same guest network, and its shared directory
	// is a local one, which libvirt cannot know.
	all := map[string]string{"segments": "guests=lab", "unsafe": "true"}
	maps.Copy(all, cfg.Options)
	options := ""
	for _, k := range slices.Sorted(maps.Keys(all)) {
		options += fmt.Sprintf("    %s = %q\n", k, all[k])
	}
	return fmt.Sprintf(`cluster {
  id      = "lab"
  join    = [%s]
  servers = [%s]
}
node {
  id        = %q
  name      = %q
  zone      = "lab"
  data_dir  = %q
  log_level = "debug"
}
server { enabled = true }
rpc { bind = "%s:%d" }
gossip {
  bind    = "%s:%d"
  keyring = [%q]
  preset  = "local"
}
api { bind = "127.0.0.1:%d" }
tls {
  ca   = %q
  cert = %q
  key  = %q
}
capacity {
  cpu    = %g
  memory = %q
}
reserve {
  cpu    = 0
  memory = "0B"
}
driver "libvirt" {
  options = {
%s  }
}
intervals {
  sample = %q
  report = %q
  pass   = %q
}
policy {
  automation = %q
  %s
}
%s`, strings.Join(join, ", "), strings.Join(servers, ", "), h.UUID(), h.Name, h.Path("/data"), h.Address, portAgent, h.Address, portGossip, key,
		portAPI, filepath.Join(l.cfg.Dir, "ca/ca.pem"), h.certificate(".pem"), h.certificate("-key.pem"), cfg.Cores, cfg.Memory, options,
		cfg.Sample.String(), cfg.Report.String(), cfg.Pass.String(), cfg.Automation, cfg.Policy, cfg.More(h))
}

// certificate returns a file that the command line tool has written.
func (h *Host) certificate(suffix string) string {
	return h.Path("/tls/voter-" + h.UUID() + suffix)
}

// StartAgent starts the host's agent; StartAgents all of them, and waits until
// the cluster has a leader and every host has reported.
func (h *Host) StartAgent() error {
	binary, err := os.ReadFile(filepath.Join(h.lab.cfg.Dir, "binary"))
	if err != nil {
		return fmt.Errorf("agents are not prepared: %w", err)
	}
	_, err = h.Spawn("agent", string(binary), "agent", "--config", h.Path("/placed.hcl"))
	return err
}

// agentWord is in the command line of every agent of the host, and of nothing
// else.
func (h *Host) agentWord() string { return "agent --config " + h.Path("/placed.hcl") }

// KillAgent ends the agent as a crash would; its guests live on.
func (h *Host) KillAgent() error {
	n, err := h.Signal(h.agentWord(), unix.SIGKILL)
	if err == nil && n == 0 {
		err = fmt.Errorf("no agent runs on %s", h.Name)
	}
	return err
}

// StopAgent asks the agent to end, and waits for it.
func (h *Host) StopAgent(ctx context.Context) error {
	if _, err := h.Signal(h.agentWord(), unix.SIGTERM); err != nil {
		return err
	}
	return poll(ctx, patience, "the end of the agent of "+h.Name, func() error {
		pids, err := h.Pids(h.agentWord())
		if err == nil && len(pids) > 0 {
			err = fmt.Errorf("processes %v", pids)
		}
		return err
	})
}

// StartAgents starts every agent.
func (l *Lab) StartAgents(ctx context.Context) error {
	for _, h := range l.Hosts {
		if err := h.StartAgent(); err != nil {
			return err
		}
	}
	return l.AwaitAgents(ctx)
}

// AwaitAgents waits for a leader and living hosts.
func (l *Lab) AwaitAgents(ctx context.Context) error {
	for _, h := range l.Hosts {
		c, err := h.API()
		if err != nil {
			return err
		}
		err = poll(ctx, patience, "the agent of "+h.Name, func() error {
			s, _, err := c.Status(ctx, api.QueryOptions{})
			switch {
			case err != nil:
				return err
			case s.Leader == nil:
				return errors.New("no leader")
			case s.HostsAlive != len(l.Hosts):
				return fmt.Errorf("%d of %d hosts alive", s.HostsAlive, len(l.Hosts))
			}
			return nil
		})
		c.Close()
		if err != nil {
			text, _ := os.ReadFile(h.Path("/agent.log"))
			return fmt.Errorf("%w\n%s", err, tail(text))
		}
	}
	return nil
}

// Client is an API client of one host's agent, through its namespace.
type Client struct {
	*api.Client
	listener net.Listener
	wg       sync.WaitGroup
}

// API returns a client of the host's agent. Close it.
func (h *Host) API() (*Client, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &Client{listener: listener}
	c.wg.Go(func() { c.serve(h.namespace) })
	c.Client, err = api.New(api.Config{Address: listener.Addr().String(), Getenv: func(string) string { return "" }})
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return c, nil
}

// serve passes connections on into the host's namespace, where the API listens on
// loopback only.
func (c *Client) serve(namespace string) {
	for {
		local, err := c.listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer local.Close()
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			remote, err := Dial(ctx, namespace, "tcp4", fmt.Sprintf("127.0.0.1:%d", portAPI))
			if err != nil {
				return
			}
			defer remote.Close()
			go func() { _, _ = io.Copy(remote, local); _ = remote.Close() }()
			_, _ = io.Copy(local, remote)
		}()
	}
}

// Close ends the client.
func (c *Client) Close() {
	c.Client.Close()
	_ = c.listener.Close()
	c.wg.Wait()
}
