package fsm

import (
	"reflect"
	"testing"

	"github.com/placed-dev/placed/fleet"
)

// TestCapacityFigures: whoever is refused for want of room learns of which
// resource, how much, and who holds it, also in fields.
func TestCapacityFigures(t *testing.T) {
	w := newest(t)
	w.must(t, "h1", Grant{Workload: "w3", Destination: "h2", Type: fleet.Requested})
	w.must(t, "h1", Grant{Workload: "x1", Destination: "h2", Kind: fleet.LeasePlacement, Reservation: fleet.Vector{CPU: 1, Memory: 20 * gib}})
	one, _ := w.state.LeaseOf("w3")
	two, _ := w.state.LeaseOf("x1")
	holders := []fleet.LeaseID{one.ID, two.ID}
	got := w.apply(t, "h1", Grant{Workload: "w1", Destination: "h2", Type: fleet.Requested}).Ops[0].Err
	want := &Refusal{Code: CodeCapacity, Host: "h2", Workload: "w1", Resource: fleet.Memory, Want: 8 * gib, Free: 4 * gib, Holders: holders,
		Message: "host h2 memory: wants 8 GiB, 4 GiB free of 64 GiB; 60 GiB held by leases " + string(one.ID) + ", " + string(two.ID)}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	w.must(t, "h2", ObserveHost{Host: "h2", Foreign: fleet.Vector{Memory: 6 * gib}})
	got = w.apply(t, "h1", Grant{Workload: "w1", Destination: "h2", Type: fleet.Requested}).Ops[0].Err
	want = &Refusal{Code: CodeCapacity, Host: "h2", Workload: "w1", Resource: fleet.Memory, Want: 8 * gib, Free: -2 * gib, Holders: holders,
		Message: "host h2 is overbooked: memory: 66 GiB reserved of 64 GiB, 6 GiB of it in use beyond all reservations"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	w.must(t, "h1", PutRule{Rule: fleet.Rule{ID: "r", Kind: fleet.HostAntiAffinity, Hard: true, Workloads: []fleet.WorkloadID{"w1"}, Hosts: []fleet.HostID{"h3"}}})
	got = w.apply(t, "h1", Grant{Workload: "w1", Destination: "h3", Type: fleet.Requested}).Ops[0].Err
	want = &Refusal{Code: CodeRule, Host: "h3", Workload: "w1", Rule: "r", Message: "workload w1 may not go to host h3: host-anti-affinity rule r: it never runs there"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}
