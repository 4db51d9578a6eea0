package controller

import (
	"fmt"
	"strings"
	"testing"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/planner"
	"github.com/placed-dev/placed/predictor"
)

// profiled books a workload with the profile of a load that is level by night and
// three times as much from 8 to 18 h UTC.
func profiled(t *testing.T, books *ledger, w fleet.Workload, level int64, category predictor.Category) {
	t.Helper()
	h := &predictor.Habits{}
	first := fleet.TickOf(start) - 20*288
	for tick := first; tick < first+10*288; tick++ {
		amount := float64(level)
		if hour := tick % 288 / 12; hour >= 8 && hour < 18 {
			amount *= 3
		}
		h.Observe(fleet.CPU, tick, amount)
	}
	blob, err := predictor.NewProfile(h, predictor.Membership{Category: category}).MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	if err := books.propose("h1", fsm.RegisterWorkloads{Host: "h1", Workloads: []fleet.Workload{w}},
		fsm.PutProfile{Workload: w.ID, Blob: blob, Category: string(category)}).Refused(); err != nil {
		t.Fatal(err)
	}
}

// TestNewcomersBorrow: a workload that nobody has measured is foreseen as its group,
// its family of names or the whole fleet uses to be, by its reservation, and says so;
// one with a history of its own is not; without profiles nothing changes.
func TestNewcomersBorrow(t *testing.T) {
	books := &ledger{t: t, state: fsm.New()}
	host := fleet.Host{ID: "h1", Name: "h1", Zone: "z", Voter: true, Capacity: fleet.Vector{CPU: 64_000, Memory: 64 << 30}}
	if err := books.propose("h1", fsm.InitCluster{Cluster: "c", Level: fsm.FeatureLevel}, fsm.RegisterHost{Host: host}).Refused(); err != nil {
		t.Fatal(err)
	}
	workload := func(id, group string, cpu int64) fleet.Workload {
		return fleet.Workload{ID: fleet.WorkloadID(id), Driver: "region", Group: group, Owner: "h1", Reservation: fleet.Vector{CPU: cpu, Memory: 1 << 20}}
	}
	eight := fleet.TickStart(fleet.TickOf(start)/288*288 + 7*12 + 11) // 7:55
	view := func() fleet.View {
		return fleet.View{Now: eight, Hosts: []fleet.HostView{{Host: host, Liveness: fleet.Alive}}, Policy: fleet.DefaultPolicy(), Workloads: []fleet.WorkloadView{
			{Workload: workload("office-9", "", 2000)}, {Workload: workload("stranger", "shop", 2000)}, {Workload: workload("alone", "", 2000)},
		}}
	}
	empty := view()
	f := NewForesights(nil, books.Read)
	f.Fill(&empty)
	if len(empty.Workloads[0].Series) != 0 {
		t.Fatalf("without profiles there is nothing to borrow: %+v", empty.Workloads[0].Series)
	}
	for i := range 3 {
		profiled(t, books, workload(fmt.Sprintf("office-%d", i), "", 1000), 100, predictor.CategoryDiurnal)
		profiled(t, books, workload(fmt.Sprintf("worker%d", i), "shop", 1000), 300, predictor.CategoryCPU)
	}
	v := view() // in the same tick: what is new in the books counts at once
	f.Fill(&v)
	for i, want := range []struct {
		kind       string
		now, later float64 // medians before and after eight
	}{
		{"category diurnal, as others named office", 200, 600}, {"category cpu-bound, as its group shop", 600, 1800}, {"the whole fleet", 400, 1200},
	} {
		w := v.Workloads[i]
		if len(w.Series) != 1 || w.Series[0].Bands == nil || w.Series[0].Bands.Model != want.kind {
			t.Fatalf("%s: %+v", w.ID, w.Series)
		}
		d := predictor.Sum(0, []predictor.Block{predictor.NewBlock(w.Series[0], predictor.Baseline{})})
		// Step 1 is the running tick, 7:55; then comes eight o'clock.
		for step, median := range map[int]float64{1: want.now, 6: want.later} {
			if got := d.Quantile(step, 0.5); got < 0.9*median || got > 1.1*median {
				t.Errorf("%s, step %d: %.0f, want %.0f", w.ID, step, got, median)
			}
		}
		shown := f.Of(view().Workloads[i], fleet.TickOf(eight)-1)
		if len(shown) != 1 || !strings.Contains(shown[0].Foresight.Bands.Reason, "0 h of history") {
			t.Errorf("shown of %s: %+v", w.ID, shown)
		}
	}
	// A pass plans from it.
	plan, _ := planner.Plan(v, predictor.Baseline{}, nil)
	if len(plan.Forecasts) != 1 || plan.Forecasts[0].At(6, 0.5) < 1.5*plan.Forecasts[0].At(0, 0.5) {
		t.Errorf("the host's forecast does not rise at eight: %+v", plan.Forecasts)
	}
	known := view()
	known.Workloads[0].Series = []fleet.Series{foreseen(t, 12)}
	f.Fill(&known)
	if bands := known.Workloads[0].Series[0].Bands; bands == nil || strings.Contains(bands.Model, "category") {
		t.Errorf("a workload with twelve days of its own borrows: %+v", bands)
	}
}

// TestDependencies: what affinity rules keep together is one set, through workloads
// and groups; other rules declare nothing.
func TestDependencies(t *testing.T) {
	v := fleet.View{Rules: []fleet.Rule{
		{ID: "r1", Kind: fleet.Affinity, Workloads: []fleet.WorkloadID{"c", "d"}},
		{ID: "r2", Kind: fleet.Affinity, Groups: []string{"web"}},
		{ID: "r3", Kind: fleet.Affinity, Workloads: []fleet.WorkloadID{"d", "a"}},
		{ID: "r4", Kind: fleet.AntiAffinity, Workloads: []fleet.WorkloadID{"e", "a"}},
	}}
	for _, id := range []fleet.WorkloadID{"a", "b", "c", "d", "e", "f"} {
		w := fleet.Workload{ID: id}
		if id == "b" || id == "f" {
			w.Group = "web"
		}
		v.Workloads = append(v.Workloads, fleet.WorkloadView{Workload: w})
	}
	got := dependencies(v)
	want := map[fleet.WorkloadID]string{"a": "a", "c": "a", "d": "a", "b": "b", "f": "b"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", got, want)
	}
	NewForesights(nil, nil).Fill(&v)
	if s := v.Workloads[3].Series; len(s) != 1 || s[0].Together != "a" {
		t.Errorf("a dependent workload without a series: %+v", s)
	}
	if s := v.Workloads[4].Series; len(s) != 0 {
		t.Errorf("an independent one: %+v", s)
	}
}
