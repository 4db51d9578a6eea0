package migrator

import (
	"context"
	"fmt"
	"sync"

	"github.com/placed-dev/placed/fleet"
)

// ledger is the books of a test: one table with the lease's arrows, shared by
// every host's view.
type ledger struct {
	mu      sync.Mutex
	hosts   map[fleet.HostID]fleet.Host
	leases  map[fleet.LeaseID]fleet.Lease
	seen    map[fleet.LeaseID]map[fleet.HostID]Seen
	changed chan struct{}
	down    bool
	next    uint64
}

func newLedger() *ledger {
	return &ledger{hosts: map[fleet.HostID]fleet.Host{}, leases: map[fleet.LeaseID]fleet.Lease{},
		seen: map[fleet.LeaseID]map[fleet.HostID]Seen{}, changed: make(chan struct{}), next: 100}
}

func (b *ledger) grant(workload fleet.WorkloadID, from, to fleet.HostID) fleet.Lease {
	return b.grantKind(fleet.LeaseMigration, workload, from, to)
}

func (b *ledger) grantKind(kind fleet.LeaseKind, workload fleet.WorkloadID, from, to fleet.HostID) fleet.Lease {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next++
	l := fleet.Lease{ID: fleet.LeaseID(fmt.Sprint("L", b.next)), Kind: kind, Workload: workload, Source: from,
		Destination: to, Type: fleet.Requested, Token: fleet.Token{Cluster: "c1", Generation: 1, Index: b.next}}
	b.put(l)
	return l
}

// promote is the leader's word, as is cancel; both say whether it was accepted.
func (b *ledger) promote(id fleet.LeaseID) bool {
	return b.standby(id, func(l *fleet.Lease) { l.Kind = fleet.LeaseMigration })
}

func (b *ledger) cancel(id fleet.LeaseID) bool {
	return b.standby(id, func(l *fleet.Lease) { l.State = fleet.Aborted })
}

func (b *ledger) standby(id fleet.LeaseID, change func(*fleet.Lease)) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.leases[id]
	if l.Kind != fleet.LeaseStandby || l.State != fleet.Transferring {
		return false
	}
	change(&l)
	b.put(l)
	return true
}

// put stores a lease; the caller holds mu.
func (b *ledger) put(l fleet.Lease) {
	b.leases[l.ID] = l
	close(b.changed)
	b.changed = make(chan struct{})
}

func (b *ledger) setDown(down bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down = down
}

func (b *ledger) lease(id fleet.LeaseID) fleet.Lease {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.leases[id]
}

func (b *ledger) expire(id fleet.LeaseID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l := b.leases[id]; l.State == fleet.Transferring || l.State == fleet.Prepared {
		l.State = fleet.Uncertain
		b.put(l)
	}
}

// view is one host's Books; every call passes the fault gate of its life.
type view struct {
	*ledger
	life *life
}

func (v view) Host(id fleet.HostID) (fleet.Host, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	h, ok := v.hosts[id]
	return h, ok
}

