package fsm

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// Grant reserves capacity at a destination for a workload: for its migration
// (the reservation is the workload's own), for its first placement, or for a
// standby. It is refused unless the books have room; this is where promise G1 is
// kept, whatever planned it.
//
// Several grants of kind placement in one entry are granted all or none.
type Grant struct {
	Workload    fleet.WorkloadID    `json:"workload"`
	Destination fleet.HostID        `json:"destination"`
	Kind        fleet.LeaseKind     `json:"kind"`
	Type        fleet.MigrationType `json:"type"`
	Decision    string              `json:"decision,omitempty"`
	Reason      string              `json:"reason,omitempty"`
	// Reservation is for placements of workloads that the books do not know
	// yet, and ignored otherwise.
	Reservation fleet.Vector `json:"reservation,omitzero"`
	// Group of a placement, for rules that speak about groups.
	Group string `json:"group,omitempty"`
}

func (Grant) number() uint64 { return numGrant }
func (o *Grant) code(c *coder) {
	str(c, &o.Workload)
	str(c, &o.Destination)
	enum(c, &o.Kind)
	enum(c, &o.Type)
	str(c, &o.Decision)
	str(c, &o.Reason)
	c.vector(&o.Reservation)
	c.late(o.Group != "", func() { str(c, &o.Group) })
}

