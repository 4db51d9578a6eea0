package fsm

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/placed-dev/placed/fleet"
)

// books are the indexes over hosts, workloads and leases. They follow from the
// records, so a snapshot does not contain them.
type books struct {
	at      map[fleet.HostID]*onHost
	leaseOf map[fleet.WorkloadID]fleet.LeaseID // active lease
	// moving counts the migration leases that are on their way.
	moving int64
	// dirty are the hosts whose sums must be made again before the next
	// operation.
	dirty map[fleet.HostID]bool
}

// onHost is what counts against one host. The sum is made again from its parts
// after every change instead of being counted up and down: saturating sums
// cannot be undone, and drift would be double-booking.
type onHost struct {
	workloads  map[fleet.WorkloadID]*workloadRecord
	leases     map[fleet.LeaseID]*leaseRecord
	held       fleet.Vector
	overbooked string // why, or ""
}

func newBooks() books {
	return books{
		at:      map[fleet.HostID]*onHost{},
		leaseOf: map[fleet.WorkloadID]fleet.LeaseID{},
		dirty:   map[fleet.HostID]bool{},
	}
}

func (b *books) host(id fleet.HostID) *onHost {
	h := b.at[id]
	if h == nil {
		h = &onHost{workloads: map[fleet.WorkloadID]*workloadRecord{}, leases: map[fleet.LeaseID]*leaseRecord{}}
		b.at[id] = h
	}
	b.dirty[id] = true
	return h
}

func (s *State) putHost(h *hostRecord) {
	s.hosts[h.ID] = h
	s.books.host(h.ID)
}

func (s *State) putWorkload(w *workloadRecord) {
	if old := s.workloads[w.ID]; old != nil && old.Owner != w.Owner {
		delete(s.books.host(old.Owner).workloads, w.ID)
	}
	s.workloads[w.ID] = w
	s.books.host(w.Owner).workloads[w.ID] = w
}

func (s *State) dropWorkload(w *workloadRecord) {
	delete(s.workloads, w.ID)
	delete(s.profiles, w.ID)
	delete(s.books.host(w.Owner).workloads, w.ID)
}

func (s *State) putLease(l *leaseRecord) {
	old := s.leases[l.ID]
	if old != nil {
		s.unindexLease(old)
	}
	s.leases[l.ID] = l
	s.indexLease(l)
	if !l.Active() && (old == nil || old.Active()) {
		s.ended.items = append(s.ended.items, l.ID)
		if len(s.ended.items) > maxEnded {
			delete(s.leases, s.ended.drop(none[fleet.LeaseID]))
		}
	}
}

// dropLease undoes a grant of the entry being applied.
func (s *State) dropLease(id fleet.LeaseID) {
	s.unindexLease(s.leases[id])
	delete(s.leases, id)
}

func (s *State) indexLease(l *leaseRecord) {
	if l.Active() {
		s.leaseOf[l.Workload] = l.ID
	}
	if l.HoldsDestination() {
		s.books.host(l.Destination).leases[l.ID] = l
	}
	if l.HoldsSource() {
		s.books.host(l.Source).leases[l.ID] = l
	}
	if onItsWay(l.Lease) {
		s.moving++
	}
}

func (s *State) unindexLease(l *leaseRecord) {
	if s.leaseOf[l.Workload] == l.ID {
		delete(s.leaseOf, l.Workload)
	}
	if l.HoldsDestination() {
		delete(s.books.host(l.Destination).leases, l.ID)
	}
	if l.HoldsSource() {
		delete(s.books.host(l.Source).leases, l.ID)
	}
	if onItsWay(l.Lease) {
		s.moving--
	}
}

// onItsWay: the lease uses the network or soon will. An uncertain lease waits
// for an observation and a stuck one must not stop every other move.
func onItsWay(l fleet.Lease) bool {
	return l.Kind == fleet.LeaseMigration && l.State <= fleet.Activated
}

// settle makes the sums of the changed hosts again and reports who has become
// overbooked and who no longer is.
func (e *entry) settle() {
	if len(e.dirty) == 0 {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(e.dirty)) {
		before := e.at[id].overbooked
		e.sum(id)
		after := e.at[id].overbooked
		switch {
		case before == "" && after != "":
			e.hostEvent("host.overbooked", id, "nothing is granted toward host "+e.nameOf(id)+": "+after)
		case before != "" && after == "":
			e.hostEvent("host.fits", id, "host "+e.nameOf(id)+" fits its books again")
		}
	}
	clear(e.dirty)
}

// sum makes held and overbooked of one host again.
func (s *State) sum(id fleet.HostID) {
	at := s.at[id]
	var held fleet.Vector
	for _, w := range at.workloads {
		held = held.Add(w.Reservation)
	}
	for _, l := range at.leases {
		held = held.Add(l.Reservation)
	}
	at.held, at.overbooked = held, s.excess(id, held)
}

// excess says in words what a host holds beyond its capacity, or "".
func (s *State) excess(id fleet.HostID, held fleet.Vector) string {
	h := s.hosts[id]
	if h == nil {
		return ""
	}
	var parts []string
	allocatable := h.Allocatable()
	held.Each(func(r fleet.Resource, amount int64) {
		if have := allocatable.Get(r); have != fleet.Unknown && amount > max(have, 0) {
			parts = append(parts, fmt.Sprintf("%s: %s reserved of %s", r,
				fleet.FormatAmount(r, amount), fleet.FormatAmount(r, have)))
		}
	})
	if len(s.disputes) > 0 {
		var foreign []fleet.WorkloadID
		for d := range s.disputes {
			if d.Host == id {
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
	if index == 0 {
		if _, ok := s.disputes[key]; !ok {
			return
		}
		delete(s.disputes, key)
	} else {
		s.disputes[key] = index
	}
	s.books.host(host)
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
	ids := slices.SortedFunc(maps.Keys(at.leases), compareLeaseIDs)
	for _, l := range ids {
		sum = sum.Add(at.leases[l].Reservation)
	}
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

func one[T any](T) int  { return 1 }
func none[T any](T) int { return 0 }
