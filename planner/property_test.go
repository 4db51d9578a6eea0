package planner

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/predictor"
)

// twoThreads runs the halves of the work at the same time and backwards.
func twoThreads(n int, do func(i int)) {
	var wait sync.WaitGroup
	for half := range 2 {
		wait.Go(func() {
			for i := n - 1 - half; i >= 0; i -= 2 {
				do(i)
			}
		})
	}
	wait.Wait()
}

// drawFleet draws a fleet with everything that can be on one: drains, requests,
// leases, dead hosts, pinned and foreign workloads, contentions of both kinds.
func drawFleet(t *rapid.T) *trial {
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 3))
	p := autoPolicy()
	p.HoldPasses = 1
	p.MovesPerPass, p.MovesInFlight, p.ChurnPerHour = 1+r.Int64N(5), 1+r.Int64N(5), r.Int64N(8)
	if r.IntN(2) == 0 {
		p.ReserveHosts, p.MovesPerHost, p.Consolidate = r.Int64N(3), r.Int64N(3), r.IntN(2) == 0
		p.BandwidthInFlight = r.Int64N(4) << 30
	}
	hosts := 2 + r.IntN(4)
	f := randomFleet(r, p, hosts, hosts*(1+r.IntN(5)), 0.2+r.Float64(), 0.3)
	f.model = yesterday{}
	for i := range f.view.Hosts {
		h := &f.view.Hosts[i]
		h.Zone = fmt.Sprintf("z%d", r.IntN(2))
		h.Capacity.Memory = (8 + r.Int64N(40)) * gib
		h.Overbooked = r.IntN(10) == 0
		if r.IntN(6) == 0 {
			h.State = fleet.HostState(r.IntN(4))
		}
		if r.IntN(8) == 0 {
			h.Liveness = fleet.Liveness(r.IntN(4))
		}
	}
	for i := range f.view.Workloads {
		w := &f.view.Workloads[i]
		w.Pinned = r.IntN(12) == 0
		if r.IntN(12) == 0 {
			w.ManagedBy = "external"
		}
		w.Reservation.CPU = r.Int64N(2000)
		if p.Consolidate {
			w.Hours = make([]int64, 24)
			for h := range w.Hours {
				w.Hours[h] = r.Int64N(3000)
			}
		}
		host := f.view.Hosts[r.IntN(hosts)]
		switch r.IntN(8) {
		case 0:
			f.view.Requests = append(f.view.Requests, fleet.Request{Workload: w.ID, Type: fleet.Requested, DestinationHost: host.ID})
		case 1:
			f.view.Requests = append(f.view.Requests, fleet.Request{Workload: w.ID, Type: fleet.Requested, DestinationZone: host.Zone})
		case 2:
			f.view.Leases = append(f.view.Leases, fleet.Lease{ID: fleet.LeaseID("L-" + w.ID), Workload: w.ID, Source: w.Owner, Destination: host.ID,
				State: fleet.LeaseState(r.IntN(8)), Reservation: w.Reservation})
		}
	}
	for i := range r.IntN(3) {
		rule := fleet.Rule{ID: fmt.Sprintf("r%d", i), Kind: fleet.RuleKind(r.IntN(4)), Hard: r.IntN(4) > 0}
		for range 2 + r.IntN(3) {
			rule.Workloads = append(rule.Workloads, f.view.Workloads[r.IntN(len(f.view.Workloads))].ID)
		}
		if rule.Kind.NamesHosts() {
			rule.Hosts = []fleet.HostID{f.view.Hosts[r.IntN(hosts)].ID, f.view.Hosts[r.IntN(hosts)].ID}
		}
		f.view.Rules = append(f.view.Rules, rule)
	}
	f.advance(2 + r.IntN(40))
	if r.IntN(4) == 0 {
		from := f.view.Now.Add(time.Duration(r.IntN(180)-60) * time.Minute)
		f.view.Calendar = append(f.view.Calendar, fleet.CalendarEntry{ID: "m", Kind: fleet.CapacityFalls, Hosts: []fleet.HostID{f.view.Hosts[r.IntN(hosts)].ID},
			From: from, Until: from.Add(2 * time.Hour), Change: fleet.Vector{CPU: -1000}})
	}
	return f
}

