package fsm

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/placed-dev/placed/fleet"
)

// books are the indexes over hosts, workloads and leases. They follow from the
// records, so a snapshot does not contain them.
type books struct {
	at      map[fleet.HostID]*onHost
	leaseOf map[fleet.WorkloadID]fleet.LeaseID // active lease
	// migrations are the active leases of that kind and the standbys that may
	// become some. Every agent looks at them again and again, and beside them there
	// may be ten thousands of placements.
	migrations map[fleet.LeaseID]*leaseRecord
	// owned is the index at which a host or workload last changed.
	owned uint64
	// moving counts the migration leases that are on their way.
	moving int64
	// dirty are the hosts that must be judged again before the next operation.
	dirty []*onHost
	// hard are the hard rules by id, windows the no-move intervals.
	hard    []*ruleRecord
	windows []fleet.CalendarEntry
}

func newBooks() books {
	return books{at: map[fleet.HostID]*onHost{}, leaseOf: map[fleet.WorkloadID]fleet.LeaseID{}, migrations: map[fleet.LeaseID]*leaseRecord{}}
}

// host returns what counts on a host, to be changed.
func (b *books) host(id fleet.HostID) *onHost {
	h := b.at[id]
	if h == nil {
		h = newOnHost(id)
		b.at[id] = h
	}
	if !h.dirty {
		h.dirty = true
		b.dirty = append(b.dirty, h)
	}
	return h
}

func (s *State) putHost(h *hostRecord) {
	var before digest
	if old := s.hosts[h.ID]; old != nil {
		before = old.digest
	}
	h.digest = s.digestOf(hostKind, func(c *coder) { c.hostRecord(h) })
	h.allocatable = h.Allocatable()
	s.replace(before, h.digest)
	s.owned = s.index
	s.hosts[h.ID] = h
	s.books.host(h.ID).putRecord(h)
}

func (s *State) putWorkload(w *workloadRecord) {
	var before digest
	at := s.books.host(w.Owner)
	if old := s.workloads[w.ID]; old != nil {
		before = old.digest
		s.books.host(old.Owner).dropWorkload(old)
	}
	w.digest = s.digestOf(workloadKind, func(c *coder) { c.workloadRecord(w) })
	s.replace(before, w.digest)
	s.owned = s.index
	s.workloads[w.ID] = w
	at.putWorkload(w)
}

func (s *State) dropWorkload(w *workloadRecord) {
	s.replace(w.digest, digest{})
	s.owned = s.index
	delete(s.workloads, w.ID)
	s.putProfile(w.ID, nil)
	s.dropAdjustmentsOf(w.ID)
	s.putThresholds(fleet.WorkloadThresholds{Workload: w.ID})
	s.books.host(w.Owner).dropWorkload(w)
}

func (s *State) putLease(l *leaseRecord) {
	old := s.leases[l.ID]
	var before digest
	if old != nil {
		before = old.digest
		s.unindexLease(old)
	}
	l.digest = s.digestOfLease(l)
	s.replace(before, l.digest)
	s.leases[l.ID] = l
	s.indexLease(l)
	if !l.Active() && (old == nil || old.Active()) {
		s.ended.items = append(s.ended.items, l.ID)
		if len(s.ended.items) > maxEnded {
			s.forgetLease(s.ended.drop(none[fleet.LeaseID]))
		}
	}
}

func (s *State) forgetLease(id fleet.LeaseID) {
	s.replace(s.leases[id].digest, digest{})
	delete(s.leases, id)
}

// dropLease undoes a grant of the entry being applied.
func (s *State) dropLease(id fleet.LeaseID) {
	s.unindexLease(s.leases[id])
	s.forgetLease(id)
}

func (s *State) indexLease(l *leaseRecord) {
	if l.Active() {
		s.leaseOf[l.Workload] = l.ID
		if l.Kind != fleet.LeasePlacement {
			s.migrations[l.ID] = l
		}
	}
	if l.HoldsDestination() {
		s.books.host(l.Destination).putLease(l)
	}
	if l.HoldsSource() {
		s.books.host(l.Source).putLease(l)
	}
	if onItsWay(&l.Lease) {
		s.moving++
	}
}

func (s *State) unindexLease(l *leaseRecord) {
	if s.leaseOf[l.Workload] == l.ID {
		delete(s.leaseOf, l.Workload)
	}
	delete(s.migrations, l.ID)
	if l.HoldsDestination() {
		s.books.host(l.Destination).dropLease(l)
	}
	if l.HoldsSource() {
		s.books.host(l.Source).dropLease(l)
	}
	if onItsWay(&l.Lease) {
		s.moving--
	}
}

