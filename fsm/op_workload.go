package fsm

import (
	"slices"

	"github.com/placed-dev/placed/fleet"
)

// RegisterWorkloads books what a host runs; an empty list says that it runs
// nothing. It is an observation: a reservation above capacity is recorded and
// makes the host overbooked. A workload that belongs to another host is not
// taken from it, but refused and recorded as a dispute, which ends when the host
// reports without it. The first report of a generation must be complete.
type RegisterWorkloads struct {
	Host      fleet.HostID     `json:"host"`
	Workloads []fleet.Workload `json:"workloads"`
}

func (RegisterWorkloads) number() uint64 { return numRegisterWorkloads }
func (o *RegisterWorkloads) code(c *coder) {
	str(c, &o.Host)
	list(c, &o.Workloads, c.workload)
}

func (o RegisterWorkloads) apply(e *entry) OpResult {
	h, r := e.needHost(o.Host)
	if r == nil {
		r = e.fromHost("what it runs", o.Host)
	}
	if r != nil {
		return OpResult{Err: r}
	}
	var first *Refusal
	seen := map[fleet.WorkloadID]bool{}
	for _, w := range o.Workloads {
		seen[w.ID] = true
		if r := e.report(o.Host, w); r != nil && first == nil {
			first = r
		}
	}
	e.withdraw(o.Host, seen)
	if h.reported != e.generation {
		changed := *h
		changed.reported = e.generation
		e.putHost(&changed)
		e.orphan(o.Host, seen)
	}
	return OpResult{Err: first}
}

// report books one workload that a host says it runs.
func (e *entry) report(host fleet.HostID, w fleet.Workload) *Refusal {
	if r := checkWorkload(w); r != nil {
		r.Host = host
		return r
	}
	old := e.workloads[w.ID]
	if old == nil {
		w.Owner, w.Epoch = host, 1
		booked := &workloadRecord{Workload: w, reported: e.generation}
		e.putWorkload(booked)
		e.workloadEvent("workload.registered", booked, "%s %s runs on host %s, reserves %s", w.Kind, w.ID, e.nameOf(host), w.Reservation)
		return nil
	}
	if old.Owner != host {
		return e.claim(host, old)
	}
	e.update(old, w)
	return nil
}

// update takes over what the owner reports, except what only the books say.
func (e *entry) update(old *workloadRecord, w fleet.Workload) {
	w.Owner, w.Epoch, w.Pinned = old.Owner, old.Epoch, old.Pinned
	if e.level >= levelInPlace {
		w.Kind, w.Instance = old.Kind, old.Instance
		w.Reservation = e.adjusted(w.ID, w.Reservation)
	}
	changed := *old
	changed.Workload, changed.reported = w, e.generation
	if sameWorkload(old.Workload, w) && (e.level < levelSources || old.Group == w.Group) {
		if old.reported != e.generation {
			e.putWorkload(&changed)
		}
		return
	}
	e.putWorkload(&changed)
	e.workloadEvent("workload.changed", &changed, "%s %s on host %s reserves %s", w.Kind, w.ID, e.nameOf(w.Owner), w.Reservation)
	if old.Reservation.Equal(w.Reservation) {
		return
	}
	// What the other end of a move must be able to hold follows the
	// workload; else the commit would bring more than was reserved.
	if l := e.leases[e.leaseOf[w.ID]]; l != nil && l.State != fleet.Aborted && l.Kind != fleet.LeasePlacement {
		resized := *l
		resized.Reservation, resized.Changed = w.Reservation, e.index
		e.putLease(&resized)
		e.leaseEvent(&resized, "reservation follows the workload: "+w.Reservation.String())
	}
}

func sameWorkload(a, b fleet.Workload) bool {
	if !a.Reservation.Equal(b.Reservation) {
		return false
	}
	a.Reservation, b.Reservation = fleet.Vector{}, fleet.Vector{}
	return a.ID == b.ID && a.Kind == b.Kind && a.Instance == b.Instance && a.Driver == b.Driver && a.Owner == b.Owner &&
		a.Epoch == b.Epoch && a.Priority == b.Priority && a.Tolerance == b.Tolerance && a.Port == b.Port &&
		a.Pinned == b.Pinned && a.ManagedBy == b.ManagedBy
}