// What a plan may never do, whatever the fleet: break capacity in any order of
// its moves, touch what is not its to touch, exceed its bounds, or stay silent.
func TestPlanKeepsTheRules(t *testing.T) {
	moves := 0
	rapid.Check(t, func(t *rapid.T) {
		f := drawFleet(t)
		plan, _ := Plan(f.view, f.model, nil)
		moves += len(plan.Moves)
		keepsTheRules(t, f, plan)
		explains(t, f.view, plan)
		if decided := contended(plan); decided != len(plan.Contentions) {
			t.Fatalf("%d contentions, %d decisions about them", len(plan.Contentions), decided)
		}
	})
	if moves == 0 {
		t.Error("no drawn fleet made a move: the property tests nothing")
	}
}

// The same of a pass that weighs the coming day, whatever its scenarios say. Here
// several workloads may leave a host, each with its decision.
func TestPlanAheadKeepsTheRules(t *testing.T) {
	moves := 0
	rapid.Check(t, func(t *rapid.T) {
		f := drawFleet(t)
		values := rapid.IntRange(0, 4).Draw(t, "values")
		rows := map[fleet.WorkloadID][]float32{}
		for _, w := range f.view.Workloads {
			rows[w.ID] = rapid.SliceOfN(rapid.Float32Range(0, 6000), values, values).Draw(t, "row")
		}
		ahead := Ahead{
			Scenarios: func(id fleet.WorkloadID) []float32 { return rows[id] }, Minutes: slices.Repeat([]float64{20}, values),
			SourceRisk: rapid.Float64Range(0, 1).Draw(t, "source"), TargetRisk: rapid.Float64Range(0.01, 1).Draw(t, "target"),
			KeepFree: rapid.Float64Range(0, 0.5).Draw(t, "keep free"),
		}
		plan, _ := PlanAhead(f.view, f.model, ahead, nil)
		moves += len(plan.Moves)
		keepsTheRules(t, f, plan)
		explains(t, f.view, plan)
		if decided := contended(plan); decided < len(plan.Contentions) {
			t.Fatalf("%d contentions, %d decisions about them", len(plan.Contentions), decided)
		}
	})
	if moves == 0 {
		t.Error("no drawn fleet made a move: the property tests nothing")
	}
}

func keepsTheRules(t *rapid.T, f *trial, plan fleet.Plan) {
	hosts := map[fleet.HostID]*fleet.HostView{}
	for i := range f.view.Hosts {
		hosts[f.view.Hosts[i].ID] = &f.view.Hosts[i]
	}
	workloads := map[fleet.WorkloadID]fleet.WorkloadView{}
	for _, w := range f.view.Workloads {
		workloads[w.ID] = w
	}
	held := map[fleet.HostID]fleet.Vector{}
	goes := map[fleet.WorkloadID]fleet.HostID{}
	seen := map[fleet.WorkloadID]bool{}
	automaticMoves := int64(0)
	for _, m := range plan.Moves {
		w, from, to := workloads[m.Workload], hosts[m.From], hosts[m.To]
		if seen[m.Workload] {
			t.Fatalf("%s moves twice", m.Workload)
		}
		seen[m.Workload] = true
		if ok, why := w.Movable(); !ok {
			t.Fatalf("%s moves although it is %s", m.Workload, why)
		}
		if from.Liveness != fleet.Alive || w.Owner != m.From || m.From == m.To {
			t.Fatalf("%+v from a host that is %s, owner %s", m, from.Liveness, w.Owner)
		}
		if to.State != fleet.HostActive || to.Liveness != fleet.Alive || to.Overbooked {
			t.Fatalf("%+v goes to a host that is %s, %s, overbooked %t", m, to.State, to.Liveness, to.Overbooked)
		}
		for _, l := range f.view.Leases {
			if l.Workload == m.Workload && l.Active() {
				t.Fatalf("%s moves under lease %s", m.Workload, l.ID)
			}
		}
		// While it moves it is on both hosts, with everything else that is,
		// or will be in this pass.
		for _, rule := range f.view.Rules {
			if !rule.Hard || !rule.Applies(w.Workload) {
				continue
			}
			on := slices.Contains(rule.Hosts, m.To)
			bad := rule.Kind == fleet.HostAffinity && !on || rule.Kind == fleet.HostAntiAffinity && on
			if rule.Kind == fleet.AntiAffinity {
				for _, other := range f.view.Workloads {
					bad = bad || other.ID != w.ID && rule.Applies(other.Workload) && (other.Owner == m.To || goes[other.ID] == m.To)
				}
			}
			if bad {
				t.Fatalf("%+v breaks the hard %s", m, rule)
			}
		}
		goes[m.Workload] = m.To
		// Nothing is freed at the source, so no order can break this.
		held[m.To] = held[m.To].Add(m.Reservation)
		if r, lacking := to.Free().Lacks(held[m.To]); lacking {
			t.Fatalf("moves to %s exceed its %s", m.To, r)
		}
		if m.Type == fleet.Preemptive && (f.view.Now.After(m.LeaveBy) || m.Breach.IsZero()) {
			t.Fatalf("preemptive, but it had to leave by %s", m.LeaveBy)
		}
		if automatic(m.Type) {
			automaticMoves++
		}
	}
	policy := f.view.Policy
	busy := map[fleet.HostID]int64{}
	for _, l := range f.view.Leases {
		if l.State <= fleet.Activated {
			busy[l.Source]++
			busy[l.Destination]++
		}
	}
	for _, m := range plan.Moves {
		busy[m.From]++
		busy[m.To]++
		if policy.MovesPerHost > 0 && (busy[m.From] > policy.MovesPerHost || busy[m.To] > policy.MovesPerHost) {
			t.Fatalf("%+v: a host takes part in more than %d moves", m, policy.MovesPerHost)
		}
	}
	if automaticMoves > policy.MovesPerPass || automaticMoves > policy.ChurnPerHour || int64(len(plan.Moves)) > policy.MovesInFlight {
		t.Fatalf("%d moves, %d of them automatic, under %+v", len(plan.Moves), automaticMoves, policy)
	}
}

