package traffic

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

var (
	errHeldTooLong = errors.New("held too long")
	errTooManyHeld = errors.New("too many held requests")
	errNotOwner    = errors.New("not the owner, and the table does not change")
	errRouteGone   = errors.New("route removed")
)

// gate is the place of one workload where requests pass, one by one, or wait.
type gate struct {
	limits *limiter

	mu       sync.Mutex
	route    Route
	held     bool
	gone     bool
	waiting  int
	inflight int
	changed  chan struct{} // closed and replaced when any of the above changes

	lastForward time.Time // when the last request was sent upstream
	stopped     time.Time // start of the downtime, set by hold
	holder      uint64    // counts holds: a hold that times out undoes only itself
	awaiting    bool      // a switch waits for its first answer
	answered    time.Time // first answer after the switch
}

func newGate(r Route, l *limiter) *gate {
	return &gate{route: r, limits: l, changed: make(chan struct{})}
}

// notify wakes all waiters. The caller holds mu.
func (g *gate) notify() {
	close(g.changed)
	g.changed = make(chan struct{})
}

// admission is what a request that came from another proxy knew.
type admission struct {
	forwarded bool
	epoch     uint64 // of the route it was forwarded on
}

// pass is the permission to forward one request on one route.
type pass struct{ target target }

// enter waits until a request may be forwarded. A request of another proxy that
// finds neither the owner here nor a route newer than its own waits for the
// table: it came ahead of the news, and sending it back would be a loop.
func (g *gate) enter(ctx context.Context, a admission, wait waits) (pass, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for {
		limit, reason := g.obstacle(a, wait)
		if reason == nil {
			g.inflight++
			return pass{target: g.route.target()}, nil
		}
		if g.gone {
			return pass{}, errRouteGone
		}
		if err := g.wait(ctx, reason, limit); err != nil {
			return pass{}, err
		}
	}
}

// waits are the ends of patience of one request.
type waits struct{ held, owner time.Time }

func (g *gate) obstacle(a admission, w waits) (until time.Time, reason error) {
	switch {
	case g.gone:
		return time.Time{}, errRouteGone
	case g.held:
		return w.held, errHeldTooLong
	case a.forwarded && !g.route.Local && g.route.Epoch <= a.epoch:
		return w.owner, errNotOwner
	}
	return time.Time{}, nil
}

// wait sleeps until the gate changes. The caller holds mu.
func (g *gate) wait(ctx context.Context, reason error, until time.Time) error {
	if !g.limits.take() {
		return errTooManyHeld
	}
	defer g.limits.give()
	g.waiting++
	changed := g.changed
	g.mu.Unlock()
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	var err error
	select {
	case <-changed:
	case <-timer.C:
		err = reason
	case <-ctx.Done():
		err = ctx.Err()
	}
	g.mu.Lock()
	g.waiting--
	return err
}

// sent notes that the request goes upstream now.
func (g *gate) sent(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.held {
		g.lastForward = now
	}
}

// leave ends a pass. A request that was answered on the current route proves
// that the workload is back after a switch.
func (g *gate) leave(p pass, answered bool, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inflight--
	if answered {
		g.answer(p.target, now)
	}
	if g.held && g.inflight == 0 {
		g.notify()
	}
}

// answer notes the first answer through the new route. The caller holds mu.
func (g *gate) answer(t target, now time.Time) {
	if g.awaiting && t == g.route.target() {
		g.awaiting, g.answered = false, now
		g.notify()
	}
}

// quiet bounds how far before a hold the last request still counts as the
// moment from which clients went without.
const quiet = time.Second

// hold stops new requests and returns once none is in flight. When ctx ends
// before, the workload is released again.
func (g *gate) hold(ctx context.Context, now time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gone {
		return errRouteGone
	}
	if !g.route.Local {
		return fmt.Errorf("workload %s is not owned by this host (route epoch %d leads to %s): only the owner's proxy holds", g.route.Workload, g.route.Epoch, g.route.Peer)
	}
	if !g.held {
		g.held = true
		g.holder++
		g.stopped = now
		if now.Sub(g.lastForward) < quiet {
			g.stopped = g.lastForward
		}
	}
	mine := g.holder
	for g.inflight > 0 {
		changed := g.changed
		g.mu.Unlock()
		var err error
		select {
		case <-changed:
		case <-ctx.Done():
			err = ctx.Err()
		}
		g.mu.Lock()
		if !g.held || g.holder != mine {
			return fmt.Errorf("hold %s: released by another request before it was complete", g.route.Workload)
		}
		if err != nil {
			g.held = false
			g.notify()
			return fmt.Errorf("hold %s: %d requests were still without an answer, released again: %w", g.route.Workload, g.inflight, err)
		}
	}
	return nil
}

func (g *gate) resume() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held {
		g.held = false
		g.notify()
	}
}

// update puts a newer route in; a held workload stays held.
func (g *gate) update(r Route) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.replace(r)
}

func (g *gate) replace(r Route) error {
	if r.Epoch < g.route.Epoch {
		return fmt.Errorf("route %s: epoch %d is older than %d, kept the newer one", r.Workload, r.Epoch, g.route.Epoch)
	}
	if r != g.route {
		g.route = r
		g.notify()
	}
	return nil
}

// change puts the route in and lets everything pass. It returns where the
// downtime began.
func (g *gate) change(r Route, now time.Time) (stopped time.Time, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.replace(r); err != nil {
		return time.Time{}, err
	}
	stopped = now
	if g.held {
		stopped = g.stopped
	}
	g.held, g.awaiting, g.answered = false, true, time.Time{}
	g.notify()
	return stopped, nil
}

// waitAnswer returns when the first answer came through the route.
func (g *gate) waitAnswer(ctx context.Context) (time.Time, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.awaiting {
		changed := g.changed
		g.mu.Unlock()
		var err error
		select {
		case <-changed:
		case <-ctx.Done():
			err = ctx.Err()
		}
		g.mu.Lock()
		if err != nil {
			return time.Time{}, err
		}
	}
	return g.answered, nil
}

// remove ends the gate, unless it is held: a workload that may be moving is
// never dropped because a table forgot it.
func (g *gate) remove() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held {
		return false
	}
	g.gone = true
	g.notify()
	return true
}

// news returns a channel that is closed at the next change.
func (g *gate) news() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.changed
}

func (g *gate) current() Route {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.route
}

// limiter bounds the waiting requests of the whole proxy.
type limiter struct {
	mu   sync.Mutex
	used int
	max  int
}

func (l *limiter) take() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.used >= l.max {
		return false
	}
	l.used++
	return true
}

func (l *limiter) give() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.used--
}
