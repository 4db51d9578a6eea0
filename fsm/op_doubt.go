package fsm

import (
	"fmt"

	"github.com/placed-dev/placed/fleet"
)

// Expire is the leader's word that a lease was not renewed in time. Capacity is
// freed only if nothing was sent: granted → aborted, transferring | prepared →
// uncertain.
type Expire struct {
	Lease fleet.LeaseID `json:"lease"`
}

func (Expire) number() uint64   { return numExpire }
func (o *Expire) code(c *coder) { str(c, &o.Lease) }

func (o Expire) apply(e *entry) OpResult {
	l, r := e.needLease(o.Lease)
	if r == nil {
		r = e.fromVoter("the expiry of lease " + string(o.Lease))
	}
	if r != nil {
		return e.refused(l, r)
	}
	switch l.State {
	case fleet.Granted:
		return e.abort(l, true, "expired before its begin")
	case fleet.Transferring, fleet.Prepared:
		return e.doubt(l, "it was not renewed in time")
	case fleet.Aborted, fleet.Uncertain:
		return OpResult{Lease: &l.Lease}
	}
	return e.refused(l, wrongState(l, "expired", "granted, transferring or prepared"))
}

// doubt makes a lease uncertain. Both ends stay reserved: the source as owner,
// the destination by the lease. After a commit the owner goes back to the source
// for that; who owns is open until both ends have been observed.
func (e *entry) doubt(l *leaseRecord, why string) OpResult {
	if l.State == fleet.Committed || l.State == fleet.Activated {
		e.giveBack(l)
	}
	return e.step(l, fleet.Uncertain, "uncertain, both ends stay reserved: "+why, func(l *leaseRecord) {
		l.source, l.destination = sighting{}, sighting{}
	})
}

// Revert takes a commit back: the destination refused to run the workload, or
// came back from a reboot without it. committed → aborted.
type Revert struct {
	Lease  fleet.LeaseID `json:"lease"`
	Reason string        `json:"reason"`
	Token  fleet.Token   `json:"token,omitzero"`
}

func (Revert) number() uint64 { return numRevert }
func (o *Revert) code(c *coder) {
	str(c, &o.Lease)
	str(c, &o.Reason)
	c.token(&o.Token)
}

func (o Revert) apply(e *entry) OpResult {
	l, r := e.migration(o.Lease, o.Token)
	if r == nil {
		r = e.fromHost("that lease "+string(o.Lease)+" must be reverted", l.Destination)
	}
	if r == nil {
		r = checkText("reason", o.Reason)
	}
	if r != nil {
		return e.refused(l, r)
	}
	switch l.State {
	case fleet.Aborted:
		return OpResult{Lease: &l.Lease}
	case fleet.Committed:
		e.giveBack(l)
		return e.abort(l, false, "reverted by the destination"+because(o.Reason))
	}
	return e.refused(l, wrongState(l, "reverted", "committed"))
}

// Seen is what one end of an uncertain lease holds.
type Seen string

// What an end may hold. At the source prepared does not occur.
const (
	SeenRunning  Seen = "running"
	SeenFrozen   Seen = "frozen"
	SeenPrepared Seen = "prepared" // with the digest of the copy
	SeenAbsent   Seen = "absent"
)

// ObserveOwner reports what one end of an uncertain lease holds. When both ends
// have reported, and the two reports leave one owner, the lease is settled.
type ObserveOwner struct {
	Lease  fleet.LeaseID `json:"lease"`
	Host   fleet.HostID  `json:"host"`
	Seen   Seen          `json:"seen"`
	Digest string        `json:"digest,omitempty"`
}

func (ObserveOwner) number() uint64 { return numObserveOwner }
func (o *ObserveOwner) code(c *coder) {
	str(c, &o.Lease)
	str(c, &o.Host)
	str(c, &o.Seen)
	str(c, &o.Digest)
}

