package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/placed-dev/placed/controller"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/peer"
	"github.com/placed-dev/placed/transport"
)

// host is a host of the books without an agent: it has a certificate of its own,
// registers itself and its workloads, and reports to every voter as an agent
// would, over its own connections.
type host struct {
	id        fleet.HostID
	workloads int
	net       *transport.Transport
	calls     *peer.Client
	seq       uint64
}

func (p *placed) newHost(n, workloads int) (*host, error) {
	h := &host{id: fleet.HostID(fmt.Sprintf("00000000-0000-4000-9000-%012d", n)), workloads: workloads}
	dir := filepath.Join(p.dir, "hosts", string(h.id))
	if err := p.certificate(transport.RoleHost, h.id, dir); err != nil {
		return nil, err
	}
	var err error
	h.net, err = transport.New(transport.Config{CAFile: filepath.Join(p.dir, "ca", "ca.pem"), CertFile: filepath.Join(dir, "host.pem"), KeyFile: filepath.Join(dir, "host.key"),
		LocalIP: fmt.Sprintf("127.1.%d.%d", n/250, 1+n%250), HandshakeTimeout: 20 * time.Second})
	if err != nil {
		return nil, err
	}
	h.calls = peer.NewClient(peer.ClientConfig{Dial: func(ctx context.Context, addr string, want fleet.HostID) (net.Conn, error) {
		return h.net.Dial(ctx, addr, want, transport.RPC)
	}})
	return h, nil
}

func (h *host) close() {
	h.calls.Close()
	h.net.Close()
}

// proposal is the body of an agent's call "propose".
type proposal struct {
	Data []byte `json:"data"`
}

func (h *host) propose(ctx context.Context, voter peer.Address, ops ...fsm.Operation) error {
	now := time.Now()
	data, err := fsm.Encode(fsm.Header{ID: fmt.Sprintf("%s-%d", h.id, now.UnixNano()), Proposer: h.id, At: now, LoadAt: now}, ops...)
	if err != nil {
		return err
	}
	result, err := peer.Call[proposal, fsm.Result](ctx, h.calls, voter, "propose", proposal{Data: data})
	if err != nil {
		return err
	}
	return result.Refused()
}

// register books hosts up to so many, with so many workloads each.
func (p *placed) register(ctx context.Context, hosts, workloads int) error {
	leader, err := p.leader(ctx)
	if err != nil {
		return err
	}
	voter := peer.Address{ID: p.ids[leader], Addr: p.rpc[leader]}
	first := len(p.hosts)
	var group errgroup.Group
	group.SetLimit(16)
	var mu sync.Mutex
	for n := first; n < hosts; n++ {
		group.Go(func() error {
			h, err := p.newHost(n, workloads)
			if err != nil {
				return err
			}
			mu.Lock()
			p.hosts = append(p.hosts, h)
			mu.Unlock()
			var booked []fleet.Workload
			for k := range workloads {
				booked = append(booked, fleet.Workload{ID: h.workload(k), Driver: "bench", Owner: h.id, Reservation: fleet.Vector{CPU: 500, Memory: 1 << 30}})
			}
			return h.propose(ctx, voter,
				fsm.RegisterHost{Host: fleet.Host{ID: h.id, Name: fmt.Sprintf("b%d", n), Zone: fmt.Sprintf("z%d", n%8), Address: "127.0.0.1:1",
					Capacity: fleet.Vector{CPU: 1 << 40, Memory: 1 << 50, Net: fleet.Unknown, Disk: fleet.Unknown}}},
				fsm.RegisterWorkloads{Host: h.id, Workloads: booked})
		})
	}
	return group.Wait()
}

func (h *host) workload(k int) fleet.WorkloadID {
	return fleet.WorkloadID(fmt.Sprintf("%s-w%d", h.id, k))
}

// report sends what an agent sends every five seconds.
func (h *host) report(ctx context.Context, voter peer.Address, now time.Time) error {
	r := controller.Report{Host: h.id, Boot: "bench", Seq: h.seq, At: now, Usage: fleet.Vector{CPU: 4000, Memory: 8 << 30}, Bandwidth: 1 << 30}
	for k := range h.workloads {
		r.Workloads = append(r.Workloads, controller.WorkloadReport{ID: h.workload(k), Usage: fleet.Vector{CPU: 400, Memory: 1 << 29}, Size: 1 << 30, WriteRate: 1 << 20, WorkingSet: 1 << 28})
	}
	_, err := peer.Call[controller.Report, controller.Ack](ctx, h.calls, voter, "report", r)
	return err
}

// reporting lets every host report to every voter each five seconds, spread
// evenly, until ctx ends.
func (p *placed) reporting(ctx context.Context, sent, failed *atomic.Int64) error {
	const every = 5 * time.Second
	begin := time.Now()
	var group errgroup.Group
	for i, h := range p.hosts {
		group.Go(func() error {
			next := begin.Add(every * time.Duration(i) / time.Duration(len(p.hosts)))
			for {
				select {
				case <-ctx.Done():
					return nil
				case <-time.After(time.Until(next)):
				}
				h.seq++
				for k := range p.ids {
					call, cancel := context.WithTimeout(ctx, every)
					err := h.report(call, peer.Address{ID: p.ids[k], Addr: p.rpc[k]}, time.Now())
					cancel()
					switch {
					case err == nil:
						sent.Add(1)
					case !errors.Is(err, context.Canceled):
						failed.Add(1)
					}
				}
				next = next.Add(every)
			}
		})
	}
	return group.Wait()
}