// explains checks that every request, contention and move has its decision.
func explains(t *rapid.T, view fleet.View, plan fleet.Plan) {
	if len(plan.Decisions) == 0 {
		t.Fatal("a pass without a decision")
	}
	ids := map[string]fleet.Decision{}
	for i, d := range plan.Decisions {
		if want := fmt.Sprintf("%s.%d", plan.Pass, i+1); d.ID != want || d.Reason == "" || d.InputHash != plan.InputHash || !d.At.Equal(view.Now) {
			t.Fatalf("decision %d: %+v", i, d)
		}
		if len(d.Exclusions) > maxExclusions+1 || len(d.Scores) > maxScores {
			t.Fatalf("a decision with %d exclusions and %d scores", len(d.Exclusions), len(d.Scores))
		}
		ids[d.ID] = d
		for _, s := range d.Scores {
			sum := 0.0
			for _, p := range s.Parts {
				sum += p.Value
			}
			if sum != s.Total {
				t.Fatalf("the parts of %+v sum to %g", s, sum)
			}
		}
	}
	for _, m := range plan.Moves {
		if d := ids[m.Decision]; d.Outcome != fleet.OutcomeMove || d.Workload != m.Workload || d.To != m.To {
			t.Fatalf("move %+v has decision %+v", m, d)
		}
	}
}

// contended counts the decisions about a contention.
func contended(plan fleet.Plan) (n int) {
	for _, d := range plan.Decisions {
		n += count(d.Contention != nil)
	}
	return n
}

// Same view, same bytes: with threads, twice, and with the lists reversed.
func TestSameBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := drawFleet(t)
		text := func(view fleet.View, par Par) string {
			plan, streaks := Plan(view, f.model, par)
			out, err := json.Marshal([]any{plan, streaks})
			if err != nil {
				t.Fatal(err)
			}
			return string(out)
		}
		want := text(f.view, nil)
		if got := text(f.view, twoThreads); got != want {
			t.Fatalf("threads change the plan:\n%s\n%s", want, got)
		}
	})
}

// Observe and pause decide the same and move nothing that no operator asked for.
func TestAutomationIsObeyed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := drawFleet(t)
		auto, _ := Plan(f.view, f.model, nil)
		f.view.Policy.Automation = fleet.Observe
		observed, _ := Plan(f.view, f.model, nil)
		if len(auto.Decisions) != len(observed.Decisions) {
			t.Fatalf("%d decisions in auto, %d in observe", len(auto.Decisions), len(observed.Decisions))
		}
		for i, d := range observed.Decisions {
			a := auto.Decisions[i]
			if d.Workload != a.Workload || d.To != a.To || d.Type != a.Type || (a.Outcome == fleet.OutcomeRefused) != (d.Outcome == fleet.OutcomeRefused) {
				t.Fatalf("auto %+v\nobserve %+v", a, d)
			}
		}
		for _, m := range observed.Moves {
			if automatic(m.Type) {
				t.Fatalf("observe moves %+v", m)
			}
		}
		f.view.Policy.Paused = true
		if paused, _ := Plan(f.view, f.model, nil); len(paused.Moves) != 0 {
			t.Fatalf("a paused fleet moves %+v", paused.Moves)
		}
	})
}