// claim answers a host that runs a workload of another owner.
func (e *entry) claim(host fleet.HostID, w *workloadRecord) *Refusal {
	l := e.leases[e.leaseOf[w.ID]]
	if l != nil && (l.Source == host || l.Destination == host) {
		// Both ends of a move hold a copy for a while.
		r := refuse(CodeLeaseHeld, "workload %s belongs to host %s; what host %s holds is the other end of lease %s", w.ID, e.nameOf(w.Owner), e.nameOf(host), l.ID)
		r.Host, r.Workload, r.Lease = host, w.ID, l.ID
		return r
	}
	owner := e.hosts[w.Owner]
	if l == nil && w.reported < e.generation && owner != nil && owner.reported == e.generation {
		// Restored books may name an owner of the past, and somebody may have
		// moved it by other means. The owner has reported since and does not
		// run the workload: who does is the owner.
		e.reassign(w, host)
		return nil
	}
	_, known := e.disputes[dispute{w.ID, host}]
	e.dispute(w.ID, host, e.index)
	if !known {
		e.workloadEvent("workload.disputed", w, "host %s runs workload %s, which belongs to host %s: find out which copy is right and stop the other",
			e.nameOf(host), w.ID, e.nameOf(w.Owner))
	}
	r := refuse(CodeRule, "workload %s belongs to host %s: host %s may not take it by running it", w.ID, e.nameOf(w.Owner), e.nameOf(host))
	r.Host, r.Workload = host, w.ID
	return r
}

func (e *entry) reassign(w *workloadRecord, host fleet.HostID) {
	from := w.Owner
	changed := *w
	changed.Owner, changed.Epoch, changed.reported = host, w.Epoch+1, e.generation
	e.rest(&changed)
	e.putWorkload(&changed)
	e.dispute(w.ID, host, 0)
	e.workloadEvent("workload.found", &changed, "workload %s was found on host %s; the books gave it to host %s, which does not run it; it is left there and rests for a cool-down",
		w.ID, e.nameOf(host), e.nameOf(from))
}

// rest lets a workload that somebody else has moved cool down as after a move of
// ours: whoever moved it may not be done.
func (e *entry) rest(w *workloadRecord) bool {
	if e.level < levelHash {
		return false
	}
	w.moves, w.moved = max(w.moves, 1), e.load
	return true
}

// withdraw ends the disputes of a host over what it no longer reports.
func (e *entry) withdraw(host fleet.HostID, seen map[fleet.WorkloadID]bool) {
	var gone []fleet.WorkloadID
	for d := range e.disputes {
		if d.Host == host && !seen[d.Workload] {
			gone = append(gone, d.Workload)
		}
	}
	slices.Sort(gone)
	for _, id := range gone {
		e.dispute(id, host, 0)
		if w := e.workloads[id]; w != nil {
			if changed := *w; e.rest(&changed) {
				e.putWorkload(&changed)
				w = &changed
			}
			e.workloadEvent("workload.undisputed", w, "host %s no longer runs workload %s", e.nameOf(host), id)
		}
	}
}

// orphan gives what a host did not report in its first report of a generation to
// the one host that has claimed it since.
func (e *entry) orphan(host fleet.HostID, seen map[fleet.WorkloadID]bool) {
	var lost []*workloadRecord
	for id := range e.at[host].workloads {
		if w := e.workloads[id]; !seen[id] && w.reported < e.generation && e.leaseOf[id] == "" {
			lost = append(lost, w)
		}
	}
	slices.SortFunc(lost, func(a, b *workloadRecord) int { return compareText(a.ID, b.ID) })
	for _, w := range lost {
		if claims := e.disputed(w.ID); len(claims) == 1 {
			e.reassign(w, claims[0])
		}
	}
}

