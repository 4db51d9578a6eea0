package fsm

import (
	"github.com/placed-dev/placed/fleet"
)

// ledger is a second account of leases, kept from what is proposed and answered
// alone and by the rules of the two-party protocol as they are written down, not by
// the code that applies them: who may say what, under which token, in which state,
// and what is reserved then. The books must agree after every entry.
type ledger struct {
	leases     map[fleet.LeaseID]*account
	generation uint64
}

// account is what the ledger knows of one lease.
type account struct {
	fleet.Lease // as it was granted; State and Discarded are kept up to date
	digest      string
	source      Seen
	destination sighting
}

func newLedger() *ledger { return &ledger{leases: map[fleet.LeaseID]*account{}, generation: 1} }

// outcome is a state that a step may lead to.
type outcome struct {
	state     fleet.LeaseState
	discarded bool
}

// step takes one answered operation in. What was accepted must be allowed.
func (b *ledger) step(t failer, from fleet.HostID, op Operation, result OpResult) {
	if result.Err != nil {
		return
	}
	switch o := op.(type) {
	case Grant:
		if l := result.Lease; l != nil && b.leases[l.ID] == nil {
			if l.State != fleet.Granted || l.Discarded {
				t.Fatalf("lease %s begins as %s", l.ID, l.State)
			}
			a := &account{Lease: *l}
			if l.Token.Generation < b.generation {
				// Grants that are made together come first in their entry.
				a.State = fleet.Uncertain
			}
			b.leases[l.ID] = a
		}
		return
	case RaiseGeneration:
		b.generation++
		for _, a := range b.leases {
			if a.active() && a.State != fleet.Aborted {
				a.State, a.source, a.destination = fleet.Uncertain, "", sighting{}
			}
		}
		return
	default:
		id := leaseOf(o)
		if id == "" {
			return
		}
		a := b.leases[id]
		if a == nil || result.Lease == nil {
			t.Fatalf("%T of lease %s was accepted, which the ledger does not know", op, id)
			return
		}
		before := *a
		allowed, reached := a.after(from, op), outcome{result.Lease.State, result.Lease.Discarded}
		for _, may := range allowed {
			if may == reached {
				switch op.(type) {
				case Promote:
					a.Kind = fleet.LeaseMigration
				case ObserveOwner:
					if reached.state != before.State && a.destination.Seen != SeenAbsent && a.Kind == fleet.LeaseStandby {
						a.Kind = fleet.LeaseMigration // the books had forgotten its promotion
					}
				}
				if a.State, a.Discarded = reached.state, reached.discarded; reached.state == fleet.Uncertain && before.State != fleet.Uncertain {
					a.source, a.destination = "", sighting{}
				}
				return
			}
		}
		t.Fatalf("%#v of host %s on lease %s (%s from %s to %s, token %s, digest %q, seen %q and %+v) was accepted and made it %s (discarded: %t); allowed is %+v",
			op, from, id, before.State, before.Source, before.Destination, before.Token, before.digest, a.source, a.destination, reached.state, reached.discarded, allowed)
	}
}

// leaseOf is the lease that an operation moves on; empty: it moves none.
func leaseOf(op Operation) fleet.LeaseID {
	switch o := op.(type) {
	case Begin:
		return o.Lease
	case ReportPrepared:
		return o.Lease
	case Commit:
		return o.Lease
	case Abort:
		return o.Lease
	case ReportDiscarded:
		return o.Lease
	case ReportActivated:
		return o.Lease
	case ReportReleased:
		return o.Lease
	case Release:
		return o.Lease
	case Claim:
		return o.Lease
	case Expire:
		return o.Lease
	case Revert:
		return o.Lease
	case ObserveOwner:
		return o.Lease
	case Resolve:
		return o.Lease
	case Promote:
		return o.Lease
	}
	return ""
}

