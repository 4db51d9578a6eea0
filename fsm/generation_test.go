package fsm

import (
	"bytes"
	"testing"

	"github.com/placed-dev/placed/fleet"
)

// A restored state comes back in a generation above every one there was, with
// each open lease uncertain and nothing granted before the hosts have reported;
// two servers that do it come to the same bytes.
func TestBeginGeneration(t *testing.T) {
	w := newFleet(t)
	granted := w.must(t, "h1", Grant{Workload: "w1", Destination: "h2", Type: fleet.Requested}).Ops[0].Lease
	data := snapshotBytes(t, w.state)
	begin := func() *State {
		s, err := Restore(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if err := BeginGeneration(s, 3, "", "test"); err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := begin()
	if s.Generation() != 4 || s.Index() <= w.index {
		t.Errorf("generation %d at index %d, was 1 at %d", s.Generation(), s.Index(), w.index)
	}
	if l, ok := s.Lease(granted.ID); !ok || l.State != fleet.Uncertain {
		t.Errorf("lease %+v", l)
	}
	if s.Verified("h2") {
		t.Error("h2 counts as verified although it has not reported again")
	}
	if !bytes.Equal(snapshotBytes(t, s), snapshotBytes(t, begin())) {
		t.Error("two servers come to different states")
	}
	w.state, w.index = s, s.Index()
	refused := w.apply(t, "h1", Grant{Workload: "w2", Destination: "h3", Type: fleet.Requested})
	if refused.Refused() == nil {
		t.Error("granted before anybody has reported")
	}
	for _, id := range []fleet.HostID{"h1", "h2", "h3"} {
		w.must(t, id, RegisterHost{Host: host(string(id), 64*gib)})
	}
	w.must(t, "h1", RegisterWorkloads{Host: "h1", Workloads: []fleet.Workload{instance("w1", 8*gib), instance("w2", 4*gib), instance("w3", 40*gib)}})
	w.must(t, "h3", RegisterWorkloads{Host: "h3"})
	token := w.must(t, "h1", Grant{Workload: "w2", Destination: "h3", Type: fleet.Requested}).Ops[0].Lease.Token
	if !token.NewerThan(granted.Token) {
		t.Errorf("token %v is not newer than %v", token, granted.Token)
	}
}
