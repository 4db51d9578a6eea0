package daemon

import (
	"context"
	"errors"
	"fmt"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/migrator"
)

// leaseBooks gives the migrator its view of the books.
type leaseBooks struct{ *books }

var _ migrator.Books = leaseBooks{}

func (b leaseBooks) Host(id fleet.HostID) (fleet.Host, bool) { return b.host(id) }

func (b leaseBooks) Leases(context.Context) ([]fleet.Lease, error) {
	var out []fleet.Lease
	b.replica.Read(func(s *fsm.State) {
		for _, l := range s.Migrations() {
			if l.Source == b.self || l.Destination == b.self {
				out = append(out, l)
			}
		}
	})
	return out, nil
}

func (b leaseBooks) Lease(_ context.Context, id fleet.LeaseID) (fleet.Lease, error) {
	var lease fleet.Lease
	var ok bool
	b.replica.Read(func(s *fsm.State) { lease, ok = s.Lease(id) })
	if !ok {
		return fleet.Lease{}, fmt.Errorf("lease %s: %w", id, migrator.ErrNoLease)
	}
	return lease, nil
}

func (b leaseBooks) WaitLease(ctx context.Context, id fleet.LeaseID, ok func(fleet.Lease) bool) (fleet.Lease, error) {
	for {
		changed := b.replica.Changed() // before the read, so that no change is missed
		lease, err := b.Lease(ctx, id)
		if err == nil && ok(lease) {
			return lease, nil
		}
		if err != nil && !errors.Is(err, migrator.ErrNoLease) {
			return lease, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return lease, ctx.Err()
		}
	}
}

func (b leaseBooks) Linearizable(ctx context.Context) error { return b.linearizable(ctx) }

func (b leaseBooks) Renew(ctx context.Context, lease fleet.Lease) error {
	_, err := callLeader[renewal, empty](ctx, b.books, callRenew, renewal{Lease: lease.ID})
	return err
}

// say proposes one operation and sorts its outcome the way the migrator needs it.
func (b leaseBooks) say(ctx context.Context, op fsm.Operation) error {
	result, err := b.Propose(ctx, op)
	switch {
	case errors.Is(err, errOutcomeUnknown):
		return fmt.Errorf("%w: %w", migrator.ErrUnknownOutcome, err)
	case err != nil:
		return err
	case result.Ops[0].Err != nil:
		return fmt.Errorf("%w: %w", migrator.ErrRefused, result.Ops[0].Err)
	}
	return nil
}

func (b leaseBooks) Begin(ctx context.Context, l fleet.Lease) error {
	return b.say(ctx, fsm.Begin{Lease: l.ID})
}

func (b leaseBooks) Prepared(ctx context.Context, l fleet.Lease, digest string) error {
	return b.say(ctx, fsm.ReportPrepared{Lease: l.ID, Digest: digest})
}

func (b leaseBooks) Commit(ctx context.Context, l fleet.Lease, digest string) error {
	return b.say(ctx, fsm.Commit{Lease: l.ID, Digest: digest})
}

func (b leaseBooks) Abort(ctx context.Context, l fleet.Lease, reason string) error {
	return b.say(ctx, fsm.Abort{Lease: l.ID, Reason: reason})
}

func (b leaseBooks) Discarded(ctx context.Context, l fleet.Lease) error {
	return b.say(ctx, fsm.ReportDiscarded{Lease: l.ID})
}

func (b leaseBooks) Activated(ctx context.Context, l fleet.Lease) error {
	return b.say(ctx, fsm.ReportActivated{Lease: l.ID})
}

func (b leaseBooks) Released(ctx context.Context, l fleet.Lease) error {
	return b.say(ctx, fsm.ReportReleased{Lease: l.ID})
}

func (b leaseBooks) Revert(ctx context.Context, l fleet.Lease, reason string) error {
	return b.say(ctx, fsm.Revert{Lease: l.ID, Reason: reason})
}

func (b leaseBooks) ObserveOwner(ctx context.Context, l fleet.Lease, seen migrator.Seen, digest string) error {
	var what fsm.Seen
	switch seen {
	case migrator.SeenRunning:
		what = fsm.SeenRunning
	case migrator.SeenFrozen:
		what = fsm.SeenFrozen
	case migrator.SeenPrepared:
		what = fsm.SeenPrepared
	case migrator.SeenAbsent:
		what = fsm.SeenAbsent
	default:
		return fmt.Errorf("lease %s: cannot report %q as seen", l.ID, seen)
	}
	return b.say(ctx, fsm.ObserveOwner{Lease: l.ID, Host: b.self, Seen: what, Digest: digest})
}