// after says which states an operation of a host may lead to; none: it must be
// refused. What a word of the destination or the source adds is noted.
func (a *account) after(from fleet.HostID, op Operation) []outcome {
	was := outcome{a.State, a.Discarded}
	in := func(states ...fleet.LeaseState) bool {
		for _, s := range states {
			if s == a.State {
				return true
			}
		}
		return false
	}
	// said is a word of one party in a migration: it moves the lease on from
	// some states, and repeats itself in others.
	said := func(by fleet.HostID, token fleet.Token, moves bool, to outcome, repeats bool) []outcome {
		switch {
		case from != by || a.Kind != fleet.LeaseMigration || token != (fleet.Token{}) && token != a.Token:
			return nil
		case moves:
			return []outcome{to}
		case repeats:
			return []outcome{was}
		}
		return nil
	}
	// sent is a word of the sending, which a standby has as well.
	sent := func(by fleet.HostID, token fleet.Token, moves bool, to outcome, repeats bool) []outcome {
		kind := a.Kind
		if kind == fleet.LeaseStandby {
			a.Kind = fleet.LeaseMigration
		}
		out := said(by, token, moves, to, repeats)
		a.Kind = kind
		return out
	}
	none := fleet.Token{}
	switch o := op.(type) {
	case Promote:
		if a.Kind == fleet.LeaseStandby && in(fleet.Granted, fleet.Transferring) {
			return []outcome{was}
		}
	case Begin:
		return sent(a.Source, o.Token, in(fleet.Granted), outcome{state: fleet.Transferring}, in(fleet.Transferring))
	case ReportPrepared:
		if in(fleet.Transferring) {
			a.digest = o.Digest
		}
		return said(a.Destination, o.Token, in(fleet.Transferring), outcome{state: fleet.Prepared}, in(fleet.Prepared) && a.digest == o.Digest)
	case Commit:
		same := a.digest == o.Digest
		return said(a.Source, o.Token, in(fleet.Prepared) && same, outcome{state: fleet.Committed}, in(fleet.Committed, fleet.Activated, fleet.Released) && same)
	case ReportActivated:
		return said(a.Destination, none, in(fleet.Committed), outcome{state: fleet.Activated}, in(fleet.Activated, fleet.Released))
	case ReportReleased:
		return said(a.Source, none, in(fleet.Activated), outcome{state: fleet.Released}, in(fleet.Released))
	case Revert:
		return said(a.Destination, o.Token, in(fleet.Committed), outcome{state: fleet.Aborted}, in(fleet.Aborted))
	case Abort:
		by := a.Source
		if a.Kind == fleet.LeaseStandby {
			by = from // any voter's word
		}
		return sent(by, none, in(fleet.Granted, fleet.Transferring, fleet.Prepared), outcome{fleet.Aborted, in(fleet.Granted)}, in(fleet.Aborted))
	case ReportDiscarded:
		if from == a.Destination && in(fleet.Aborted) {
			return []outcome{{fleet.Aborted, true}}
		}
	case Release, Expire:
		_, expiry := op.(Expire)
		switch {
		case in(fleet.Granted): // nothing was sent: free at once
			return []outcome{{fleet.Aborted, true}}
		case in(fleet.Aborted) || expiry && in(fleet.Uncertain):
			return []outcome{was}
		case expiry && in(fleet.Transferring, fleet.Prepared):
			return []outcome{{state: fleet.Uncertain}}
		}
	case Claim:
		if a.Kind == fleet.LeasePlacement && from == a.Destination && in(fleet.Granted, fleet.Released) {
			return []outcome{{state: fleet.Released}}
		}
	case ObserveOwner:
		if from == o.Host {
			return a.observed(o)
		}
	case Resolve:
		return a.resolved(o)
	}
	return nil
}