func (o ObserveOwner) apply(e *entry) OpResult {
	l, r := e.needLease(o.Lease)
	if r == nil {
		r = e.fromHost("what it holds of lease "+string(o.Lease), o.Host)
	}
	if r == nil {
		r = o.check(l)
	}
	if r != nil {
		return e.refused(l, r)
	}
	switch l.State {
	case fleet.Uncertain:
	case fleet.Granted, fleet.Transferring, fleet.Prepared:
		return e.refused(l, refuse(CodeState, "lease %s is %s: what its ends hold decides only when it is uncertain", l.ID, l.State))
	default: // settled: the observer learns how
		return OpResult{Lease: &l.Lease}
	}
	next := *l
	if s := (sighting{o.Seen, o.Digest}); o.Host == l.Source {
		next.source = s
	} else {
		next.destination = s
	}
	if next.source == l.source && next.destination == l.destination {
		return OpResult{Lease: &l.Lease}
	}
	next.Changed = e.index
	e.putLease(&next)
	e.leaseEvent(&next, fmt.Sprintf("lease %s: host %s sees it %s", l.ID, e.nameOf(o.Host), o.Seen))
	return e.judge(&next)
}

func (o ObserveOwner) check(l *leaseRecord) *Refusal {
	switch {
	case o.Host != l.Source && o.Host != l.Destination:
		return refuse(CodeRule, "host %s is neither source nor destination of lease %s", o.Host, l.ID)
	case len(o.Digest) > 128:
		return checkDigest(o.Digest)
	case o.Seen == SeenPrepared && (o.Digest == "" || o.Host == l.Source):
		return refuse(CodeRule, "lease %s: prepared is for the destination to see, with a digest", l.ID)
	}
	switch o.Seen {
	case SeenRunning, SeenFrozen, SeenPrepared, SeenAbsent:
		return nil
	}
	return refuse(CodeRule, "lease %s: %q is not something an end can hold", l.ID, o.Seen)
}

// judge settles an uncertain lease if what both ends hold leaves one owner. In
// every other case it stays: no time-out and no guess resumes anything.
func (e *entry) judge(l *leaseRecord) OpResult {
	switch {
	case e.outgrown(l):
		moved := *l
		moved.Kind = fleet.LeaseMigration
		l = &moved
	case l.Kind != fleet.LeaseMigration:
		return e.judgeReserved(l)
	}
	source, destination := l.source.Seen, l.destination.Seen
	if source == "" || destination == "" {
		return OpResult{Lease: &l.Lease}
	}
	switch {
	case source == SeenRunning && destination == SeenRunning:
		e.leaseEvent(l, fmt.Sprintf("ALARM: workload %s runs on host %s and on host %s; placed touches neither: stop one and run placed lease resolve %s",
			l.Workload, e.nameOf(l.Source), e.nameOf(l.Destination), l.ID))
	case source == SeenRunning:
		return e.abort(l, destination == SeenAbsent, "the source was seen running it")
	case destination == SeenRunning && source == SeenAbsent:
		return e.commit(l, fleet.Released, "the destination was seen running it, the source holds nothing")
	case destination == SeenRunning:
		return e.commit(l, fleet.Activated, "the destination was seen running it, the source holds a frozen copy")
	case destination == SeenPrepared && l.Digest != "" && l.destination.Digest == l.Digest:
		return e.commit(l, fleet.Committed, fmt.Sprintf("the source is %s, the destination holds the prepared copy", source))
	case destination == SeenPrepared:
		e.leaseEvent(l, fmt.Sprintf("ALARM: workload %s runs on neither end: the source is %s and the destination holds digest %q, the books know %q: placed lease resolve %s",
			l.Workload, source, l.destination.Digest, l.Digest, l.ID))
	case source == SeenFrozen && destination == SeenAbsent:
		// A destination reports absent only once its own Refused is on
		// disk: it will never run this copy, and the source has the only one.
		return e.abort(l, true, "the source holds the only copy, frozen; the destination holds nothing and has refused")
	default:
		e.leaseEvent(l, fmt.Sprintf("ALARM: workload %s runs on neither end (source %s, destination %s): placed lease resolve %s",
			l.Workload, source, destination, l.ID))
	}
	return OpResult{Lease: &l.Lease}
}