func (o Grant) apply(e *entry) OpResult {
	e.granted++
	l := &leaseRecord{Lease: fleet.Lease{
		ID: e.leaseID(), Kind: o.Kind, Workload: o.Workload, Destination: o.Destination, Type: o.Type,
		Token:    fleet.Token{Cluster: e.cluster, Generation: e.generation, Index: e.index},
		Decision: o.Decision, Reason: o.Reason, Reservation: o.Reservation,
		Changed: e.index, GrantedAt: e.h.At,
	}}
	if w := e.workloads[o.Workload]; w != nil {
		l.Source, l.Reservation = w.Owner, w.Reservation
	} else {
		l.Group = o.Group
	}
	if r := o.refusal(e, l); r != nil {
		if r.Workload == "" {
			r.Workload = o.Workload
		}
		e.emit(fleet.Event{Topic: fleet.TopicLease, Type: "lease.refused", Host: o.Destination, Workload: o.Workload, Message: r.Message}, r)
		return OpResult{Err: r}
	}
	if e.grants > 1 { // else there is no second token
		if e.tokens == nil {
			e.tokens = map[fleet.WorkloadID]bool{}
		}
		e.tokens[o.Workload] = true
	}
	e.putLease(l)
	if o.Kind == fleet.LeaseMigration {
		e.State.grants.push(e.load, maxGrantTimes, maxGrantTimes, one[time.Time])
	}
	colon := "" // and not because(): one string instead of two
	if o.Reason != "" {
		colon = ": "
	}
	e.leaseEvent(l, o.Kind.String()+" of workload "+string(o.Workload)+" to host "+e.nameOf(o.Destination)+" granted ("+o.Type.String()+")"+colon+o.Reason)
	return OpResult{Lease: &l.Lease}
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

func (e *entry) leaseID() fleet.LeaseID {
	if e.grants == 1 {
		return fleet.LeaseID("L" + number(e.index))
	}
	return fleet.LeaseID("L" + number(e.index) + "." + number(uint64(e.granted)))
}

// refusal says why the lease may not be granted, or nil.
func (o *Grant) refusal(e *entry, l *leaseRecord) *Refusal {
	// One call after the other: a list of them would copy the grant for each.
	r := o.checkCommand(e)
	if r == nil {
		r = o.checkWorkload(e)
	}
	if r == nil {
		r = o.checkDestination(e, l)
	}
	if r == nil {
		r = o.checkRules(e)
	}
	if r == nil {
		r = o.checkPolicy(e)
	}
	if r == nil {
		r = o.checkCalendar(e)
	}
	if r == nil {
		r = o.checkRoom(e, l)
	}
	return r
}

func (o *Grant) checkCommand(e *entry) *Refusal {
	if e.cluster == "" {
		return notInitialised()
	}
	if r := e.fromVoter("a grant"); r != nil {
		return r
	}
	if r := checkText("reason", o.Reason); r != nil {
		return r
	}
	if len(o.Decision) > 128 {
		return refuse(CodeRule, "a decision id of %d characters: at most 128 are allowed", len(o.Decision))
	}
	if e.policy.Paused {
		return refuse(CodePaused, "moves are paused by policy: nothing is granted before the pause is lifted")
	}
	return nil
}

func (o *Grant) checkWorkload(e *entry) *Refusal {
	if id := e.leaseOf[o.Workload]; id != "" {
		held := e.leases[id]
		r := refuse(CodeLeaseHeld, "workload %s has the active lease %s (%s, %s to host %s)", o.Workload, id, held.State, held.Kind, e.nameOf(held.Destination))
		r.Lease, r.Holders = id, []fleet.LeaseID{id}
		return r
	}
	if e.tokens[o.Workload] {
		return refuse(CodeStaleToken, "workload %s was granted a token in this very entry: a second would not be newer", o.Workload)
	}
	if o.Kind == fleet.LeasePlacement {
		return o.checkPlacement(e.workloads[o.Workload])
	}
	return o.checkOwned(e)
}

// checkOwned: the workload is in the books, may leave its owner, and that one has
// said lately that it runs it.
func (o *Grant) checkOwned(e *entry) *Refusal {
	w := e.workloads[o.Workload]
	if w == nil {
		_, r := e.needWorkload(o.Workload)
		return r
	}
	if w.Owner == o.Destination {
		return refuse(CodeRule, "workload %s already runs on host %s", w.ID, e.nameOf(w.Owner))
	}
	if ok, why := w.Movable(); !ok && (w.ManagedBy != "" || o.Type != fleet.Requested) {
		return refuse(CodeRule, "workload %s may not move: %s", w.ID, why)
	}
	if others := e.disputed(w.ID); len(others) > 0 {
		return refuse(CodeRule, "workload %s also runs on host %s: find out which copy is right and stop the other", w.ID, e.nameOf(others[0]))
	}
	source := e.hosts[w.Owner]
	if source == nil || !e.verified(source) || (e.generation > 1 && w.reported < e.generation) {
		return refuse(CodeState, "the owner of workload %s is not verified since generation %d began: host %s must report what it runs first", w.ID, e.generation, e.nameOf(w.Owner))
	}
	return nil
}

func (o *Grant) checkPlacement(w *workloadRecord) *Refusal {
	if w != nil {
		return refuse(CodeRule, "workload %s is in the books already, on host %s: migrate it instead", w.ID, w.Owner)
	}
	if err := o.Workload.Validate(); err != nil {
		return refuse(CodeRule, "%v", err)
	}
	if err := o.Reservation.Validate(); err != nil {
		return refuse(CodeRule, "workload %s: reservation: %v", o.Workload, err)
	}
	if o.Group != "" {
		if r := checkName("group", o.Group); r != nil {
			return r
		}
	}
	if bad := unknownAmount(o.Reservation); bad != "" || o.Reservation.IsZero() {
		return refuse(CodeRule, "workload %s: a placement needs a known reservation, not %s", o.Workload, o.Reservation)
	}
	return nil
}

func (o *Grant) checkDestination(e *entry, l *leaseRecord) *Refusal {
	h, r := e.needHost(o.Destination)
	switch {
	case r != nil:
	case h.State != fleet.HostActive:
		r = refuse(CodeState, "host %s is %s: only active hosts take workloads", h.Name, h.State)
	case !e.verified(h):
		r = refuse(CodeState, "host %s has not reported what it runs since generation %d began", h.Name, e.generation)
	case e.at[o.Destination].overbooked != "":
		r = refuse(CodeCapacity, "host %s is overbooked: %s", h.Name, e.at[o.Destination].overbooked)
		r.Holders, _ = e.holders(o.Destination)
		if e.level >= levelHash {
			o.figures(e, l, r)
		}
	}
	if r != nil {
		r.Host = o.Destination
	}
	return r
}

// figures adds to a refusal of an overbooked host what is wanted, and what is
// left, of the resource that the host has too much of.
func (o *Grant) figures(e *entry, l *leaseRecord, r *Refusal) {
	at := e.at[o.Destination]
	if short, over := at.record.allocatable.Lacks(at.held); over {
		r.Resource, r.Want = short, l.Reservation.Get(short)
		r.Free = at.record.allocatable.Get(short) - at.held.Get(short)
	}
}

// automatic moves are those that a pass decides on its own.
func automatic(t fleet.MigrationType) bool {
	switch t {
	case fleet.Requested, fleet.Drain, fleet.Maintenance:
		return false
	}
	return true
}

func (o *Grant) checkPolicy(e *entry) *Refusal {
	if o.Kind == fleet.LeaseStandby {
		return o.checkStandby(e)
	}
	if o.Kind != fleet.LeaseMigration {
		return nil
	}
	if e.moving >= e.policy.MovesInFlight {
		return refuse(CodeRule, "%d moves are in flight, the policy allows %d: wait for one to end", e.moving, e.policy.MovesInFlight)
	}
	if !automatic(o.Type) {
		return nil
	}
	if e.policy.Automation == fleet.Observe {
		return refuse(CodeRule, "automation is observe: %s moves are explained, not made", o.Type)
	}
	if until := e.cooldown(e.workloads[o.Workload]); until.After(e.load) {
		return refuse(CodeRule, "workload %s has moved and cools down until %s (load time)", o.Workload, until.Format(time.RFC3339))
	}
	if recent := int64(len(e.grantsSince(e.load.Add(-churnWindow)))); recent >= e.policy.ChurnPerHour {
		return refuse(CodeRule, "%d grants in the last hour of load time, the policy's churn_per_hour allows %d", recent, e.policy.ChurnPerHour)
	}
	return nil
}

// cooldown returns the load time before which no pass moves the workload: the
// policy's cool-down after the last move, doubled for each move before it that
// came within CooldownReset of its predecessor, at most CooldownReset.
func (s *State) cooldown(w *workloadRecord) time.Time {
	if w == nil || w.moves == 0 {
		return time.Time{}
	}
	wait := s.policy.Cooldown
	limit := max(wait, s.policy.CooldownReset)
	for i := uint64(1); i < w.moves && wait > 0 && wait < limit; i++ {
		wait = min(wait, limit/2+1) * 2
	}
	return w.moved.Add(min(wait, limit))
}

func (s *State) grantsSince(load time.Time) []time.Time {
	items := s.grants.items // load time never goes back
	return items[sort.Search(len(items), func(i int) bool { return items[i].After(load) }):]
}

func (o *Grant) checkRoom(e *entry, l *leaseRecord) *Refusal {
	at := e.at[o.Destination]
	h, allocatable := at.record, at.record.allocatable
	free := allocatable.Sub(at.held)
	short, lacking := free.Lacks(l.Reservation)
	if !lacking {
		return nil
	}
	want, left := l.Reservation.Get(short), free.Get(short)
	holders, sum := e.holders(o.Destination)
	message := fmt.Sprintf("host %s %s: wants %s, %s free of %s", h.Name, short, fleet.FormatAmount(short, want),
		fleet.FormatAmount(short, max(left, 0)), fleet.FormatAmount(short, allocatable.Get(short)))
	if n := h.foreign.Get(short); n > 0 {
		message += fmt.Sprintf("; %s in use beyond all reservations", fleet.FormatAmount(short, n))
	}
	if held := sum.Get(short); held > 0 {
		message += fmt.Sprintf("; %s held by %s", fleet.FormatAmount(short, held), nameLeases(holders))
	}
	return &Refusal{Code: CodeCapacity, Host: o.Destination, Workload: o.Workload, Resource: short,
		Want: want, Free: left, Message: message, Holders: holders}
}

// nameLeases lists at most eight leases; Holders has them all.
func nameLeases(ids []fleet.LeaseID) string {
	noun, more := "leases ", ""
	if len(ids) == 1 {
		noun = "lease "
	}
	if len(ids) > 8 {
		more = fmt.Sprintf(" and %d more", len(ids)-8)
		ids = ids[:8]
	}
	words := make([]string, len(ids))
	for i, id := range ids {
		words[i] = string(id)
	}
	return noun + strings.Join(words, ", ") + more
}

// Claim turns a placement into a booked workload, before its destination starts
// it; the workload may reserve no more than the lease held. The lease ends.
type Claim struct {
	Lease    fleet.LeaseID  `json:"lease"`
	Workload fleet.Workload `json:"workload"`
}

func (Claim) number() uint64 { return numClaim }
func (o *Claim) code(c *coder) {
	str(c, &o.Lease)
	c.workload(&o.Workload)
}

func (o Claim) apply(e *entry) OpResult {
	l, r := e.needLease(o.Lease)
	if r != nil {
		return OpResult{Err: r}
	}
	if r := o.refusal(e, l); r != nil {
		return e.refused(l, r)
	}
	if l.State == fleet.Released {
		return OpResult{Lease: &l.Lease}
	}
	w := o.Workload
	w.ID, w.Owner, w.Epoch = l.Workload, l.Destination, 1
	if e.workloads[w.ID] == nil { // else its host has reported it already
		booked := &workloadRecord{Workload: w, reported: e.generation}
		e.putWorkload(booked)
		e.workloadEvent("workload.registered", booked, "%s %s is placed on host %s, reserves %s", w.Kind, w.ID, e.nameOf(w.Owner), w.Reservation)
	}
	return e.step(l, fleet.Released, "placement claimed", nil)
}

func (o Claim) refusal(e *entry, l *leaseRecord) *Refusal {
	if l.Kind != fleet.LeasePlacement || (l.State != fleet.Granted && l.State != fleet.Released) {
		return refuse(CodeState, "lease %s (%s) is %s: only a granted placement can be claimed", l.ID, l.Kind, l.State)
	}
	if r := e.fromHost("the claim of lease "+string(l.ID), l.Destination); r != nil {
		return r
	}
	if o.Workload.ID != l.Workload {
		return refuse(CodeRule, "lease %s is for workload %s, not for %s", l.ID, l.Workload, o.Workload.ID)
	}
	if r := checkWorkload(o.Workload); r != nil {
		return r
	}
	if o.Workload.Group != l.Group {
		// The rules were checked for the group that the lease was asked for.
		return refuse(CodeRule, "lease %s is for a workload of group %q, not of group %q: release it and ask again", l.ID, l.Group, o.Workload.Group)
	}
	if w := e.workloads[l.Workload]; w != nil && w.Owner != l.Destination {
		return refuse(CodeRule, "workload %s was started on host %s meanwhile: stop one of the two", w.ID, e.nameOf(w.Owner))
	}
	if short, lacking := l.Reservation.Lacks(o.Workload.Reservation); lacking {
		return &Refusal{Code: CodeCapacity, Resource: short, Want: o.Workload.Reservation.Get(short), Free: l.Reservation.Get(short),
			Message: fmt.Sprintf("lease %s reserves %s %s for workload %s, which wants %s", l.ID,
				fleet.FormatAmount(short, l.Reservation.Get(short)), short, l.Workload, fleet.FormatAmount(short, o.Workload.Reservation.Get(short)))}
	}
	return nil
}
