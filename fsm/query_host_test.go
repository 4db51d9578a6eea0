package fsm

import (
	"slices"

	"github.com/placed-dev/placed/fleet"
)

// checkOnHosts compares what is said of one host with what all of the books say.
func checkOnHosts(t failer, s *State) {
	t.Helper()
	for _, h := range s.Hosts() {
		workloads, leases := s.OnHost(h.ID)
		all := slices.DeleteFunc(s.Workloads(), func(w fleet.Workload) bool { return w.Owner != h.ID })
		named := slices.DeleteFunc(s.Leases(), func(l fleet.Lease) bool {
			return l.Destination != h.ID && (l.Source != h.ID || l.Kind == fleet.LeasePlacement)
		})
		if !slices.EqualFunc(workloads, all, func(a, b fleet.Workload) bool { return a.ID == b.ID }) {
			t.Fatalf("host %s has %d workloads, %d by name", h.ID, len(all), len(workloads))
		}
		if !slices.EqualFunc(leases, named, func(a, b fleet.Lease) bool { return a.ID == b.ID && a.State == b.State }) {
			t.Fatalf("host %s has the leases %v, by name %v", h.ID, named, leases)
		}
	}
}
