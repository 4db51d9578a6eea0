package fsm

import (
	"github.com/placed-dev/placed/fleet"
)

// Begin is the source's word before its first byte: granted → transferring.
// Token, here and below, may be left zero; if set, it must be the lease's.
type Begin struct {
	Lease fleet.LeaseID `json:"lease"`
	Token fleet.Token   `json:"token,omitzero"`
}

func (Begin) number() uint64 { return numBegin }
func (o *Begin) code(c *coder) {
	str(c, &o.Lease)
	c.token(&o.Token)
}

func (o Begin) apply(e *entry) OpResult {
	l, r := e.transfer(o.Lease, o.Token)
	if r != nil {
		return e.refused(l, r)
	}
	if r := e.fromHost("the begin of lease "+string(l.ID), l.Source); r != nil {
		return e.refused(l, r)
	}
	switch {
	case l.State == fleet.Transferring:
		return OpResult{Lease: &l.Lease}
	case l.State != fleet.Granted:
		return e.refused(l, wrongState(l, "begun", "granted"))
	case e.policy.Paused:
		return e.refused(l, refuse(CodePaused, "moves are paused by policy: release lease %s", l.ID))
	}
	return e.step(l, fleet.Transferring, "the source begins to send", nil)
}

// ReportPrepared is the destination's word that it holds everything:
// transferring → prepared.
type ReportPrepared struct {
	Lease  fleet.LeaseID `json:"lease"`
	Digest string        `json:"digest"`
	Token  fleet.Token   `json:"token,omitzero"`
}

func (ReportPrepared) number() uint64 { return numReportPrepared }
func (o *ReportPrepared) code(c *coder) {
	str(c, &o.Lease)
	str(c, &o.Digest)
	c.token(&o.Token)
}

func (o ReportPrepared) apply(e *entry) OpResult {
	l, r := e.migration(o.Lease, o.Token)
	if r == nil {
		r = e.fromHost("that lease "+string(o.Lease)+" is prepared", l.Destination)
	}
	if r == nil {
		r = checkDigest(o.Digest)
	}
	if r != nil {
		return e.refused(l, r)
	}
	switch {
	case l.State == fleet.Prepared && l.Digest == o.Digest:
		return OpResult{Lease: &l.Lease}
	case l.State == fleet.Prepared:
		return e.refused(l, refuse(CodeState, "lease %s is prepared with digest %s, not %s: abort it", l.ID, l.Digest, o.Digest))
	case l.State != fleet.Transferring:
		return e.refused(l, wrongState(l, "prepared", "transferring"))
	}
	return e.step(l, fleet.Prepared, "the destination holds everything", func(l *leaseRecord) { l.Digest = o.Digest })
}

// Commit is the source's word after its freeze: prepared → committed. From here
// the destination owns the workload, and the source holds its memory until it
// has proved it released.
type Commit struct {
	Lease  fleet.LeaseID `json:"lease"`
	Digest string        `json:"digest"`
	Token  fleet.Token   `json:"token,omitzero"`
}

func (Commit) number() uint64 { return numCommit }
func (o *Commit) code(c *coder) {
	str(c, &o.Lease)
	str(c, &o.Digest)
	c.token(&o.Token)
}

func (o Commit) apply(e *entry) OpResult {
	l, r := e.migration(o.Lease, o.Token)
	if r == nil {
		r = e.fromHost("the commit of lease "+string(o.Lease), l.Source)
	}
	if r == nil {
		r = checkDigest(o.Digest)
	}
	if r != nil {
		return e.refused(l, r)
	}
	switch l.State {
	case fleet.Prepared, fleet.Committed, fleet.Activated, fleet.Released:
	default:
		return e.refused(l, wrongState(l, "committed", "prepared"))
	}
	switch {
	case l.Digest != o.Digest:
		return e.refused(l, refuse(CodeState, "the destination of lease %s prepared digest %s, the source froze %s: abort it", l.ID, l.Digest, o.Digest))
	case l.State != fleet.Prepared:
		return OpResult{Lease: &l.Lease}
	}
	return e.commit(l, fleet.Committed, "workload "+string(l.Workload)+" belongs to host "+e.nameOf(l.Destination))
}

// commit makes the destination the owner and puts the lease into state.
func (e *entry) commit(l *leaseRecord, state fleet.LeaseState, message string) OpResult {
	w := e.workloads[l.Workload]
	changed := *w
	if w.moves > 0 && e.load.Sub(w.moved) <= e.policy.CooldownReset {
		changed.moves++
	} else {
		changed.moves = 1
	}
	changed.moved = e.load
	changed.Owner, changed.Epoch, changed.reported = l.Destination, w.Epoch+1, e.generation
	e.putWorkload(&changed)
	result := e.step(l, state, message, func(l *leaseRecord) { l.committed, l.committedAt = e.index, e.load })
	e.workloadEvent("workload.moved", &changed, "workload %s moved from host %s to host %s", l.Workload, e.nameOf(l.Source), e.nameOf(l.Destination))
	return result
}