func (v view) Leases(context.Context) ([]fleet.Lease, error) {
	if v.life.dead() {
		return nil, errDead
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	var out []fleet.Lease
	for _, l := range v.leases {
		if l.Active() && (l.Source == v.life.host.id || l.Destination == v.life.host.id) {
			out = append(out, l)
		}
	}
	return out, nil
}

func (v view) Lease(_ context.Context, id fleet.LeaseID) (fleet.Lease, error) {
	if v.life.dead() {
		return fleet.Lease{}, errDead
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	l, ok := v.leases[id]
	if !ok {
		return l, ErrNoLease
	}
	return l, nil
}

func (v view) WaitLease(ctx context.Context, id fleet.LeaseID, ok func(fleet.Lease) bool) (fleet.Lease, error) {
	for {
		v.mu.Lock()
		l, known := v.leases[id]
		changed := v.changed
		v.mu.Unlock()
		switch {
		case v.life.dead():
			return l, errDead
		case !known:
			return l, ErrNoLease
		case ok(l):
			return l, nil
		}
		select {
		case <-changed:
		case <-v.life.died:
		case <-ctx.Done():
			return l, ctx.Err()
		}
	}
}

func (v view) Linearizable(context.Context) error {
	return v.call("linearizable", func() error { return nil })
}
func (v view) Renew(context.Context, fleet.Lease) error {
	return v.call("renew", func() error { return nil })
}

// call runs one operation between the gates; while the books are down nothing is
// applied and nobody knows.
func (v view) call(op string, apply func() error) error {
	if err := v.life.gate(op, true); err != nil {
		return err
	}
	v.mu.Lock()
	if v.down {
		v.mu.Unlock()
		return ErrUnknownOutcome
	}
	err := apply()
	v.mu.Unlock()
	if after := v.life.gate(op, false); after != nil {
		return after
	}
	return err
}

// arrow is a proposal: from any of the states in from to the state to; a lease
// that is at or past it already counts as applied.
func (v view) arrow(op string, l fleet.Lease, bySource bool, to fleet.LeaseState, done []fleet.LeaseState, from ...fleet.LeaseState) error {
	return v.change(op, l, bySource, done, from, func(l *fleet.Lease) { l.State = to })
}

func (v view) change(op string, l fleet.Lease, bySource bool, done, from []fleet.LeaseState, f func(*fleet.Lease)) error {
	return v.call(op, func() error {
		now, ok := v.leases[l.ID]
		if !ok {
			return fmt.Errorf("no lease: %w", ErrRefused)
		}
		if host := v.life.host.id; bySource && host != now.Source || !bySource && host != now.Destination {
			return fmt.Errorf("%s is not for host %s to say: %w", op, host, ErrRefused)
		}
		for _, s := range done {
			if now.State == s {
				return nil
			}
		}
		for _, s := range from {
			if now.State == s && now.Kind == fleet.LeaseStandby && (op == "prepared" || op == "commit") {
				return fmt.Errorf("%s of a standby: %w", op, ErrRefused)
			}
			if now.State == s {
				f(&now)
				v.put(now)
				return nil
			}
		}
		return fmt.Errorf("%s: lease is %s: %w", op, now.State, ErrRefused)
	})
}

type states = []fleet.LeaseState

func (v view) Begin(_ context.Context, l fleet.Lease) error {
	return v.arrow("begin", l, true, fleet.Transferring, states{fleet.Transferring}, fleet.Granted)
}

func (v view) Prepared(_ context.Context, l fleet.Lease, digest string) error {
	return v.change("prepared", l, false, states{fleet.Prepared}, states{fleet.Transferring}, func(l *fleet.Lease) {
		l.State, l.Digest = fleet.Prepared, digest
	})
}

func (v view) Commit(_ context.Context, l fleet.Lease, digest string) error {
	if now := v.lease(l.ID); now.Digest != digest {
		return fmt.Errorf("digest %q, prepared was %q: %w", digest, now.Digest, ErrRefused)
	}
	return v.arrow("commit", l, true, fleet.Committed, states{fleet.Committed, fleet.Activated, fleet.Released}, fleet.Prepared)
}

func (v view) Abort(_ context.Context, l fleet.Lease, _ string) error {
	return v.arrow("abort", l, true, fleet.Aborted, states{fleet.Aborted}, fleet.Granted, fleet.Transferring, fleet.Prepared)
}

func (v view) Discarded(_ context.Context, l fleet.Lease) error {
	return v.change("discarded", l, false, nil, states{fleet.Aborted}, func(l *fleet.Lease) { l.Discarded = true })
}

func (v view) Activated(_ context.Context, l fleet.Lease) error {
	return v.arrow("activated", l, false, fleet.Activated, states{fleet.Activated, fleet.Released}, fleet.Committed)
}

func (v view) Released(_ context.Context, l fleet.Lease) error {
	return v.arrow("released", l, true, fleet.Released, states{fleet.Released}, fleet.Activated)
}

func (v view) Revert(_ context.Context, l fleet.Lease, _ string) error {
	return v.arrow("revert", l, false, fleet.Aborted, states{fleet.Aborted}, fleet.Committed)
}

func (v view) ObserveOwner(_ context.Context, l fleet.Lease, seen Seen, _ string) error {
	return v.call("observe", func() error {
		now := v.leases[l.ID]
		if now.State != fleet.Uncertain {
			return nil
		}
		if v.seen[l.ID] == nil {
			v.seen[l.ID] = map[fleet.HostID]Seen{}
		}
		v.seen[l.ID][v.life.host.id] = seen
		source, destination := v.seen[l.ID][now.Source], v.seen[l.ID][now.Destination]
		switch {
		case source == "" || destination == "":
			return nil
		case source == SeenRunning:
			now.State, now.Discarded = fleet.Aborted, destination == SeenAbsent
		case destination == SeenRunning && source == SeenAbsent:
			now.State = fleet.Released
		case destination == SeenRunning:
			now.State = fleet.Activated
		case destination == SeenPrepared:
			now.State = fleet.Committed
		}
		v.put(now)
		return nil
	})
}