// checkWorkload refuses what the books could not count.
func checkWorkload(w fleet.Workload) *Refusal {
	r := func() *Refusal {
		if err := w.Validate(); err != nil {
			return refuse(CodeRule, "%v", err)
		}
		if bad := unknownAmount(w.Reservation); bad != "" {
			return refuse(CodeRule, "workload %s: the reservation of %s is unknown: a number is needed, it is what the books count", w.ID, bad)
		}
		if len(w.Driver) > 128 || len(w.ManagedBy) > 128 || len(w.Instance) > 128 {
			return refuse(CodeRule, "workload %s: driver, instance and managed_by may have 128 characters", w.ID)
		}
		return nil
	}()
	if r != nil {
		r.Workload = w.ID
	}
	return r
}

func unknownAmount(v fleet.Vector) (bad fleet.Resource) {
	v.Each(func(r fleet.Resource, amount int64) {
		if amount == fleet.Unknown && bad == "" {
			bad = r
		}
	})
	return bad
}

// DeregisterWorkload forgets a workload that its owner no longer runs. One that a
// single other host says it runs is that host's when it says so again.
type DeregisterWorkload struct {
	Workload fleet.WorkloadID `json:"workload"`
}

func (DeregisterWorkload) number() uint64   { return numDeregisterWorkload }
func (o *DeregisterWorkload) code(c *coder) { str(c, &o.Workload) }

func (o DeregisterWorkload) apply(e *entry) OpResult {
	w, r := e.needWorkload(o.Workload)
	if r == nil {
		r = e.fromHost("the end of workload "+string(o.Workload), w.Owner)
	}
	if r != nil {
		return OpResult{Err: r}
	}
	if id := e.leaseOf[o.Workload]; id != "" {
		r := refuse(CodeLeaseHeld, "workload %s has the active lease %s: it can be deregistered when that has ended", o.Workload, id)
		r.Workload, r.Lease = o.Workload, id
		return OpResult{Err: r}
	}
	if claims := e.disputed(o.Workload); len(claims) == 1 && e.level >= levelInPlace {
		if w.reported == e.generation {
			changed := *w
			changed.reported = 0
			e.putWorkload(&changed)
			e.workloadEvent("workload.lost", &changed, "host %s no longer runs workload %s; it is host %s's when that reports it again",
				e.nameOf(w.Owner), w.ID, e.nameOf(claims[0]))
		}
		return OpResult{}
	}
	e.dropWorkload(w)
	for _, host := range e.disputed(o.Workload) {
		e.dispute(o.Workload, host, 0)
	}
	e.workloadEvent("workload.deregistered", w, "%s %s no longer runs on host %s", w.Kind, w.ID, e.nameOf(w.Owner))
	return OpResult{}
}

// PinWorkload forbids passes to move a workload, or allows it again.
type PinWorkload struct {
	Workload fleet.WorkloadID `json:"workload"`
	Pinned   bool             `json:"pinned"`
	By       string           `json:"by"`
}

func (PinWorkload) number() uint64 { return numPinWorkload }
func (o *PinWorkload) code(c *coder) {
	str(c, &o.Workload)
	c.bool(&o.Pinned)
	str(c, &o.By)
}

func (o PinWorkload) apply(e *entry) OpResult {
	w, r := e.needWorkload(o.Workload)
	if r == nil {
		r = checkText("by", o.By)
	}
	if r != nil || w.Pinned == o.Pinned {
		return OpResult{Err: r}
	}
	changed := *w
	changed.Pinned = o.Pinned
	e.putWorkload(&changed)
	kind := "workload.unpinned"
	if o.Pinned {
		kind = "workload.pinned"
	}
	e.workloadEvent(kind, &changed, "workload %s: pinned is %t%s", w.ID, o.Pinned, by(o.By))
	return OpResult{}
}

func (e *entry) needWorkload(id fleet.WorkloadID) (*workloadRecord, *Refusal) {
	if w := e.workloads[id]; w != nil {
		return w, nil
	}
	r := refuse(CodeNotFound, "workload %s is not in the books: the host that runs it registers it", id)
	r.Workload = id
	return nil, r
}