// giveBack makes the source the owner again.
func (e *entry) giveBack(l *leaseRecord) {
	w := e.workloads[l.Workload]
	if w == nil || w.Owner == l.Source {
		return
	}
	changed := *w
	changed.Owner, changed.Epoch = l.Source, w.Epoch+1
	e.putWorkload(&changed)
	e.workloadEvent("workload.returned", &changed, "workload %s belongs to host %s again", l.Workload, e.nameOf(l.Source))
}

// Abort is the source's word that it keeps the workload: transferring | prepared
// → aborted. The destination stays reserved until it has discarded its copy. A
// lease that was never begun holds nothing there and ends at once. Of a standby,
// which nobody may commit, it may be the leader's word too.
type Abort struct {
	Lease  fleet.LeaseID `json:"lease"`
	Reason string        `json:"reason"`
}

func (Abort) number() uint64 { return numAbort }
func (o *Abort) code(c *coder) {
	str(c, &o.Lease)
	str(c, &o.Reason)
}

func (o Abort) apply(e *entry) OpResult {
	l, r := e.transfer(o.Lease, fleet.Token{})
	switch {
	case r != nil:
	case l.Kind == fleet.LeaseStandby && e.h.Proposer != l.Source:
		r = e.fromVoter("the abort of standby " + string(o.Lease))
	default:
		r = e.fromHost("the abort of lease "+string(o.Lease), l.Source)
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
	case fleet.Granted:
		return e.abort(l, true, o.Reason)
	case fleet.Transferring, fleet.Prepared:
		return e.abort(l, false, o.Reason)
	}
	return e.refused(l, wrongState(l, "aborted", "transferring or prepared"))
}

func (e *entry) abort(l *leaseRecord, discarded bool, reason string) OpResult {
	message := "aborted: workload " + string(l.Workload)
	if l.Source != "" {
		message += " stays on host " + e.nameOf(l.Source)
	} else {
		message += " is not placed"
	}
	return e.step(l, fleet.Aborted, message+because(reason), func(l *leaseRecord) {
		l.Discarded = discarded
		if reason != "" {
			l.Reason = reason
		}
	})
}

// ReportDiscarded is the destination's word that it holds nothing any more of an
// aborted lease.
type ReportDiscarded struct {
	Lease fleet.LeaseID `json:"lease"`
}

func (ReportDiscarded) number() uint64   { return numReportDiscarded }
func (o *ReportDiscarded) code(c *coder) { str(c, &o.Lease) }

func (o ReportDiscarded) apply(e *entry) OpResult {
	l, r := e.needLease(o.Lease)
	if r == nil {
		r = e.fromHost("that lease "+string(o.Lease)+" is discarded", l.Destination)
	}
	switch {
	case r != nil:
		return e.refused(l, r)
	case l.State != fleet.Aborted:
		return e.refused(l, wrongState(l, "discarded", "aborted"))
	case l.Discarded:
		return OpResult{Lease: &l.Lease}
	}
	return e.step(l, fleet.Aborted, "the destination has discarded its copy", func(l *leaseRecord) { l.Discarded = true })
}

// ReportActivated is the destination's word that it runs the workload:
// committed → activated.
type ReportActivated struct {
	Lease fleet.LeaseID `json:"lease"`
}

func (ReportActivated) number() uint64   { return numReportActivated }
func (o *ReportActivated) code(c *coder) { str(c, &o.Lease) }

func (o ReportActivated) apply(e *entry) OpResult {
	l, r := e.migration(o.Lease, fleet.Token{})
	if r == nil {
		r = e.fromHost("that lease "+string(o.Lease)+" is activated", l.Destination)
	}
	if r != nil {
		return e.refused(l, r)
	}
	switch l.State {
	case fleet.Activated, fleet.Released:
		return OpResult{Lease: &l.Lease}
	case fleet.Committed:
		return e.step(l, fleet.Activated, "the workload runs on host "+e.nameOf(l.Destination), nil)
	}
	return e.refused(l, wrongState(l, "activated", "committed"))
}

// ReportReleased is the source's word that its process is gone and its memory
// released: activated → released.
type ReportReleased struct {
	Lease fleet.LeaseID `json:"lease"`
}

func (ReportReleased) number() uint64   { return numReportReleased }
func (o *ReportReleased) code(c *coder) { str(c, &o.Lease) }

