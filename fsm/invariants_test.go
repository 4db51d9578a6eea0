package fsm

import (
	"slices"

	"github.com/placed-dev/placed/fleet"
)

// checkBooks compares the state's own sums with sums made from its records.
func checkBooks(t failer, s *State) {
	t.Helper()
	checkOnHosts(t, s)
	active := map[fleet.WorkloadID]fleet.LeaseID{}
	for _, l := range s.Leases() {
		if !l.Active() {
			t.Fatalf("lease %s is %s and listed as active", l.ID, l.State)
		}
	}
	held := map[fleet.HostID]fleet.Vector{}
	for _, h := range s.Hosts() {
		held[h.ID] = s.Foreign(h.ID)
	}
	for _, w := range s.Workloads() {
		held[w.Owner] = held[w.Owner].Add(w.Reservation)
	}
	for _, l := range s.AllLeases() {
		if l.Active() {
			if other, twice := active[l.Workload]; twice {
				t.Fatalf("workload %s has the active leases %s and %s", l.Workload, other, l.ID)
			}
			active[l.Workload] = l.ID
		}
		if l.HoldsDestination() {
			held[l.Destination] = held[l.Destination].Add(l.Reservation)
		}
		if l.HoldsSource() {
			held[l.Source] = held[l.Source].Add(l.Reservation)
		}
	}
	for _, h := range s.Hosts() {
		if got := s.Held(h.ID); !got.Equal(held[h.ID]) {
			t.Fatalf("host %s holds %s, its records say %s", h.ID, got, held[h.ID])
		}
		if over, why := s.Overbooked(h.ID); over != (!excessOf(s, h.ID).IsZero() || disputes(s, h.ID)) {
			t.Fatalf("host %s overbooked is %t (%s), excess is %+v", h.ID, over, why, excessOf(s, h.ID))
		}
	}
}

type failer interface {
	Helper()
	Fatalf(string, ...any)
}

func disputes(s *State, host fleet.HostID) bool {
	return slices.ContainsFunc(s.Workloads(), func(w fleet.Workload) bool { return slices.Contains(s.Disputed(w.ID), host) })
}

// excessOf is what a host holds beyond its capacity, never negative. A reserve
// larger than the host leaves nothing to hold, not less than nothing.
func excessOf(s *State, id fleet.HostID) fleet.Vector {
	h, _ := s.Host(id)
	allocatable, held := h.Allocatable(), s.Held(id)
	var over fleet.Vector
	held.Each(func(r fleet.Resource, n int64) {
		if have := allocatable.Get(r); have != fleet.Unknown && n > max(have, 0) {
			over = over.With(r, n-max(have, 0))
		}
	})
	return over
}

// quickCheck is checkBooks without the queries, for every index of a long log:
// what hosts hold is what their records say, and a workload has one active lease.
func quickCheck(t failer, s *State) {
	held := map[fleet.HostID]fleet.Vector{}
	for id, h := range s.hosts {
		held[id] = h.foreign
	}
	for _, w := range s.workloads {
		held[w.Owner] = held[w.Owner].Add(w.Reservation)
	}
	active := 0
	for _, l := range s.leases {
		if !l.Active() {
			continue
		}
		active++
		if s.leaseOf[l.Workload] != l.ID {
			t.Fatalf("workload %s has the active leases %s and %s", l.Workload, s.leaseOf[l.Workload], l.ID)
		}
		if l.HoldsDestination() {
			held[l.Destination] = held[l.Destination].Add(l.Reservation)
		}
		if l.HoldsSource() {
			held[l.Source] = held[l.Source].Add(l.Reservation)
		}
	}
	if active != len(s.leaseOf) {
		t.Fatalf("%d leases are active, %d are indexed", active, len(s.leaseOf))
	}
	for id, at := range s.at {
		if !at.held.Equal(held[id]) {
			t.Fatalf("host %s holds %s, its records say %s", id, at.held, held[id])
		}
	}
}

// broken counts how often a hard rule is broken, by rule: pairs that share a host
// and should not, workloads where they should not be. Affinity is left out: a
// move of one of two that were granted together may be given up.
func broken(s *State) map[string]int {
	if len(s.hard) == 0 {
		return nil
	}
	on := map[fleet.HostID]map[fleet.WorkloadID]fleet.Workload{}
	put := func(host fleet.HostID, w fleet.Workload) {
		if on[host] == nil {
			on[host] = map[fleet.WorkloadID]fleet.Workload{}
		}
		on[host][w.ID] = w
	}
	for _, w := range s.workloads {
		put(w.Owner, w.Workload)
	}
	for _, l := range s.leases {
		w := fleet.Workload{ID: l.Workload, Group: l.Group}
		if booked := s.workloads[l.Workload]; booked != nil {
			w = booked.Workload
		}
		if l.HoldsDestination() {
			put(l.Destination, w)
		}
		if l.HoldsSource() {
			put(l.Source, w)
		}
	}
	out := map[string]int{}
	for _, rule := range s.hard {
		for host, all := range on {
			n := 0
			for _, w := range all {
				if rule.Applies(w) {
					n++
				}
			}
			switch named := slices.Contains(rule.Hosts, host); {
			case rule.Kind == fleet.AntiAffinity:
				out[rule.ID] += n * (n - 1) / 2
			case rule.Kind == fleet.HostAffinity && !named, rule.Kind == fleet.HostAntiAffinity && named:
				out[rule.ID] += n
			}
		}
	}
	return out
}
