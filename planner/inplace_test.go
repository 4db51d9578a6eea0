package planner

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// adjustable gives the workloads of a random fleet what can be changed of them, and
// some of them thresholds.
func adjustable(r *rand.Rand, f *trial) {
	f.view.Policy.InPlace = fleet.InPlace{CPUWeight: true, CPUQuota: true, VCPUs: true, Balloon: true}
	for i := range f.view.Workloads {
		w := &f.view.Workloads[i]
		w.Priority = r.Int64N(3)
		if r.IntN(2) == 0 {
			w.Knobs = append(w.Knobs, fleet.Knob{Kind: fleet.CPUWeight, Now: 100, Least: 1, Most: 10_000})
		}
		switch usual := int64(f.load[w.ID](0)); r.IntN(3) {
		case 0:
			w.Knobs = append(w.Knobs, fleet.Knob{Kind: fleet.CPUQuota, Now: max(usual, 100), Least: 10, Most: 100_000})
		case 1:
			w.Knobs = append(w.Knobs, fleet.Knob{Kind: fleet.VCPUs, Now: max(usual/1000, 1), Least: 1, Most: usual/1000 + 4})
		}
		if r.IntN(2) == 0 {
			w.Knobs = append(w.Knobs, fleet.Knob{Kind: fleet.Balloon, Now: w.Reservation.Memory, Least: w.Reservation.Memory / 2, Most: w.Reservation.Memory})
		}
		if r.IntN(6) == 0 {
			w.Kind, w.Instance = fleet.Feature, "vm"
			f.view.Thresholds = append(f.view.Thresholds, fleet.WorkloadThresholds{Workload: w.ID,
				Thresholds: []fleet.FeatureThreshold{{Metric: fleet.CPU, Limit: 1 + r.Int64N(4000), Clear: fleet.DefaultClear, Hold: fleet.DefaultHold}}})
		}
	}
}

// In fleets under noise, whatever is changed in place stays within its knob and was
// allowed; nothing is changed again before it has stood for a while, or twice in one
// pass; what moves is not changed. On several threads the plan has the same bytes.
// Switched off, everything is taken back at once.
func TestInPlaceIsBoundedAndReproducible(t *testing.T) {
	policy := fleet.DefaultPolicy()
	policy.Automation, policy.MovesInFlight = fleet.Auto, 8
	adjusted := map[fleet.AdjustmentKind]int{}
	undone := 0
	for seed := range uint64(5) {
		r := rand.New(rand.NewPCG(seed, 5))
		f := randomFleet(r, policy, 3, 12, 0.75+0.1*float64(seed%3), 0.3)
		adjustable(r, f)
		f.advance(48)
		begun := map[adjustmentKey]time.Time{}
		for pass := range 96 {
			f.advance(1)
			if pass == 48 { // a DIMM is lost
				f.view.Hosts[0].Capacity.Memory = f.view.Hosts[0].Held.Memory * 9 / 10
			}
			plan, streaks := Plan(f.view, f.model, nil)
			if pass%8 == 0 || len(plan.Adjust)+len(plan.Undo) > 0 {
				again, _ := Plan(f.view, f.model, threads)
				if a, b := bytesOf(t, plan), bytesOf(t, again); a != b {
					t.Fatalf("seed %d, pass %d: on several threads the plan differs:\n%s\n%s", seed, pass, a, b)
				}
			}
			moved := map[fleet.WorkloadID]bool{}
			for _, m := range plan.Moves {
				moved[m.Workload] = true
			}
			for _, a := range plan.Adjust {
				key := adjustmentKey{a.Workload, a.Kind}
				switch last, before := begun[key], a.Since; {
				case before.Sub(last) < standTime:
					t.Fatalf("seed %d: %s of %s is changed at %s and was at %s", seed, a.Kind, a.Workload, before, last)
				case moved[a.Workload] && !a.Kind.Travels():
					t.Fatalf("seed %d: %s moves and its %s is changed", seed, a.Workload, a.Kind)
				}
				begun[key] = a.Since
				adjusted[a.Kind]++
				checkWithinKnob(t, f.view, a)
			}
			undone += len(plan.Undo)
			f.view.Breaches = streaks
			f.apply(plan)
		}
		f.view.Hosts[0].Capacity.Memory *= 4
		f.view.Policy.InPlace = fleet.InPlace{}
		f.pass()
		if n := len(f.view.Adjustments); n > 0 {
			t.Errorf("seed %d: switched off, %d adjustments stand: %+v", seed, n, f.view.Adjustments)
		}
	}
	for kind := fleet.AdjustmentKind(0); kind.Valid(); kind++ {
		if adjusted[kind] == 0 {
			t.Errorf("no %s was changed: the test says nothing of it", kind)
		}
	}
	if undone == 0 {
		t.Error("nothing was ever taken back by itself")
	}
}

func checkWithinKnob(t *testing.T, view fleet.View, a fleet.Adjustment) {
	t.Helper()
	for _, w := range view.Workloads {
		for _, k := range w.Knobs {
			if w.ID == a.Workload && k.Kind == a.Kind {
				if a.Before != k.Now || a.Want < k.Least || a.Want > k.Most || a.Host != w.Owner {
					t.Fatalf("%+v is changed by %+v", k, a)
				}
				return
			}
		}
	}
	t.Fatalf("%+v changes what cannot be changed", a)
}

func bytesOf(t *testing.T, plan fleet.Plan) string {
	t.Helper()
	plan.Forecasts = nil // not of what is tested, and most of the bytes
	data, err := json.Marshal(plan)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// threads is a Par that runs the parts at once, in no order.
func threads(n int, do func(int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { do(n - 1 - i) })
	}
	all.Wait()
}

// What may only be observed is explained and not done; nothing is changed of what
// another manager owns.
func TestInPlaceOnlyWhenAllowed(t *testing.T) {
	for name, change := range map[string]func(*trial){
		"observe":   func(f *trial) { f.view.Policy.Automation = fleet.Observe },
		"recommend": func(f *trial) { f.view.Policy.Automation = fleet.Recommend },
		"paused":    func(f *trial) { f.view.Policy.Paused = true },
		"off":       func(f *trial) { f.view.Policy.InPlace = fleet.InPlace{} },
		"nova's":    func(f *trial) { f.view.Workloads[0].ManagedBy = "nova" },
		"under way": func(f *trial) {
			f.view.Leases = []fleet.Lease{{ID: "L1", Workload: "web", Source: "h1", Destination: "h2", State: fleet.Granted}}
		},
		"the switch": func(*trial) {},
	} {
		policy := fleet.DefaultPolicy()
		policy.Automation, policy.HoldPasses = fleet.Auto, 1
		policy.InPlace.CPUQuota = true
		f := newTrial(policy)
		f.host("h1", 8000, 64*gib)
		f.host("h2", 8000, 64*gib)
		f.workload("web", "h1", gib, constant(1500)).Knobs = []fleet.Knob{{Kind: fleet.CPUQuota, Now: 1000, Least: 10, Most: 8000}}
		f.advance(30)
		change(f)
		plan, _ := Plan(f.view, f.model, nil)
		if allowed := name == "the switch"; (len(plan.Adjust) > 0) != allowed {
			t.Errorf("%s: %s", name, fmt.Sprint(plan.Adjust))
		}
	}
}