func (o ReportReleased) apply(e *entry) OpResult {
	l, r := e.migration(o.Lease, fleet.Token{})
	if r == nil {
		r = e.fromHost("that lease "+string(o.Lease)+" is released", l.Source)
	}
	if r != nil {
		return e.refused(l, r)
	}
	switch l.State {
	case fleet.Released:
		return OpResult{Lease: &l.Lease}
	case fleet.Activated:
		return e.step(l, fleet.Released, "the source has released its memory", nil)
	case fleet.Committed:
		return e.refused(l, refuse(CodeState, "lease %s is committed, not activated: repeat this after the destination's report", l.ID))
	}
	return e.refused(l, wrongState(l, "released", "activated"))
}

// Release gives a granted lease up before anything was sent: its capacity is
// free at once. Source, destination or leader may do it.
type Release struct {
	Lease  fleet.LeaseID `json:"lease"`
	Reason string        `json:"reason,omitempty"`
}

func (Release) number() uint64 { return numRelease }
func (o *Release) code(c *coder) {
	str(c, &o.Lease)
	str(c, &o.Reason)
}

func (o Release) apply(e *entry) OpResult {
	l, r := e.needLease(o.Lease)
	if r == nil && e.h.Proposer != l.Source && e.h.Proposer != l.Destination {
		r = e.fromVoter("the release of lease " + string(o.Lease))
	}
	if r == nil {
		r = checkText("reason", o.Reason)
	}
	switch {
	case r != nil:
		return e.refused(l, r)
	case l.State == fleet.Aborted:
		return OpResult{Lease: &l.Lease}
	case l.State != fleet.Granted:
		return e.refused(l, wrongState(l, "released before its begin", "granted"))
	}
	reason := o.Reason
	if reason == "" {
		reason = "released by host " + e.nameOf(e.h.Proposer)
	}
	return e.abort(l, true, reason)
}

// step stores the lease in its next state.
func (e *entry) step(l *leaseRecord, to fleet.LeaseState, message string, change func(*leaseRecord)) OpResult {
	next := *l
	next.State, next.Changed = to, e.index
	if change != nil {
		change(&next)
	}
	e.putLease(&next)
	if l.Kind == fleet.LeaseMigration && l.State != to {
		switch to {
		case fleet.Released:
			e.released++
		case fleet.Aborted:
			e.aborted++
		}
	}
	e.leaseEvent(&next, "lease "+string(l.ID)+": "+message)
	return OpResult{Lease: &next.Lease}
}

// refused completes a refusal with the lease it is about; l may be nil.
func (e *entry) refused(l *leaseRecord, r *Refusal) OpResult {
	if l == nil {
		return OpResult{Err: r}
	}
	r.Lease, r.Workload = l.ID, l.Workload
	return OpResult{Err: r, Lease: &l.Lease}
}

func (e *entry) needLease(id fleet.LeaseID) (*leaseRecord, *Refusal) {
	if l := e.leases[id]; l != nil {
		return l, nil
	}
	r := refuse(CodeNotFound, "lease %s is not in the books: it was never granted, or ended long ago", id)
	r.Lease = id
	return nil, r
}

// migration finds a migration lease whose token, if given, is the one meant.
func (e *entry) migration(id fleet.LeaseID, token fleet.Token) (*leaseRecord, *Refusal) {
	l, r := e.needLease(id)
	switch {
	case r != nil:
		return nil, r
	case l.Kind != fleet.LeaseMigration:
		return l, refuse(CodeState, "lease %s is a %s: only migrations have this step", id, l.Kind)
	}
	return e.under(l, token)
}

// transfer finds a lease under which bytes may be sent: a migration or a standby.
func (e *entry) transfer(id fleet.LeaseID, token fleet.Token) (*leaseRecord, *Refusal) {
	if l := e.leases[id]; l != nil && l.Kind == fleet.LeaseStandby && e.level >= levelStandby {
		return e.under(l, token)
	}
	return e.migration(id, token)
}

// under holds a lease against the token that a word was given under.
func (e *entry) under(l *leaseRecord, token fleet.Token) (*leaseRecord, *Refusal) {
	if !token.IsZero() && token != l.Token {
		return l, refuse(CodeStaleToken, "token %s is not the token %s of lease %s: drop what you hold under it", token, l.Token, l.ID)
	}
	return l, nil
}

func wrongState(l *leaseRecord, done, want string) *Refusal {
	code := CodeState
	if l.State == fleet.Uncertain {
		return refuse(code, "lease %s is uncertain: it ends when both ends have reported what they hold, or by an operator (placed lease resolve)", l.ID)
	}
	return refuse(code, "lease %s is %s: it can only be %s when it is %s", l.ID, l.State, done, want)
}

func checkDigest(digest string) *Refusal {
	if digest == "" || len(digest) > 128 {
		return refuse(CodeRule, "a digest of %d characters: 1 to 128 are needed", len(digest))
	}
	return nil
}
