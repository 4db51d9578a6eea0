package fsm

import (
	"maps"
	"slices"

	"github.com/placed-dev/placed/fleet"
)

// OnHost returns the workloads of a host by id, and in the order of their grants
// the active leases that reserve something there or move something from or to it.
// It costs what the host has, not what the fleet has: every host asks every few
// seconds.
func (s *State) OnHost(id fleet.HostID) ([]fleet.Workload, []fleet.Lease) {
	at := s.at[id]
	if at == nil {
		return nil, nil
	}
	workloads := make([]fleet.Workload, 0, len(at.workloads))
	for _, w := range slices.Sorted(maps.Keys(at.workloads)) {
		workloads = append(workloads, at.workloads[w].Workload)
	}
	leases := slices.Collect(maps.Values(at.leases))
	for _, l := range s.migrations {
		// An end of a move that holds nothing there, or not yet.
		if (l.Source == id || l.Destination == id) && at.leases[l.ID] == nil {
			leases = append(leases, l)
		}
	}
	return workloads, inOrder(leases)
}
