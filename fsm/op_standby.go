package fsm

import (
	"time"

	"github.com/placed-dev/placed/fleet"
)

// A standby is a migration that may not end yet: the same states, the same token
// and the same words of both ends, but no Prepared and no Commit before the leader
// has promoted it. What happens under a standby and its promotion is therefore
// something that may happen under a migration whose destination took its time, and
// all that is proved of migrations holds. The token stays: none newer was granted for
// the workload meanwhile, since it has one active lease, and the session that has
// been admitted under it goes on.

// Promote turns a standby into the migration that it was begun for: from here on its
// source may freeze and commit. It is checked as the grant of that migration would
// be, except that its room is reserved already, and counts as one.
type Promote struct {
	Lease    fleet.LeaseID       `json:"lease"`
	Type     fleet.MigrationType `json:"type"`
	Decision string              `json:"decision,omitempty"`
	Reason   string              `json:"reason,omitempty"`
}

func (Promote) since() uint64  { return levelStandby }
func (Promote) number() uint64 { return numPromote }
func (o *Promote) code(c *coder) {
	str(c, &o.Lease)
	enum(c, &o.Type)
	str(c, &o.Decision)
	str(c, &o.Reason)
}

func (o Promote) apply(e *entry) OpResult {
	l, r := e.needLease(o.Lease)
	switch {
	case r != nil:
		return e.refused(nil, r)
	case l.Kind != fleet.LeaseStandby:
		return e.refused(l, refuse(CodeState, "lease %s is a %s: only a standby can be promoted", l.ID, l.Kind))
	case l.State != fleet.Granted && l.State != fleet.Transferring:
		return e.refused(l, wrongState(l, "promoted", "granted or transferring"))
	}
	move := Grant{Workload: l.Workload, Destination: l.Destination, Kind: fleet.LeaseMigration, Type: o.Type, Decision: o.Decision, Reason: o.Reason}
	for _, check := range []func(*entry) *Refusal{
		move.checkCommand, move.checkOwned,
		func(e *entry) *Refusal { return move.checkDestination(e, l) },
		move.checkRules, move.checkPolicy, move.checkCalendar,
	} {
		if r := check(e); r != nil {
			return e.refused(l, r)
		}
	}
	e.State.grants.push(e.load, maxGrantTimes, maxGrantTimes, one[time.Time])
	next := *l
	next.Kind, next.Type, next.Changed = fleet.LeaseMigration, o.Type, e.index
	if o.Decision != "" {
		next.Decision = o.Decision
	}
	if o.Reason != "" {
		next.Reason = o.Reason
	}
	e.putLease(&next)
	e.emit(fleet.Event{Topic: fleet.TopicLease, Type: "lease.promoted", Host: l.Destination, Workload: l.Workload, Lease: l.ID,
		Message: "standby of workload " + string(l.Workload) + " on host " + e.nameOf(l.Destination) + " promoted to a migration (" + o.Type.String() + ")" + because(o.Reason)}, &next.Lease)
	return OpResult{Lease: &next.Lease}
}

// checkStandby: what a pass keeps copied is bounded by the policy; what an operator
// asks for by hand, by the moves that may be in flight.
func (o *Grant) checkStandby(e *entry) *Refusal {
	if e.level < levelStandby {
		return nil
	}
	most, bound := e.policy.Standbys, "standbys"
	if !automatic(o.Type) {
		most, bound = max(most, e.policy.MovesInFlight), "moves_in_flight"
	}
	if n := e.standbys(); n >= most {
		return refuse(CodeRule, "%d of %d workloads are kept copied elsewhere (%s): promote or cancel one first", n, most, bound)
	}
	if automatic(o.Type) && e.policy.Automation != fleet.Auto {
		return refuse(CodeRule, "automation is %s: standbys of %s moves are explained, not made", e.policy.Automation, o.Type)
	}
	return nil
}

// standbys counts those that are kept, or may be.
func (s *State) standbys() (n int64) {
	for _, l := range s.migrations {
		if l.Kind == fleet.LeaseStandby && l.State <= fleet.Activated {
			n++
		}
	}
	return n
}

// outgrown says of an uncertain standby that its destination holds more than one
// ever does. The books were restored to an index before its promotion, so it is
// judged as the migration that it was.
func (e *entry) outgrown(l *leaseRecord) bool {
	return l.Kind == fleet.LeaseStandby && e.level >= levelStandby && l.destination.Seen != "" && l.destination.Seen != SeenAbsent
}
