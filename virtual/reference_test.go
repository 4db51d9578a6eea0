package virtual

import (
	"time"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
)

// reference is the judge's own books: what follows from the accepted operations
// by the words of the promises.
type reference struct {
	capacity map[fleet.HostID]int64
	owner    map[fleet.WorkloadID]fleet.HostID
	size     map[fleet.WorkloadID]int64
	leases   map[fleet.LeaseID]*known
	active   map[fleet.WorkloadID]fleet.LeaseID
	token    map[fleet.WorkloadID]fleet.Token
}

type known struct {
	fleet.Lease
	source, destination fsm.Seen // since the lease became uncertain
	digest              string   // what the destination was seen with
}

func newReference() *reference {
	return &reference{
		capacity: map[fleet.HostID]int64{}, owner: map[fleet.WorkloadID]fleet.HostID{}, size: map[fleet.WorkloadID]int64{},
		leases: map[fleet.LeaseID]*known{}, active: map[fleet.WorkloadID]fleet.LeaseID{}, token: map[fleet.WorkloadID]fleet.Token{},
	}
}

// held counts a workload where it is owned, where it may arrive, and where it
// came from until that is proved released.
func (b *reference) held() map[fleet.HostID]int64 {
	out := map[fleet.HostID]int64{}
	for w, host := range b.owner {
		out[host] += b.size[w]
	}
	for _, id := range b.active {
		l := b.leases[id]
		switch l.State {
		case fleet.Committed, fleet.Activated:
			out[l.Source] += l.Reservation.Memory
		case fleet.Released:
		default:
			out[l.Destination] += l.Reservation.Memory
		}
	}
	return out
}

func ended(l fleet.Lease) bool {
	return l.State == fleet.Released || l.State == fleet.Aborted && l.Discarded
}

// operation holds one accepted operation against the rules of leases, then books
// it. It needs mu.
func (j *judge) operation(index uint64, h fsm.Header, op fsm.Operation, result fsm.OpResult) {
	if result.Err != nil {
		return
	}
	b := j.books
	switch o := op.(type) {
	case fsm.RegisterHost:
		b.capacity[o.Host.ID] = o.Host.Allocatable().Memory
		return
	case fsm.RegisterWorkloads:
		for _, w := range o.Workloads {
			b.owner[w.ID], b.size[w.ID] = o.Host, w.Reservation.Memory
		}
		return
	case fsm.DeregisterWorkload:
		if b.owner[o.Workload] != h.Proposer || b.active[o.Workload] != "" {
			j.note(ownerPromise, "index %d: host %s deregistered workload %s of host %s, lease %q", index, h.Proposer, o.Workload, b.owner[o.Workload], b.active[o.Workload])
		}
		delete(b.owner, o.Workload)
		return
	case fsm.Grant:
		if result.Lease != nil {
			j.granted(index, o, *result.Lease)
		}
		return
	}
	if result.Lease == nil {
		return
	}
	now := *result.Lease
	l := b.leases[now.ID]
	if l == nil {
		j.note(durablePromise, "index %d: lease %s was never granted", index, now.ID)
		return
	}
	if now.State == l.State && now.Discarded == l.Discarded {
		j.repeated(op, l)
		return
	}
	if why := j.forbidden(h, op, l, now); why != "" {
		j.note(ownerPromise, "index %d: %T turned lease %s from %s to %s: %s", index, op, l.ID, l.State, now.State, why)
	}
	j.change(l, now)
}

func (j *judge) granted(index uint64, o fsm.Grant, l fleet.Lease) {
	b := j.books
	if held := b.active[o.Workload]; held != "" {
		j.note(ownerPromise, "index %d: workload %s has the active leases %s and %s", index, o.Workload, held, l.ID)
	}
	if last := b.token[o.Workload]; !l.Token.NewerThan(last) {
		j.note(tokenPromise, "index %d: workload %s got token %s after %s", index, o.Workload, l.Token, last)
	}
	b.token[o.Workload] = l.Token
	if l.Kind == fleet.LeasePlacement {
		b.size[o.Workload] = l.Reservation.Memory
	}
	b.leases[l.ID], b.active[o.Workload] = &known{Lease: l}, l.ID
}

// repeated notes what an end saw of an uncertain lease that stays so.
func (j *judge) repeated(op fsm.Operation, l *known) {
	o, ok := op.(fsm.ObserveOwner)
	if !ok || l.State != fleet.Uncertain {
		return
	}
	l.sighted(o)
}

