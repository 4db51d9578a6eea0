package workload

import (
	"context"
	"sync"
	"sync/atomic"
)

// gate is what every writer of the state passes: shut returns once no writer is
// inside, and none enters until open.
type gate struct {
	// shutting tells writers inside to leave soon; read without the lock.
	shutting atomic.Bool

	mu      sync.Mutex
	inside  int
	opened  chan struct{} // closed when the gate is open
	drained chan struct{} // closed when the last writer has left a shut gate
}

// newGate returns a gate that is shut.
func newGate() *gate {
	g := &gate{opened: make(chan struct{})}
	g.shutting.Store(true)
	return g
}

// enter waits until the gate is open.
func (g *gate) enter(ctx context.Context) error {
	for {
		g.mu.Lock()
		opened := g.opened
		if !g.shutting.Load() {
			g.inside++
			g.mu.Unlock()
			return nil
		}
		g.mu.Unlock()
		select {
		case <-opened:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if g.inside == 0 && g.drained != nil {
		close(g.drained)
		g.drained = nil
	}
}

// open lets the writers in.
func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shutting.Load() {
		g.shutting.Store(false)
		close(g.opened)
	}
}

// shut returns when nobody is inside, or opens the gate again and fails when
// ctx ends first.
func (g *gate) shut(ctx context.Context) error {
	g.mu.Lock()
	if !g.shutting.Load() {
		g.shutting.Store(true)
		g.opened = make(chan struct{})
	}
	if g.inside == 0 {
		g.mu.Unlock()
		return nil
	}
	if g.drained == nil {
		g.drained = make(chan struct{})
	}
	drained := g.drained
	g.mu.Unlock()
	select {
	case <-drained:
		return nil
	case <-ctx.Done():
		g.open()
		return ctx.Err()
	}
}
