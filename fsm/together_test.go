package fsm

import (
	"testing"

	"github.com/placed-dev/placed/fleet"
)

// TestPairRefusedLeavesNoTrace: when the second of two that belong together is
// refused, the first holds nothing, is not counted as a move, and may be granted
// in the very next entry; when both fit, both are granted.
func TestPairRefusedLeavesNoTrace(t *testing.T) {
	w := newest(t)
	w.must(t, "h1", PutRule{Rule: fleet.Rule{ID: "pair", Kind: fleet.Affinity, Hard: true, Workloads: []fleet.WorkloadID{"w1", "w3"}}})
	w.must(t, "h2", ObserveHost{Host: "h2", Foreign: fleet.Vector{Memory: 20 * gib}})
	hash := w.state.records
	result := w.apply(t, "h1", Grant{Workload: "w1", Destination: "h2"}, PinWorkload{Workload: "w2"}, Grant{Workload: "w3", Destination: "h2"})
	if result.Ops[0].Err == nil || result.Ops[2].Err == nil || result.Ops[2].Err.Code != CodeCapacity || result.Ops[1].Err != nil {
		t.Fatalf("results %+v", result.Ops)
	}
	if w.state.records != hash || len(w.state.Leases()) != 0 || len(w.state.Grants(epoch.Add(-churnWindow))) != 0 || w.state.moving != 0 ||
		w.state.Held("h2").Memory != 20*gib {
		t.Errorf("the refused pair left leases %v, grants %v, %d moving, %s held", w.state.Leases(), w.state.Grants(epoch.Add(-churnWindow)), w.state.moving, w.state.Held("h2"))
	}
	both := w.must(t, "h1", Grant{Workload: "w1", Destination: "h3"}, Grant{Workload: "w3", Destination: "h3"})
	if w.state.Held("h3").Memory != 48*gib || both.Ops[0].Lease.ID == both.Ops[1].Lease.ID {
		t.Errorf("granted %+v, %s held", both.Ops, w.state.Held("h3"))
	}
}