// Whatever is asked, WhyNot answers; and a host a plan chose is never refused by
// a WhyNot over the same view, unless an operator named the host and the plan
// says that the forecast or the reserve speaks against it.
func TestWhyNotAgreesWithThePlan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := drawFleet(t)
		plan, _ := Plan(f.view, f.model, nil)
		for i, m := range plan.Moves {
			if i > 0 {
				break // later moves see what earlier ones promised
			}
			if d := WhyNot(f.view, f.model, m.Workload, m.To); d.Outcome == fleet.OutcomeRefused && !strings.Contains(m.Reason, "; against the ") {
				t.Fatalf("the plan moves %s to %s, and why-not says: %s", m.Workload, m.To, d.Reason)
			}
		}
		for _, w := range f.view.Workloads {
			if d := WhyNot(f.view, f.model, w.ID, w.Owner); d.Outcome != fleet.OutcomeRefused || d.Reason == "" {
				t.Fatalf("a move to where it is: %+v", d)
			}
		}
	})
}

// More load on a host never turns a refusal of that host into an offer.
func TestMoreLoadNeverLooksIdler(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := drawFleet(t)
		w := f.view.Workloads[rapid.IntRange(0, len(f.view.Workloads)-1).Draw(t, "workload")].ID
		h := rapid.IntRange(0, len(f.view.Hosts)-1).Draw(t, "host")
		id := f.view.Hosts[h].ID
		offer := func() (float64, bool) {
			for _, s := range WhyNot(f.view, f.model, w, id).Scores {
				if s.Host == id {
					return s.Total, true
				}
			}
			return 0, false
		}
		before, offered := offer()
		f.view.Hosts[h].Foreign.CPU += rapid.Int64Range(0, 20000).Draw(t, "more")
		f.view.Hosts[h].Held.Memory += rapid.Int64Range(0, 8*gib).Draw(t, "booked")
		after, still := offer()
		if still && (!offered || after > before) {
			t.Fatalf("with more load the score of %s rose from %g (%t) to %g", id, before, offered, after)
		}
	})
}

// The hash names the view: any change that matters changes it.
func TestInputHash(t *testing.T) {
	f := newTrial(autoPolicy())
	f.host("h1", 8000, 64*gib)
	f.workload("w1", "h1", gib, constant(1000))
	f.advance(30)
	base := InputHash(f.view)
	if len(base) != 16 || base != InputHash(f.view) {
		t.Fatalf("hash %q is not stable", base)
	}
	for name, change := range map[string]func(v *fleet.View){
		"time":      func(v *fleet.View) { v.Now = v.Now.Add(time.Nanosecond) },
		"policy":    func(v *fleet.View) { v.Policy.Quantile++ },
		"feature":   func(v *fleet.View) { v.Workloads[0].Series[0].Features[3]++ },
		"residual":  func(v *fleet.View) { v.Workloads[0].Series[0].Residuals[0].Errors[0]++ },
		"no series": func(v *fleet.View) { v.Workloads[0].Series = nil },
		"rows":      func(v *fleet.View) { v.Workloads[0].Series[0].Rows = []byte{1} },
		"bands":     func(v *fleet.View) { v.Workloads[0].Series[0].Bands = &fleet.Bands{Model: "m"} },
	} {
		f.refresh()
		f.view.Index--
		change(&f.view)
		if InputHash(f.view) == base {
			t.Errorf("%s: the hash did not change", name)
		}
		f.view.Policy = autoPolicy()
	}
}

// A granted move counts at its destination, an uncertain one on both hosts, and
// an aborted one where the workload stayed.
func TestLeasesMoveDemand(t *testing.T) {
	for state, want := range map[fleet.LeaseState][2]int{
		fleet.Granted: {0, 1}, fleet.Transferring: {0, 1}, fleet.Prepared: {0, 1}, fleet.Uncertain: {1, 1}, fleet.Aborted: {1, 0},
	} {
		f := newTrial(autoPolicy())
		f.host("h1", 8000, 64*gib)
		f.host("h2", 8000, 64*gib)
		f.workload("w", "h1", gib, constant(1000))
		f.view.Leases = []fleet.Lease{{ID: "L1", Workload: "w", Source: "h1", Destination: "h2", State: state}}
		f.advance(30)
		b := newBooks(f.view, predictor.Baseline{}, serial)
		if got := [2]int{len(b.sites[0].members), len(b.sites[1].members)}; got != want {
			t.Errorf("%s: counted %v, want %v", state, got, want)
		}
	}
}