// onItsWay: the lease uses the network or soon will. An uncertain lease waits
// for an observation and a stuck one must not stop every other move.
func onItsWay(l *fleet.Lease) bool {
	return l.Kind == fleet.LeaseMigration && l.State <= fleet.Activated
}

// settle judges the changed hosts again and reports who has become overbooked
// and who no longer is.
func (e *entry) settle() {
	if len(e.dirty) == 0 {
		return
	}
	if len(e.dirty) > 1 {
		slices.SortFunc(e.dirty, func(a, b *onHost) int { return compareText(a.id, b.id) })
	}
	for _, at := range e.dirty {
		before := at.overbooked
		at.overbooked = e.excess(at)
		at.dirty = false
		switch after := at.overbooked; {
		case before == "" && after != "":
			e.hostEvent("host.overbooked", at.id, "nothing is granted toward host "+e.nameOf(at.id)+": "+after)
		case before != "" && after == "":
			e.hostEvent("host.fits", at.id, "host "+e.nameOf(at.id)+" fits its books again")
		}
	}
	clear(e.dirty)
	e.dirty = e.dirty[:0]
}

// excess says in words what a host holds beyond its capacity, or "".
func (s *State) excess(at *onHost) string {
	if at.record == nil {
		return ""
	}
	held := at.sum()
	var parts []string
	allocatable := at.record.allocatable
	if _, over := allocatable.Lacks(held); over {
		held.Each(func(r fleet.Resource, amount int64) {
			if have := allocatable.Get(r); have != fleet.Unknown && amount > max(have, 0) {
				parts = append(parts, fmt.Sprintf("%s: %s reserved of %s", r,
					fleet.FormatAmount(r, amount), fleet.FormatAmount(r, have))+at.foreignPart(r))
			}
		})
	}
	if len(s.disputes) > 0 {
		var foreign []fleet.WorkloadID
		for d := range s.disputes {
			if d.Host == at.id {
				foreign = append(foreign, d.Workload)
			}
		}
		slices.Sort(foreign)
		for _, w := range foreign {
			parts = append(parts, fmt.Sprintf("runs workload %s, which the books give to another host", w))
		}
	}
	return strings.Join(parts, "; ")
}

// dispute records or withdraws that a host runs what belongs to another.
func (s *State) dispute(w fleet.WorkloadID, host fleet.HostID, index uint64) {
	key := dispute{w, host}
	before, known := s.disputes[key]
	if known {
		s.replace(s.digestOfDispute(key, before), digest{})
	}
	switch {
	case index > 0:
		s.replace(digest{}, s.digestOfDispute(key, index))
		s.disputes[key] = index
	case known:
		delete(s.disputes, key)
	default:
		return
	}
	s.books.host(host)
}

func (s *State) digestOfDispute(d dispute, index uint64) digest {
	return s.digestOf(disputeKind, func(c *coder) { c.dispute(&d, &index) })
}

// disputed returns who else claims the workload, in order.
func (s *State) disputed(w fleet.WorkloadID) []fleet.HostID {
	var out []fleet.HostID
	for d := range s.disputes {
		if d.Workload == w {
			out = append(out, d.Host)
		}
	}
	slices.Sort(out)
	return out
}

// holders returns the leases that hold capacity of a host, in order, and what
// they hold together.
func (s *State) holders(id fleet.HostID) ([]fleet.LeaseID, fleet.Vector) {
	at := s.at[id]
	if at == nil {
		return nil, fleet.Vector{}
	}
	var sum fleet.Vector
	ids := make([]fleet.LeaseID, 0, len(at.leases))
	for _, l := range at.leases {
		sum = sum.Add(l.Reservation)
		ids = append(ids, l.ID)
	}
	slices.SortFunc(ids, compareLeaseIDs)
	return ids, sum
}

// compareLeaseIDs orders L9 before L10 and L10 before L10.2.
func compareLeaseIDs(a, b fleet.LeaseID) int {
	aIndex, aPart, _ := strings.Cut(string(a), ".")
	bIndex, bPart, _ := strings.Cut(string(b), ".")
	return cmp.Or(
		cmp.Compare(len(aIndex), len(bIndex)), cmp.Compare(aIndex, bIndex),
		cmp.Compare(len(aPart), len(bPart)), cmp.Compare(aPart, bPart))
}

func (s *State) nameOf(id fleet.HostID) string {
	if h := s.hosts[id]; h != nil && h.Name != "" {
		return h.Name
	}
	return string(id)
}

func compareText[T ~string](a, b T) int { return cmp.Compare(a, b) }

func number(n uint64) string { return strconv.FormatUint(n, 10) }

// shorten keeps a text that was refused from filling a message.
func shorten(text string) string {
	if len(text) > 128 {
		return text[:128] + "…"
	}
	return text
}

func one[T any](T) int  { return 1 }
func none[T any](T) int { return 0 }
