package traffic

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// entry is one row of the route table with its listener. Fields but gate are
// guarded by Proxy.mu and changed only under Proxy.table.
type entry struct {
	gate     *gate
	port     int
	listener net.Listener // nil when port is 0 or cannot be opened
	problem  string
}

func (e *entry) close() {
	if e.listener != nil {
		_ = e.listener.Close()
		e.listener = nil
	}
}

// Problem is what keeps one route from being in force.
type Problem struct {
	Workload string `json:"workload"`
	Message  string `json:"message"`
}

// setRoutes makes the table the given one, as far as it may.
func (p *Proxy) setRoutes(ctx context.Context, routes []Route) []Problem {
	p.table.Lock()
	defer p.table.Unlock()
	var problems []Problem
	wanted := map[string]bool{}
	for _, r := range routes {
		wanted[r.Workload] = true
		if err := p.put(ctx, r); err != nil {
			problems = append(problems, Problem{Workload: r.Workload, Message: err.Error()})
		}
	}
	for _, workload := range p.workloads() {
		if wanted[workload] {
			continue
		}
		if err := p.drop(workload); err != nil {
			problems = append(problems, Problem{Workload: workload, Message: err.Error()})
		}
	}
	return problems
}

// put adds or replaces one route and opens its port. The caller holds table.
func (p *Proxy) put(ctx context.Context, r Route) error {
	if err := r.Validate(p.peerAddress()); err != nil {
		return err
	}
	e := p.entry(r.Workload)
	if e == nil {
		e = &entry{gate: newGate(r, p.limiter), port: r.Port}
		p.mu.Lock()
		p.routes[r.Workload] = e
		close(p.added)
		p.added = make(chan struct{})
		p.mu.Unlock()
	} else if err := e.gate.update(r); err != nil {
		p.count.staleRoutes.Add(1)
		return err
	}
	if e.port != r.Port {
		p.mu.Lock()
		e.close()
		e.port = r.Port
		p.mu.Unlock()
	}
	return p.listen(ctx, e)
}

func (p *Proxy) drop(workload string) error {
	e := p.entry(workload)
	if !e.gate.remove() {
		return fmt.Errorf("route %s: it is held and stays, although the table does not name it: resume or switch it first", workload)
	}
	p.mu.Lock()
	e.close()
	delete(p.routes, workload)
	p.mu.Unlock()
	p.closeConns(e.gate)
	return nil
}

// listen opens the port of an entry that has none. The caller holds table.
func (p *Proxy) listen(ctx context.Context, e *entry) error {
	if e.port == 0 || e.listener != nil {
		return nil
	}
	var l net.Listener
	err := p.portTaken(e)
	if err == nil {
		l, err = net.Listen("tcp", net.JoinHostPort(p.cfg.Address, strconv.Itoa(e.port)))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		err = fmt.Errorf("route %s: clients cannot connect here: %w: free the port; it is tried again every second", e.gate.current().Workload, err)
		if e.problem != err.Error() {
			e.problem = err.Error()
			p.logger.Error("cannot open a workload's port", "workload", e.gate.current().Workload, "error", err)
		}
		return err
	}
	if ctx.Err() != nil {
		return errors.Join(ctx.Err(), l.Close())
	}
	e.listener, e.problem = l, ""
	g := e.gate
	p.spawn(func() {
		p.accept(ctx, l, g, func(c net.Conn) { p.serve(ctx, c, newLines(c, MaxLine), g, forward{}) })
	})
	return nil
}

// portTaken names the other route on the same port, which the kernel could not.
func (p *Proxy) portTaken(e *entry) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for workload, other := range p.routes {
		if other != e && other.port == e.port && other.listener != nil {
			return fmt.Errorf("port %d is the port of workload %s", e.port, workload)
		}
	}
	return nil
}

func (p *Proxy) retryListeners(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		p.table.Lock()
		for _, workload := range p.workloads() {
			_ = p.listen(ctx, p.entry(workload)) // reported in Status and logged
		}
		p.table.Unlock()
	}
}

func (p *Proxy) entry(workload string) *entry {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.routes[workload]
}

// workloads in the table, sorted.
func (p *Proxy) workloads() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	names := make([]string, 0, len(p.routes))
	for workload := range p.routes {
		names = append(names, workload)
	}
	slices.Sort(names)
	return names
}

// known returns the gate of a workload in the table.
func (p *Proxy) known(workload string) (*gate, error) {
	if e := p.entry(workload); e != nil {
		return e.gate, nil
	}
	return nil, fmt.Errorf("workload %s is not in the route table of this proxy (it has %s): set the routes first", workload, strings.Join(p.workloads(), ", "))
}

// SwitchResult is what a switch of owner cost the clients.
type SwitchResult struct {
	// Downtime runs from the last request forwarded before the hold (from the
	// hold itself when the last request lay more than a second back) to the
	// first answer through the new route, on the proxy's monotonic clock.
	Downtime time.Duration `json:"downtime_ns"`
	// Probed: the proxy's own PING was answered through the new route.
	Probed bool `json:"probed"`
}

// switchRoute changes the route, releases the clients and proves the new route
// with a probe of its own, so that there is a figure also without clients.
func (p *Proxy) switchRoute(run, ctx context.Context, r Route) (SwitchResult, error) {
	if err := r.Validate(p.peerAddress()); err != nil {
		return SwitchResult{}, err
	}
	g, err := p.known(r.Workload)
	if err != nil {
		return SwitchResult{}, err
	}
	stopped, err := g.change(r, time.Now())
	if err != nil {
		p.count.staleRoutes.Add(1)
		return SwitchResult{}, err
	}
	probe := make(chan error, 1)
	p.spawn(func() { probe <- p.probe(ctx, g) })
	answered, err := g.waitAnswer(ctx)
	probeErr := <-probe
	if err != nil {
		return SwitchResult{}, fmt.Errorf("switch %s: the route was changed and clients are released, but nothing has answered through it: %w", r.Workload, errors.Join(err, probeErr))
	}
	// The port may differ; a client of the old one keeps its connection.
	p.table.Lock()
	defer p.table.Unlock()
	if err := p.put(run, r); err != nil {
		p.logger.Warn("route is switched, but not all of it is in force", "workload", r.Workload, "error", err)
	}
	return SwitchResult{Downtime: answered.Sub(stopped), Probed: probeErr == nil}, nil
}

// probeLine is a request that every workload answers without a change of state.
const probeLine = "PING\n"

func (p *Proxy) probe(ctx context.Context, g *gate) error {
	up := &upstream{workload: g.current().Workload}
	defer up.close()
	_, err := p.exchange(ctx, g, up, admission{}, []byte(probeLine))
	return err
}
