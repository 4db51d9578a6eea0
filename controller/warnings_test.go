package controller

import (
	"math"
	"testing"
	"time"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/predictor"
)

// TestWarningsAreJudged: a load that fills its host every afternoon for weeks is
// warned of before it does and comes true, also when the workload has been moved
// away in between; nothing is judged twice, and what was not measured is let go.
func TestWarningsAreJudged(t *testing.T) {
	const days = 4
	first := fleet.TickOf(start) / 288 * 288
	load := func(tick int64) float64 {
		if at := tick % 288; at >= 150 && at < 200 {
			return 1800
		}
		return 300
	}
	s := predictor.NewSeries()
	for tick := first - 10*288; tick < first; tick++ {
		s.Observe(tick, load(tick))
	}
	w, reports := NewWarnings(), NewReports()
	host := fleet.Host{ID: "h1", Capacity: fleet.Vector{CPU: 1000, Memory: 1 << 30}}
	policy := fleet.DefaultPolicy()
	said := 0
	for tick := first; tick < first+days*288; tick++ {
		s.Observe(tick, load(tick))
		owner := fleet.HostID("h1")
		if tick%288 >= 148 && tick%288 < 250 {
			owner = "h2" // a pass has moved it in time
		}
		now := fleet.TickStart(tick + 1)
		reports.Add(Report{Host: owner, Boot: "b", Seq: uint64(tick), At: now, Workloads: []WorkloadReport{
			{ID: "w", Tick: tick, TickCPU: int64(load(tick))}}}, time.Now())
		view := fleet.View{Now: now.Add(time.Second), Policy: policy,
			Hosts: []fleet.HostView{{Host: host, Liveness: fleet.Alive}, {Host: fleet.Host{ID: "h2", Capacity: fleet.Vector{CPU: 64_000}}, Liveness: fleet.Alive}},
			Workloads: []fleet.WorkloadView{{Workload: fleet.Workload{ID: "w", Owner: owner}, Usage: fleet.Vector{CPU: int64(load(tick))},
				Series: []fleet.Series{s.Report("w", fleet.CPU, predictor.Window)}}}}
		w.Observe(view, reports)
		w.Observe(view, reports) // the same tick again says nothing new
		if p, ok := w.Newest("h1"); ok && p[0] > 0.1 && load(tick) < 1000 {
			said++
		}
	}
	if said == 0 {
		t.Error("nothing was warned of")
	}
	for i, r := range w.Records() {
		lead := predictor.WarningLeads[i]
		if want := float64(days*288 - lead - predictor.OnsetWindow); math.Abs(r.Judged-want) > 0.1*want {
			t.Errorf("lead %d: %.0f cases were judged, want about %.0f", lead, r.Judged, want)
		}
		if r.Onsets < days-1 || !(r.Recall() > 0.3) || !(r.Precision() > 0.3) {
			t.Errorf("lead %d: %.1f onsets, precision %.2f, recall %.2f", lead, r.Onsets, r.Precision(), r.Recall())
		}
		if _, skill := r.Brier(); !(skill > 0.3) {
			t.Errorf("lead %d: skill %.2f", lead, skill)
		}
	}
	if n := len(w.waiting); n > 2*(9+predictor.OnsetWindow+1) {
		t.Errorf("%d cases wait", n)
	}
}
