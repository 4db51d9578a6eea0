package daemon

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/migrator"
	"github.com/placed-dev/placed/traffic"
)

// proxy steers the holding proxy of this host: it keeps the proxy's table equal
// to the books and the inventory, and obeys the migrator around a cutover. The
// proxy is a process of its own and outlives this agent.
type proxy struct {
	ensure    traffic.EnsureConfig
	self      fleet.HostID
	books     *books
	inventory *inventory
	// moved is told of every workload that came here by a migration.
	moved func(fleet.WorkloadID)
	log   hclog.Logger
	wake  chan struct{}
	// ready is closed once the books have caught up and the inventory has
	// been taken. The proxy of an agent that died goes on with its table until
	// then: an agent that knows nothing yet must not empty it.
	ready chan struct{}

	mu      sync.Mutex // guards everything below
	control *traffic.Control
	// adopted are routes of workloads that run here although the books, as
	// seen from here, do not say so yet.
	adopted map[fleet.WorkloadID]traffic.Route
	told    string // problems already logged
}

var _ migrator.Traffic = (*proxy)(nil)

// routesEvery is how often the table is compared even when nothing changed.
const routesEvery = 2 * time.Second

// Run keeps the table current until ctx ends. The proxy goes on without it.
func (p *proxy) Run(ctx context.Context) error {
	var seen uint64
	var last time.Time
	for due := true; ; {
		changed := p.books.replica.Changed()
		// Most entries move nobody, and a table of ten thousand is not free.
		if owners := p.ownersChanged(); due || owners != seen || time.Since(last) >= routesEvery {
			seen, last = owners, time.Now()
			if err := p.sync(ctx); err != nil && ctx.Err() == nil {
				seen = 0
				p.log.Warn("the traffic proxy cannot be steered; it is tried again", "error", err)
			}
		}
		due = true
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
			due = false
			// Several entries come together: one table for all of them.
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(20 * time.Millisecond):
			}
		case <-p.wake:
		case <-time.After(routesEvery):
		}
	}
}

func (p *proxy) ownersChanged() (index uint64) {
	p.books.replica.Read(func(s *fsm.State) { index = s.OwnersChanged() })
	return index
}

// controlled returns the proxy's control and starts the proxy if there is none.
func (p *proxy) controlled(ctx context.Context) (*traffic.Control, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.control != nil {
		return p.control, nil
	}
	control, err := traffic.Ensure(ctx, p.ensure)
	if err != nil {
		return nil, err
	}
	p.control = control
	return control, nil
}

// lost forgets a control whose proxy is gone; the next call starts a new one.
func (p *proxy) lost(err error) bool {
	if !errors.Is(err, traffic.ErrRestarted) && !errors.Is(err, traffic.ErrNoProxy) {
		return false
	}
	p.mu.Lock()
	p.control = nil
	p.mu.Unlock()
	return true
}

