package planner

import (
	"strings"
	"testing"

	"github.com/placed-dev/placed/fleet"
)

// aheadTrial is two hosts of 8 cores. h1 is contended now; later in the day its
// "day" is what is too much, when "night" on h2 sleeps.
func aheadTrial() (*trial, Ahead) {
	policy := autoPolicy()
	policy.HoldPasses, policy.MovesPerPass, policy.MovesInFlight, policy.ChurnPerHour = 1, 4, 8, 20
	f := newTrial(policy)
	f.host("h1", 8000, 64*gib)
	f.host("h2", 8000, 64*gib)
	for id, host := range map[string]string{"day": "h1", "clash": "h1", "calm": "h1"} {
		f.workload(id, host, gib, constant(3000))
	}
	f.workload("night", "h2", gib, constant(1000))
	f.view.Workloads = sortedWorkloads(f.view.Workloads)
	f.advance(300)
	rows := map[fleet.WorkloadID][]float32{"day": {6500, 1000}, "clash": {2500, 1000}, "calm": {2500, 1000}, "night": {1000, 6000}}
	return f, Ahead{
		Scenarios:  func(id fleet.WorkloadID) []float32 { return rows[id] },
		Minutes:    []float64{600, 600},
		SourceRisk: 0.5, TargetRisk: 0.2,
	}
}

func sortedWorkloads(w []fleet.WorkloadView) []fleet.WorkloadView {
	for i := range w {
		for j := i; j > 0 && w[j].ID < w[j-1].ID; j-- {
			w[j], w[j-1] = w[j-1], w[j]
		}
	}
	return w
}

// Any of the three would end the contention of the hour; the one leaves that does
// not go with the others later in the day, and its decision says what it saves.
func TestAheadMovesWhatDoesNotGoWithTheOthers(t *testing.T) {
	f, ahead := aheadTrial()
	plan, _ := PlanAhead(f.view, f.model, ahead, nil)
	if len(plan.Moves) != 1 || plan.Moves[0].Workload != "day" || plan.Moves[0].To != "h2" {
		t.Fatalf("%+v", plan.Decisions)
	}
	if reason := plan.Decisions[0].Reason; !strings.Contains(reason, "contended workload-minutes of the coming day") {
		t.Error(reason)
	}
	// Without a day ahead, all three are as good, and the first by id goes.
	ahead.Minutes = nil
	ahead.Scenarios = func(fleet.WorkloadID) []float32 { return nil }
	if plan, _ = PlanAhead(f.view, f.model, ahead, nil); len(plan.Moves) != 1 || plan.Moves[0].Workload != "calm" {
		t.Fatalf("%+v", plan.Decisions)
	}
}

// Refusals, each with its reason: a gain too small, a destination that is needed
// itself, a source that is not sure enough, a hard rule.
func TestAheadRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(*trial, *Ahead)
		want  string
	}{
		"gain":   {func(_ *trial, a *Ahead) { a.MinGain = 1e6 }, "no allowed move saves enough"},
		"target": {func(f *trial, _ *Ahead) { f.load["night"] = constant(7000); f.advance(300) }, "no allowed move saves enough"},
		"free":   {func(_ *trial, a *Ahead) { a.KeepFree = 0.9 }, "no allowed move saves enough"},
		"source": {func(_ *trial, a *Ahead) { a.SourceRisk = 1.1 }, "a move needs 110 %"},
		"hold":   {func(f *trial, _ *Ahead) { f.view.Policy.HoldPasses = 3 }, "1 of 3 passes"},
		"rule": {func(f *trial, _ *Ahead) {
			f.view.Rules = []fleet.Rule{{ID: "r", Kind: fleet.HostAntiAffinity, Hard: true, Workloads: []fleet.WorkloadID{"day", "clash", "calm"}, Hosts: []fleet.HostID{"h2"}}}
		}, "no allowed move saves enough"},
		"drain": {func(f *trial, _ *Ahead) {
			f.view.Hosts[1].State = fleet.HostMaintenance
			f.view.Workloads = f.view.Workloads[:3]
		}, "no allowed move saves enough"},
	} {
		f, ahead := aheadTrial()
		test.spoil(f, &ahead)
		plan, _ := PlanAhead(f.view, f.model, ahead, nil)
		text := ""
		for _, d := range plan.Decisions {
			text += d.Reason + "\n"
		}
		if len(plan.Moves) != 0 || !strings.Contains(text, test.want) {
			t.Errorf("%s: %d moves, decisions %q; want %q", name, len(plan.Moves), text, test.want)
		}
	}
}

// Brief leaves out forecasts and the hash, and decides the same.
func TestAheadBrief(t *testing.T) {
	f, ahead := aheadTrial()
	long, _ := PlanAhead(f.view, f.model, ahead, nil)
	ahead.Brief = true
	short, _ := PlanAhead(f.view, f.model, ahead, nil)
	if short.InputHash != "" || short.Forecasts != nil || long.InputHash == "" || len(long.Forecasts) != 2 {
		t.Errorf("hashes %q and %q, %d and %d forecasts", long.InputHash, short.InputHash, len(long.Forecasts), len(short.Forecasts))
	}
	if len(short.Moves) != 1 || short.Moves[0].Workload != long.Moves[0].Workload || short.Decisions[0].Reason != long.Decisions[0].Reason {
		t.Errorf("%+v and %+v", short.Moves, long.Moves)
	}
}
