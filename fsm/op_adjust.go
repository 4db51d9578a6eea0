package fsm

import (
	"fmt"
	"maps"
	"slices"

	"github.com/placed-dev/placed/fleet"
)

// maxAdjustments bounds what is changed in place in the whole fleet at one time.
const maxAdjustments = 4096

// Adjust writes down that a workload is to be changed where it is, before its host
// does it. What it takes of the host is checked and booked here: a vCPU more is
// reserved first. It needs automation auto: only a pass has the idea.
type Adjust struct {
	Adjustment fleet.Adjustment `json:"adjustment"`
}

func (Adjust) number() uint64   { return numAdjust }
func (Adjust) since() uint64    { return levelInPlace }
func (o *Adjust) code(c *coder) { c.adjustment(&o.Adjustment) }

func (o Adjust) apply(e *entry) OpResult {
	a := o.Adjustment
	a.State, a.Change = fleet.AdjustmentAsked, fleet.Vector{}
	w, r := e.needWorkload(a.Workload)
	if r == nil {
		r = o.refusal(e, w)
	}
	if r == nil && a.Kind == fleet.VCPUs {
		if more := a.Want*1000 - w.Reservation.CPU; more > 0 {
			a.Change.CPU = more
			r = e.roomToGrow(w, a.Change)
		}
	}
	if r != nil {
		r.Workload = a.Workload
		return OpResult{Err: r}
	}
	a.Host = w.Owner
	e.putAdjustment(&adjustmentRecord{Adjustment: a})
	e.reserve(w, w.Reservation.Add(a.Change))
	e.adjustmentEvent("adjustment.asked", &a, fmt.Sprintf("%s of workload %s on host %s: %s instead of %s%s", a.Kind, a.Workload, e.nameOf(a.Host),
		a.Kind.Amount(a.Want), a.Kind.Amount(a.Before), because(a.Reason)))
	return OpResult{}
}

func (o Adjust) refusal(e *entry, w *workloadRecord) *Refusal {
	a := o.Adjustment
	if r := e.fromVoter("an adjustment"); r != nil {
		return r
	}
	if r := checkText("reason", a.Reason); r != nil {
		return r
	}
	old := e.adjustments[keyOf(a.Workload, a.Kind)]
	switch {
	case len(a.Decision) > 128:
		return refuse(CodeRule, "a decision id of %d characters: at most 128 are allowed", len(a.Decision))
	case a.Before < 0 || a.Want < 1 || a.Want == a.Before:
		return refuse(CodeRule, "%s of workload %s: from %d to %d is no change that can be taken back", a.Kind, w.ID, a.Before, a.Want)
	case e.policy.Paused:
		return refuse(CodePaused, "the fleet is paused by policy: nothing is changed before the pause is lifted")
	case e.policy.Automation != fleet.Auto || !e.policy.InPlace.Allows(a.Kind):
		return refuse(CodeRule, "the policy does not let %s be changed in place (automation %s)", a.Kind, e.policy.Automation)
	case w.ManagedBy != "":
		return refuse(CodeRule, "workload %s is managed by %s and never touched", w.ID, w.ManagedBy)
	case old != nil:
		return refuse(CodeState, "%s of workload %s is adjusted already (%s)", a.Kind, w.ID, old.State)
	case len(e.adjustments) >= maxAdjustments:
		return refuse(CodeRule, "%d adjustments stand already: the next must wait for one to end", len(e.adjustments))
	}
	return e.unleased(w.ID)
}

// unleased refuses what would change a workload's reservation, or what runs, while
// it moves.
func (e *entry) unleased(id fleet.WorkloadID) *Refusal {
	held := e.leaseOf[id]
	if held == "" {
		return nil
	}
	r := refuse(CodeLeaseHeld, "workload %s has the active lease %s: it can be adjusted when that has ended", id, held)
	r.Workload, r.Lease = id, held
	return r
}

// roomToGrow refuses a growth of the reservation that the owner has no room for.
func (e *entry) roomToGrow(w *workloadRecord, by fleet.Vector) *Refusal {
	at := e.at[w.Owner]
	if at == nil || at.record == nil {
		return refuse(CodeState, "the owner of workload %s is not registered", w.ID)
	}
	free := at.record.allocatable.Sub(at.held)
	short, lacking := free.Lacks(by)
	if !lacking {
		return nil
	}
	want, left := by.Get(short), free.Get(short)
	return &Refusal{Code: CodeCapacity, Host: w.Owner, Workload: w.ID, Resource: short, Want: want, Free: left,
		Message: fmt.Sprintf("host %s %s: workload %s wants %s more, %s free of %s", e.nameOf(w.Owner), short, w.ID, fleet.FormatAmount(short, want),
			fleet.FormatAmount(short, max(left, 0)), fleet.FormatAmount(short, at.record.allocatable.Get(short)))}
}

// EndAdjustment asks the host to take an adjustment back. Memory that a guest has
// given is reserved again before it gets it: that is refused without room.
type EndAdjustment struct {
	Workload fleet.WorkloadID     `json:"workload"`
	Kind     fleet.AdjustmentKind `json:"kind"`
	Reason   string               `json:"reason"`
}