// sync sets the full table, once this agent knows what belongs into it.
func (p *proxy) sync(ctx context.Context) error {
	select {
	case <-p.ready:
	default:
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	control, err := p.controlled(ctx)
	if err != nil {
		return err
	}
	problems, err := control.SetRoutes(ctx, p.routes())
	if err != nil {
		p.lost(err)
		return err
	}
	var text []string
	for _, problem := range problems {
		text = append(text, fmt.Sprint(problem))
	}
	told := strings.Join(text, "; ")
	p.mu.Lock()
	if told != "" && told != p.told {
		p.log.Warn("some routes are not in force", "problems", told)
	}
	p.told = told
	p.mu.Unlock()
	return nil
}

// routes is the table as the books and this host's inventory have it.
func (p *proxy) routes() []traffic.Route {
	var workloads []fleet.Workload
	hosts := map[fleet.HostID]fleet.Host{}
	p.books.Read(func(s *fsm.State) {
		workloads = s.Workloads()
		for _, h := range s.Hosts() {
			hosts[h.ID] = h
		}
	})
	backends := map[fleet.WorkloadID]string{}
	for _, f := range p.inventory.last() {
		if f.Backend != "" && f.State != driver.Incoming {
			backends[f.Spec.ID] = f.Backend
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []traffic.Route
	for _, w := range workloads {
		if w.Port == 0 {
			continue
		}
		route := traffic.Route{Workload: string(w.ID), Port: int(w.Port), Epoch: w.Epoch}
		if own, ok := p.adopted[w.ID]; ok {
			if own.Epoch > w.Epoch {
				out = append(out, own)
				continue
			}
			if w.Owner == p.self && own.Epoch == w.Epoch {
				route.Local, route.Backend = true, own.Backend
				if fresh := backends[w.ID]; fresh != "" {
					route.Backend = fresh
				}
				out = append(out, route)
				continue
			}
			delete(p.adopted, w.ID) // it has moved on
		}
		switch {
		case w.Owner == p.self && backends[w.ID] != "":
			route.Local, route.Backend = true, backends[w.ID]
		case w.Owner == p.self:
			continue // not running yet: clients wait for the port
		case hosts[w.Owner].Traffic == "":
			continue
		default:
			route.Peer = hosts[w.Owner].Traffic
		}
		out = append(out, route)
	}
	return out
}

// nudge makes Run compare the table now.
func (p *proxy) nudge() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// do runs one call on the proxy; when the proxy was restarted meanwhile, it gets
// its table back first and the call is made again.
func (p *proxy) do(ctx context.Context, call func(*traffic.Control) error) error {
	for attempt := 0; ; attempt++ {
		control, err := p.controlled(ctx)
		if err != nil {
			return err
		}
		err = call(control)
		if err == nil || attempt > 0 || !p.lost(err) {
			return err
		}
		if err := p.sync(ctx); err != nil {
			return err
		}
	}
}

// Hold stops forwarding and returns when nothing is in flight.
func (p *proxy) Hold(ctx context.Context, id fleet.WorkloadID) error {
	if !p.served(id) {
		return nil
	}
	return p.do(ctx, func(c *traffic.Control) error { return c.Hold(ctx, string(id)) })
}

// Resume releases held clients to the copy here.
func (p *proxy) Resume(ctx context.Context, id fleet.WorkloadID) error {
	if !p.served(id) {
		return nil
	}
	return p.do(ctx, func(c *traffic.Control) error { return c.Resume(ctx, string(id)) })
}

// Switch releases held clients to the copy at the destination.
func (p *proxy) Switch(ctx context.Context, id fleet.WorkloadID, to fleet.Host) (time.Duration, error) {
	w, ok := p.workload(id)
	if !ok || w.Port == 0 {
		return 0, nil
	}
	epoch := w.Epoch
	if w.Owner != to.ID {
		epoch++ // this host has not applied the commit yet
	}
	route := traffic.Route{Workload: string(id), Port: int(w.Port), Peer: to.Traffic, Epoch: epoch}
	p.mu.Lock()
	delete(p.adopted, id)
	p.mu.Unlock()
	var result traffic.SwitchResult
	err := p.do(ctx, func(c *traffic.Control) (err error) {
		result, err = c.Switch(ctx, string(id), route)
		return err
	})
	return result.Downtime, err
}

// Adopt serves the clients of a workload that a migration has brought here.
func (p *proxy) Adopt(ctx context.Context, found driver.Found) error {
	id := found.Spec.ID
	if p.moved != nil {
		p.moved(id)
	}
	w, ok := p.workload(id)
	if !ok || w.Port == 0 {
		return nil
	}
	epoch := w.Epoch
	if w.Owner != p.self {
		epoch++
	}
	p.mu.Lock()
	p.adopted[id] = traffic.Route{Workload: string(id), Port: int(w.Port), Local: true, Backend: found.Backend, Epoch: epoch}
	p.mu.Unlock()
	return p.sync(ctx)
}

func (p *proxy) workload(id fleet.WorkloadID) (w fleet.Workload, ok bool) {
	p.books.Read(func(s *fsm.State) { w, ok = s.Workload(id) })
	return w, ok
}

func (p *proxy) served(id fleet.WorkloadID) bool {
	w, ok := p.workload(id)
	return ok && w.Port != 0
}

// noTraffic is for hosts without a proxy: their workloads are reached otherwise.
type noTraffic struct{ moved func(fleet.WorkloadID) }

func (noTraffic) Hold(context.Context, fleet.WorkloadID) error   { return nil }
func (noTraffic) Resume(context.Context, fleet.WorkloadID) error { return nil }
func (noTraffic) Switch(context.Context, fleet.WorkloadID, fleet.Host) (time.Duration, error) {
	return 0, nil
}
func (n noTraffic) Adopt(_ context.Context, found driver.Found) error {
	if n.moved != nil {
		n.moved(found.Spec.ID)
	}
	return nil
}