// judgeReserved settles placements, which have no copy at a source, and standbys of
// which the destination holds nothing: its word is enough.
func (e *entry) judgeReserved(l *leaseRecord) OpResult {
	w := e.workloads[l.Workload]
	switch {
	case l.destination.Seen == SeenAbsent:
		return e.abort(l, true, "the destination holds nothing of it")
	case l.destination.Seen != "" && l.Kind == fleet.LeasePlacement && w != nil && w.Owner == l.Destination:
		return e.step(l, fleet.Released, "the placed workload is in the books", nil)
	case l.destination.Seen != "" && l.Kind == fleet.LeaseStandby:
		return e.abort(l, false, "the destination must discard its standby")
	}
	return OpResult{Lease: &l.Lease}
}

// Resolve is an operator's word on a lease that cannot settle by itself:
//
//	uncertain            Commit: the destination owns, unless it reported that
//	                     it holds nothing; else: the source does
//	committed, !Commit   the destination is fenced; the source owns again
//	activated, Commit    the source is gone for good; its memory is released
//	aborted, !Commit     the destination is gone for good; nothing is held there
//
// By and Reason are recorded.
type Resolve struct {
	Lease  fleet.LeaseID `json:"lease"`
	Commit bool          `json:"commit"`
	By     string        `json:"by"`
	Reason string        `json:"reason"`
}

func (Resolve) number() uint64 { return numResolve }
func (o *Resolve) code(c *coder) {
	str(c, &o.Lease)
	c.bool(&o.Commit)
	str(c, &o.By)
	str(c, &o.Reason)
}

func (o Resolve) apply(e *entry) OpResult {
	l, r := e.needLease(o.Lease)
	if r == nil && o.By == "" {
		r = refuse(CodeRule, "lease %s: who resolves it is not said", o.Lease)
	}
	if r == nil {
		r = checkText("by", o.By)
	}
	if r == nil {
		r = checkText("reason", o.Reason)
	}
	if r != nil {
		return e.refused(l, r)
	}
	said := "resolved" + by(o.By) + because(o.Reason)
	switch {
	case l.State == fleet.Uncertain && l.Kind != fleet.LeaseMigration:
		return o.reserved(e, l, said)
	case l.State == fleet.Uncertain && o.Commit && l.destination.Seen == SeenAbsent:
		return e.refused(l, refuse(CodeState, "lease %s: host %s reported that it holds nothing of workload %s: it cannot be made the owner",
			l.ID, e.nameOf(l.Destination), l.Workload))
	case l.State == fleet.Uncertain && o.Commit:
		return e.commit(l, fleet.Committed, said)
	case l.State == fleet.Uncertain:
		return e.abort(l, l.destination.Seen == SeenAbsent, said)
	case l.State == fleet.Committed && !o.Commit:
		e.giveBack(l)
		return e.abort(l, false, said)
	case l.State == fleet.Activated && o.Commit:
		return e.step(l, fleet.Released, said, nil)
	case l.State == fleet.Aborted && !o.Commit:
		if l.Discarded {
			return OpResult{Lease: &l.Lease}
		}
		return e.step(l, fleet.Aborted, said, func(l *leaseRecord) { l.Discarded = true })
	}
	return e.refused(l, refuse(CodeState, "lease %s is %s: an operator has nothing to resolve this way", l.ID, l.State))
}

// reserved resolves an uncertain placement or standby.
func (o Resolve) reserved(e *entry, l *leaseRecord, said string) OpResult {
	if !o.Commit {
		return e.abort(l, l.destination.Seen == SeenAbsent, said)
	}
	if w := e.workloads[l.Workload]; l.Kind == fleet.LeasePlacement && w != nil && w.Owner == l.Destination {
		return e.step(l, fleet.Released, said, nil)
	}
	return e.refused(l, refuse(CodeState, "lease %s: workload %s is not booked on host %s; its agent must report it first", l.ID, l.Workload, e.nameOf(l.Destination)))
}
