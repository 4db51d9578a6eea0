package fsm

import (
	"bytes"
	"strings"
	"testing"

	"github.com/placed-dev/placed/fleet"
)

// A workload that its owner has lost, and that one other host says it runs, is that
// host's: it keeps what the books know of it, rests, and the event says so. Nobody
// takes a workload by claiming it alone.
func TestMovedByOtherMeans(t *testing.T) {
	w := newFleet(t)
	w.must(t, "h1", RaiseFeatureLevel{Level: FeatureLevel})
	mine := instance("w1", 8*gib)
	w.must(t, "h1", PinWorkload{Workload: "w1", Pinned: true})
	before, _ := w.state.Workload("w1")
	if err := w.apply(t, "h2", RegisterWorkloads{Host: "h2", Workloads: []fleet.Workload{mine}}).Refused(); err == nil {
		t.Fatal("h2 took a workload of h1 by running it")
	}
	if got := w.state.Disputed("w1"); len(got) != 1 || got[0] != "h2" {
		t.Fatalf("disputed by %v", got)
	}
	index := w.index
	w.must(t, "h1", DeregisterWorkload{Workload: "w1"}, DeregisterWorkload{Workload: "w1"})
	if lost, known := w.state.Workload("w1"); !known || lost.Owner != "h1" {
		t.Fatalf("given up by its owner alone: %+v, known %v", lost, known)
	}
	w.must(t, "h2", RegisterWorkloads{Host: "h2", Workloads: []fleet.Workload{mine}})
	after, known := w.state.Workload("w1")
	if !known || after.Owner != "h2" || after.Epoch != before.Epoch+1 || !after.Pinned {
		t.Fatalf("after the move by other means: %+v, known %v", after, known)
	}
	if len(w.state.Disputed("w1")) != 0 {
		t.Error("the dispute goes on")
	}
	told := false
	for _, e := range w.state.EventsSince(index, 1<<30) {
		told = told || e.Type == "workload.found" && strings.Contains(e.Message, "was found on host h2; the books gave it to host h1")
	}
	if !told {
		t.Error("no event tells of it")
	}
	restored, err := Restore(bytes.NewReader(snapshotBytes(t, w.state)))
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := restored.Workload("w1"); got.Owner != "h2" {
		t.Errorf("restored: %+v", got)
	}
}

// Two hosts that both claim it decide nothing: the workload leaves the books, and
// whoever runs it is looked at anew.
func TestClaimedByTwoIsNobodys(t *testing.T) {
	w := newFleet(t)
	w.must(t, "h1", RaiseFeatureLevel{Level: FeatureLevel})
	for _, h := range []fleet.HostID{"h2", "h3"} {
		w.apply(t, h, RegisterWorkloads{Host: h, Workloads: []fleet.Workload{instance("w1", 8*gib)}})
	}
	w.must(t, "h1", DeregisterWorkload{Workload: "w1"})
	if got, known := w.state.Workload("w1"); known {
		t.Errorf("it belongs to %s", got.Owner)
	}
}

// Below the level that knows of it, the workload leaves the books as it ever did: an
// older member must come to the same state.
func TestMovedByOtherMeansHasALevel(t *testing.T) {
	w := newFleet(t)
	w.must(t, "h1", RaiseFeatureLevel{Level: levelInPlace - 1})
	w.apply(t, "h2", RegisterWorkloads{Host: "h2", Workloads: []fleet.Workload{instance("w1", 8*gib)}})
	w.must(t, "h1", DeregisterWorkload{Workload: "w1"})
	if got, known := w.state.Workload("w1"); known {
		t.Errorf("it belongs to %s", got.Owner)
	}
}