// observed is the table of outcomes: an uncertain lease ends when what both ends
// hold leaves one owner, and not before.
func (a *account) observed(o ObserveOwner) []outcome {
	stays := []outcome{{a.State, a.Discarded}}
	switch a.State {
	case fleet.Uncertain:
	case fleet.Granted, fleet.Transferring, fleet.Prepared:
		return nil
	default:
		return stays
	}
	if o.Host == a.Source {
		a.source = o.Seen
	} else {
		a.destination = sighting{o.Seen, o.Digest}
	}
	there := a.destination.Seen
	if a.Kind != fleet.LeaseMigration {
		switch {
		case there == "":
			return stays
		case there == SeenAbsent:
			return []outcome{{fleet.Aborted, true}}
		case a.Kind == fleet.LeasePlacement:
			return append(stays, outcome{state: fleet.Released}) // whether it is booked there decides
		}
		// A standby whose destination holds more than one ever does: the books
		// have forgotten its promotion.
	}
	type both struct{ source, destination Seen }
	ends := both{a.source, there}
	if there == SeenPrepared && (a.digest == "" || a.destination.Digest != a.digest) {
		ends.destination = "another copy"
	}
	settled, ok := map[both]outcome{
		{SeenRunning, SeenAbsent}:     {fleet.Aborted, true},
		{SeenRunning, SeenFrozen}:     {fleet.Aborted, false},
		{SeenRunning, SeenPrepared}:   {fleet.Aborted, false},
		{SeenRunning, "another copy"}: {fleet.Aborted, false},
		{SeenFrozen, SeenAbsent}:      {fleet.Aborted, true},
		{SeenAbsent, SeenRunning}:     {state: fleet.Released},
		{SeenFrozen, SeenRunning}:     {state: fleet.Activated},
		{SeenFrozen, SeenPrepared}:    {state: fleet.Committed},
		{SeenAbsent, SeenPrepared}:    {state: fleet.Committed},
	}[ends]
	if !ok {
		return stays
	}
	return []outcome{settled}
}

// resolved is an operator's word.
func (a *account) resolved(o Resolve) []outcome {
	absent := a.destination.Seen == SeenAbsent
	switch {
	case a.State == fleet.Uncertain && a.Kind == fleet.LeasePlacement && o.Commit:
		return []outcome{{state: fleet.Released}}
	case a.State == fleet.Uncertain && o.Commit && a.Kind == fleet.LeaseMigration && !absent:
		return []outcome{{state: fleet.Committed}}
	case a.State == fleet.Uncertain && !o.Commit:
		return []outcome{{fleet.Aborted, absent}}
	case a.State == fleet.Committed && !o.Commit:
		return []outcome{{fleet.Aborted, false}}
	case a.State == fleet.Activated && o.Commit:
		return []outcome{{state: fleet.Released}}
	case a.State == fleet.Aborted && !o.Commit:
		return []outcome{{fleet.Aborted, true}}
	}
	return nil
}

// active: something is still reserved, or the owner may still change.
func (a *account) active() bool {
	return a.State != fleet.Released && (a.State != fleet.Aborted || !a.Discarded)
}

// holds says at which ends a lease counts beside the workload itself.
func (a *account) holds() (source, destination bool) {
	switch a.State {
	case fleet.Granted, fleet.Transferring, fleet.Prepared, fleet.Uncertain:
		return false, true
	case fleet.Committed, fleet.Activated:
		return a.Kind == fleet.LeaseMigration, false
	case fleet.Aborted:
		return false, !a.Discarded
	}
	return false, false
}

// compare holds the books against the ledger: every lease is where it should be and
// counts where it should. That hosts hold what their records say is quickCheck's.
func (b *ledger) compare(t failer, s *State) {
	for id, a := range b.leases {
		l := s.leases[id]
		if l == nil && a.active() {
			t.Fatalf("lease %s is %s and no longer in the books", id, a.State)
		}
		if l == nil {
			delete(b.leases, id) // ended long ago
			continue
		}
		if l.Kind != a.Kind {
			t.Fatalf("lease %s is a %s in the books; by what was said it is a %s", id, l.Kind, a.Kind)
		}
		if l.State != a.State || l.Discarded != a.Discarded {
			t.Fatalf("lease %s is %s (discarded: %t) in the books; by what was said it is %s (%t)", id, l.State, l.Discarded, a.State, a.Discarded)
		}
		if source, destination := a.holds(); source != l.HoldsSource() || destination != l.HoldsDestination() {
			t.Fatalf("lease %s is %s and counts at its source: %t, at its destination: %t", id, l.State, l.HoldsSource(), l.HoldsDestination())
		}
	}
	if len(b.leases) != len(s.leases) {
		t.Fatalf("%d leases are in the books, %d were granted", len(s.leases), len(b.leases))
	}
}