func (EndAdjustment) number() uint64 { return numEndAdjustment }
func (EndAdjustment) since() uint64  { return levelInPlace }
func (o *EndAdjustment) code(c *coder) {
	str(c, &o.Workload)
	enum(c, &o.Kind)
	str(c, &o.Reason)
}

func (o EndAdjustment) apply(e *entry) OpResult {
	r := e.fromVoter("the end of an adjustment")
	if r == nil {
		r = checkText("reason", o.Reason)
	}
	old := e.adjustments[keyOf(o.Workload, o.Kind)]
	if r == nil && old == nil {
		r = refuse(CodeNotFound, "%s of workload %s is not adjusted", o.Kind, shorten(string(o.Workload)))
	}
	if r != nil {
		return OpResult{Err: r}
	}
	if old.State == fleet.AdjustmentEnding {
		return OpResult{}
	}
	if old.State == fleet.AdjustmentFailed { // nothing of it was left
		e.dropAdjustment(old)
		return OpResult{}
	}
	w := e.workloads[o.Workload]
	changed := *old
	changed.State = fleet.AdjustmentEnding
	if given := -old.Change.Memory; given > 0 {
		r := e.unleased(w.ID)
		if r == nil {
			r = e.roomToGrow(w, fleet.Vector{Memory: given})
		}
		if r != nil {
			return OpResult{Err: r}
		}
		changed.Change.Memory = 0
		e.putAdjustment(&changed)
		e.reserve(w, w.Reservation.Add(fleet.Vector{Memory: given}))
	} else {
		e.putAdjustment(&changed)
	}
	e.adjustmentEvent("adjustment.ending", &changed.Adjustment, fmt.Sprintf("%s of workload %s goes back to %s%s", o.Kind, o.Workload, o.Kind.Amount(old.Before), because(o.Reason)))
	return OpResult{}
}

// ReportAdjusted is the word of the workload's host on an adjustment: that it has
// been applied, has failed with nothing left of it, or has been taken back.
type ReportAdjusted struct {
	Workload fleet.WorkloadID      `json:"workload"`
	Kind     fleet.AdjustmentKind  `json:"kind"`
	State    fleet.AdjustmentState `json:"state"` // applied, failed; ending = taken back
	// Given is the memory in bytes that the guest no longer has.
	Given  int64  `json:"given,omitempty"`
	Reason string `json:"reason,omitempty"`
}

func (ReportAdjusted) number() uint64 { return numReportAdjusted }
func (ReportAdjusted) since() uint64  { return levelInPlace }
func (o *ReportAdjusted) code(c *coder) {
	str(c, &o.Workload)
	enum(c, &o.Kind)
	enum(c, &o.State)
	c.int(&o.Given)
	str(c, &o.Reason)
}

func (o ReportAdjusted) apply(e *entry) OpResult {
	w, r := e.needWorkload(o.Workload)
	if r == nil {
		r = e.fromHost("an adjustment of workload "+string(o.Workload), w.Owner)
	}
	if r == nil {
		r = checkText("reason", o.Reason)
	}
	old := e.adjustments[keyOf(o.Workload, o.Kind)]
	if r == nil && old == nil {
		r = refuse(CodeNotFound, "%s of workload %s is not adjusted: take back what was changed", o.Kind, o.Workload)
	}
	if r != nil {
		return OpResult{Err: r}
	}
	switch o.State {
	case fleet.AdjustmentApplied:
		return OpResult{Err: o.applied(e, w, old)}
	case fleet.AdjustmentFailed:
		return OpResult{Err: o.failed(e, w, old)}
	case fleet.AdjustmentEnding:
		return OpResult{Err: o.takenBack(e, w, old)}
	}
	return OpResult{Err: refuse(CodeRule, "a host reports applied, failed or ending, not %s", o.State)}
}

func (o ReportAdjusted) applied(e *entry, w *workloadRecord, old *adjustmentRecord) *Refusal {
	if old.State != fleet.AdjustmentAsked {
		return nil // said already, or the end was asked for meanwhile
	}
	changed := *old
	changed.State = fleet.AdjustmentApplied
	if o.Kind == fleet.Balloon {
		most := min(old.Before-old.Want, w.Reservation.Memory)
		if o.Given <= 0 || o.Given > most {
			return refuse(CodeRule, "workload %s has given %d bytes: 1 to %d are possible", w.ID, o.Given, most)
		}
		if r := e.unleased(w.ID); r != nil {
			return r
		}
		changed.Change.Memory = -o.Given
	}
	e.putAdjustment(&changed)
	e.reserve(w, w.Reservation.Add(fleet.Vector{Memory: changed.Change.Memory}))
	e.adjustmentEvent("adjustment.applied", &changed.Adjustment, fmt.Sprintf("%s of workload %s is %s on host %s", o.Kind, o.Workload, o.Kind.Amount(old.Want), e.nameOf(w.Owner)))
	return nil
}

