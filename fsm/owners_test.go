package fsm

import (
	"bytes"
	"testing"

	"github.com/placed-dev/placed/fleet"
)

// Who follows owners and hosts hears of every change of them, and of nothing else.
func TestOwnersChanged(t *testing.T) {
	w := newCell(t, 2, 1)
	for _, step := range []struct {
		name    string
		by      fleet.HostID
		op      Operation
		changes bool
	}{
		{"a placement", "h0", Grant{Workload: "new", Destination: "h1", Kind: fleet.LeasePlacement, Type: fleet.Requested, Reservation: fleet.Vector{CPU: 1, Memory: gib}}, false},
		{"a pin", "h0", PinWorkload{Workload: "w0-0", Pinned: true}, true},
		{"a host's state", "h0", SetHostState{Host: "h1", State: fleet.HostDraining}, true},
		{"a policy", "h0", SetPolicy{Policy: fleet.DefaultPolicy()}, false},
		{"a workload less", "h1", DeregisterWorkload{Workload: "w1-0"}, true},
	} {
		before := w.state.OwnersChanged()
		w.must(t, step.by, step.op)
		want := before
		if step.changes {
			want = w.state.Index()
		}
		if got := w.state.OwnersChanged(); got != want {
			t.Errorf("%s: owners changed at %d, want %d", step.name, got, want)
		}
	}
	restored, err := Restore(bytes.NewReader(snapshotBytes(t, w.state)))
	if err != nil {
		t.Fatal(err)
	}
	if got := restored.OwnersChanged(); got != restored.Index() {
		t.Errorf("restored: owners changed at %d of %d", got, restored.Index())
	}
}

// The index of migrations follows the leases, whatever becomes of them.
func TestMigrationsAreIndexed(t *testing.T) {
	w := newCell(t, 3, 2)
	check := func(when string, want ...fleet.LeaseID) {
		t.Helper()
		restored, err := Restore(bytes.NewReader(snapshotBytes(t, w.state)))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []*State{w.state, restored} {
			var got []fleet.LeaseID
			for _, l := range s.Migrations() {
				got = append(got, l.ID)
			}
			if len(got) != len(want) {
				t.Fatalf("%s: %v, want %v", when, got, want)
			}
			for i := range want {
				if got[i] != want[i] {
					t.Fatalf("%s: %v, want %v", when, got, want)
				}
			}
		}
	}
	lease := func(ops ...Operation) fleet.LeaseID {
		return w.must(t, "h0", ops...).Ops[0].Lease.ID
	}
	check("at first")
	first := lease(Grant{Workload: "w0-0", Destination: "h1", Type: fleet.Requested})
	lease(Grant{Workload: "new", Destination: "h1", Kind: fleet.LeasePlacement, Type: fleet.Requested, Reservation: fleet.Vector{CPU: 1, Memory: gib}})
	second := lease(Grant{Workload: "w2-1", Destination: "h1", Type: fleet.Requested})
	check("two migrations and a placement", first, second)
	w.must(t, "h0", Begin{Lease: first})
	check("one has begun", first, second)
	w.must(t, "h0", Release{Lease: second})
	check("one was released", first)
}
