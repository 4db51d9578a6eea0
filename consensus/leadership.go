package consensus

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// leaderWatch holds the newest state of leadership. Every waiter sees the
// newest state, none is skipped for ever: a term that begins and ends unseen is
// noticed by its number.
type leaderWatch struct {
	mu      sync.Mutex
	leading bool
	term    uint64
	changed chan struct{} // closed and replaced at every change
}

func newLeaderWatch() *leaderWatch { return &leaderWatch{changed: make(chan struct{})} }

func (w *leaderWatch) set(leading bool, term uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leading, w.term = leading, term
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *leaderWatch) state() (leading bool, term uint64, changed <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.leading, w.term, w.changed
}

// waitGained returns the term once this host leads in a term other than done.
func (w *leaderWatch) waitGained(ctx context.Context, done uint64) (uint64, error) {
	for {
		leading, term, changed := w.state()
		if leading && term != done {
			return term, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// waitLost returns once the term is over or ctx has ended.
func (w *leaderWatch) waitLost(ctx context.Context, term uint64) error {
	for {
		leading, now, changed := w.state()
		if !leading || now != term {
			return ErrLeadershipLost
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Leadership calls lead once per term in which this host leads, after a
// barrier: the Replica then shows everything that earlier leaders did. The
// context of the call ends with the term (cause ErrLeadershipLost); lead is not
// called again before it has returned. If lead fails while it still leads,
// leadership is given away, because another host may do better. Leadership
// blocks until ctx ends and returns its error.
func (n *Node) Leadership(ctx context.Context, lead func(ctx context.Context) error) error {
	var done uint64
	for {
		term, err := n.watch.waitGained(ctx, done)
		if err != nil {
			return err
		}
		done = term
		err = n.leadTerm(ctx, term, lead)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			continue
		}
		n.logger.Error("leader's work failed, giving leadership away", "term", term, "error", err)
		if err := n.TransferLeadership(ctx, ""); err != nil && n.IsLeader() {
			n.logger.Warn("nobody took leadership over, trying again", "term", term, "error", err)
			if !pause(ctx, n.cfg.Timeouts.Election) {
				return ctx.Err()
			}
			done = 0
		}
	}
}

// leadTerm returns nil when the term is over, or lead's error if it failed
// before.
func (n *Node) leadTerm(ctx context.Context, term uint64, lead func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		cancel(n.watch.waitLost(ctx, term))
	}()
	defer func() { <-watched }()
	defer cancel(nil)

	bounded, stop := n.bounded(ctx)
	err := n.ensureBarrier(bounded, term)
	stop()
	if err == nil {
		err = lead(ctx)
	}
	if errors.Is(context.Cause(ctx), ErrLeadershipLost) {
		return nil
	}
	return err
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Leader returns the host id and raft address of the leader as this host knows
// them; empty when it knows none.
func (n *Node) Leader() (id, address string) {
	r := n.raft.Load()
	if r == nil {
		return "", ""
	}
	a, i := r.LeaderWithID()
	return string(i), string(a)
}

// IsLeader says whether this host believes that it leads. Only Linearizable
// proves it.
func (n *Node) IsLeader() bool {
	r := n.raft.Load()
	return r != nil && r.State() == raft.Leader
}

// Term is the current term, 0 before Run.
func (n *Node) Term() uint64 {
	if r := n.raft.Load(); r != nil {
		return r.CurrentTerm()
	}
	return 0
}

// LastContact is how long ago this host heard from a leader: the age of its
// state. It is 0 on the leader; false when it never heard from one.
func (n *Node) LastContact() (time.Duration, bool) {
	r := n.raft.Load()
	if r == nil {
		return 0, false
	}
	if r.State() == raft.Leader {
		return 0, true
	}
	last := r.LastContact()
	if last.IsZero() {
		return 0, false
	}
	return time.Since(last), true
}