func (l *known) sighted(o fsm.ObserveOwner) {
	if o.Host == l.Source {
		l.source = o.Seen
		return
	}
	l.destination, l.digest = o.Seen, o.Digest
}

// change books the new state of a lease.
func (j *judge) change(l *known, now fleet.Lease) {
	b := j.books
	before := l.State
	switch {
	case now.State == fleet.Uncertain:
		l.source, l.destination, l.digest = "", "", ""
	case now.Kind == fleet.LeasePlacement && now.State == fleet.Released:
		b.owner[l.Workload] = l.Destination
	case now.State == fleet.Committed, now.State == fleet.Activated && before == fleet.Uncertain,
		now.State == fleet.Released && before == fleet.Uncertain:
		b.owner[l.Workload] = l.Destination
	case now.State == fleet.Aborted && before == fleet.Committed:
		b.owner[l.Workload] = l.Source
	}
	l.Lease = now
	if ended(now) {
		delete(b.active, l.Workload)
	}
}

// forbidden says why an operation may not have changed a lease like this, or "".
// It is the rule of who may say what, written down a second time.
func (j *judge) forbidden(h fsm.Header, op fsm.Operation, l *known, now fleet.Lease) string {
	from := func(host fleet.HostID, states ...fleet.LeaseState) string {
		if h.Proposer != host {
			return "said by host " + string(h.Proposer) + ", not by " + string(host)
		}
		for _, s := range states {
			if l.State == s {
				return ""
			}
		}
		return "not from this state"
	}
	token := func(t fleet.Token, why string) string {
		if why == "" && !t.IsZero() && t != l.Token {
			j.note(tokenPromise, "lease %s was changed under token %s, its own is %s", l.ID, t, l.Token)
		}
		return why
	}
	switch o := op.(type) {
	case fsm.Begin:
		return token(o.Token, from(l.Source, fleet.Granted))
	case fsm.ReportPrepared:
		return token(o.Token, from(l.Destination, fleet.Transferring))
	case fsm.Commit:
		if o.Digest != l.Digest {
			return "with a digest that was not prepared"
		}
		return token(o.Token, from(l.Source, fleet.Prepared))
	case fsm.ReportActivated:
		return from(l.Destination, fleet.Committed)
	case fsm.ReportReleased:
		return from(l.Source, fleet.Activated)
	case fsm.Abort:
		if l.State != fleet.Granted && now.Discarded {
			return "and freed the destination before its report"
		}
		return from(l.Source, fleet.Granted, fleet.Transferring, fleet.Prepared)
	case fsm.ReportDiscarded:
		return from(l.Destination, fleet.Aborted)
	case fsm.Release:
		return from(h.Proposer, fleet.Granted)
	case fsm.Claim:
		return from(l.Destination, fleet.Granted)
	case fsm.Expire:
		return j.expired(l, now)
	case fsm.ObserveOwner:
		l.sighted(o)
		return settled(l, now)
	}
	return "this operation changes no lease"
}

// expired: silence frees only what was never begun, and only once it has lasted.
func (j *judge) expired(l *known, now fleet.Lease) string {
	if r, ok := j.renewed[l.ID]; ok && time.Since(r.sent) < r.ttl {
		j.note(clockPromise, "lease %s expired %s after its last acknowledged renewal was sent, its TTL is %s", l.ID, time.Since(r.sent), r.ttl)
	}
	switch {
	case l.State == fleet.Granted && now.State == fleet.Aborted:
		return ""
	case (l.State == fleet.Transferring || l.State == fleet.Prepared) && now.State == fleet.Uncertain:
		return ""
	}
	return "time alone decides nothing once bytes have moved"
}

// settled: what both ends hold must leave one owner.
func settled(l *known, now fleet.Lease) string {
	switch {
	case l.State != fleet.Uncertain:
		return "it was not uncertain"
	case l.source == "" || l.destination == "":
		return "one end has not been heard"
	case now.State == fleet.Aborted && (l.source == fsm.SeenRunning && l.destination != fsm.SeenRunning ||
		l.source == fsm.SeenFrozen && l.destination == fsm.SeenAbsent):
		return ""
	case now.State != fleet.Aborted && l.source != fsm.SeenRunning &&
		(l.destination == fsm.SeenRunning || l.destination == fsm.SeenPrepared && l.digest == l.Digest):
		return ""
	}
	return "the source was seen " + string(l.source) + ", the destination " + string(l.destination)
}