func (o ReportAdjusted) failed(e *entry, w *workloadRecord, old *adjustmentRecord) *Refusal {
	if old.State != fleet.AdjustmentAsked {
		return refuse(CodeState, "%s of workload %s is %s: only what was asked for can fail", o.Kind, o.Workload, old.State)
	}
	changed := *old
	changed.State, changed.Change = fleet.AdjustmentFailed, fleet.Vector{}
	if more := old.Change.CPU; more > 0 {
		if r := e.unleased(w.ID); r != nil {
			return r
		}
		e.reserve(w, w.Reservation.Sub(fleet.Vector{CPU: more}))
	}
	e.putAdjustment(&changed)
	e.adjustmentEvent("adjustment.failed", &changed.Adjustment, fmt.Sprintf("%s of workload %s could not be changed on host %s%s", o.Kind, o.Workload, e.nameOf(w.Owner), because(o.Reason)))
	return nil
}

func (o ReportAdjusted) takenBack(e *entry, w *workloadRecord, old *adjustmentRecord) *Refusal {
	if old.Change.Memory < 0 {
		return refuse(CodeState, "the memory that workload %s has given is not reserved again yet", w.ID)
	}
	if more := old.Change.CPU; more > 0 {
		if r := e.unleased(w.ID); r != nil {
			return r
		}
		e.reserve(w, w.Reservation.Sub(fleet.Vector{CPU: more}))
	}
	e.dropAdjustment(old)
	e.adjustmentEvent("adjustment.ended", &old.Adjustment, fmt.Sprintf("%s of workload %s is %s again%s", o.Kind, o.Workload, o.Kind.Amount(old.Before), because(o.Reason)))
	return nil
}

// reserve changes what a workload reserves.
func (e *entry) reserve(w *workloadRecord, reservation fleet.Vector) {
	if w.Reservation.Equal(reservation) {
		return
	}
	changed := *w
	changed.Reservation = reservation
	e.putWorkload(&changed)
	e.workloadEvent("workload.changed", &changed, "%s %s on host %s reserves %s", w.Kind, w.ID, e.nameOf(w.Owner), reservation)
}

// adjusted is what a host reports of a workload's reservation, as the adjustments
// that stand change it.
func (s *State) adjusted(id fleet.WorkloadID, reservation fleet.Vector) fleet.Vector {
	if len(s.adjustments) == 0 {
		return reservation
	}
	for _, kind := range []fleet.AdjustmentKind{fleet.VCPUs, fleet.Balloon} {
		if a := s.adjustments[keyOf(id, kind)]; a != nil {
			reservation = reservation.Add(a.Change).Max(fleet.Vector{})
		}
	}
	return reservation
}

// adjustmentKey files an adjustment; the blank is in no name, and before every
// character that is, so keys are in the order of the workloads' ids.
type adjustmentKey string

func keyOf(id fleet.WorkloadID, kind fleet.AdjustmentKind) adjustmentKey {
	return adjustmentKey(string(id) + " " + kind.String())
}

type adjustmentRecord struct {
	fleet.Adjustment
	digest digest
}

func (s *State) putAdjustment(r *adjustmentRecord) {
	key := keyOf(r.Workload, r.Kind)
	var before digest
	if old := s.adjustments[key]; old != nil {
		before = old.digest
	}
	r.digest = s.digestOfAdjustment(r)
	s.replace(before, r.digest)
	s.adjustments[key] = r
}

func (s *State) dropAdjustment(r *adjustmentRecord) {
	s.replace(r.digest, digest{})
	delete(s.adjustments, keyOf(r.Workload, r.Kind))
}

// dropAdjustmentsOf forgets what was changed of a workload that has ended.
func (s *State) dropAdjustmentsOf(id fleet.WorkloadID) {
	for kind := fleet.AdjustmentKind(0); kind.Valid(); kind++ {
		if r := s.adjustments[keyOf(id, kind)]; r != nil {
			s.dropAdjustment(r)
		}
	}
}

func (s *State) digestOfAdjustment(r *adjustmentRecord) digest {
	wordless := r.Adjustment // see link
	wordless.Reason = ""
	return s.digestOf(adjustmentKind, func(c *coder) { c.adjustment(&wordless) })
}

func (e *entry) adjustmentEvent(kind string, a *fleet.Adjustment, message string) {
	e.emit(fleet.Event{Topic: fleet.TopicWorkload, Type: kind, Host: a.Host, Workload: a.Workload, Message: message}, a)
}

// Adjustments returns what is changed in place, by workload and kind.
func (s *State) Adjustments() []fleet.Adjustment {
	if len(s.adjustments) == 0 {
		return nil
	}
	out := make([]fleet.Adjustment, 0, len(s.adjustments))
	for _, key := range slices.Sorted(maps.Keys(s.adjustments)) {
		out = append(out, s.adjustments[key].Adjustment)
	}
	return out
}

func (c *coder) adjustment(a *fleet.Adjustment) {
	c.message(func() {
		str(c, &a.Workload)
		enum(c, &a.Kind)
		str(c, &a.Host)
		enum(c, &a.State)
		c.int(&a.Before)
		c.int(&a.Want)
		c.time(&a.Since)
		str(c, &a.Decision)
		str(c, &a.Reason)
		c.vector(&a.Change)
	})
}
