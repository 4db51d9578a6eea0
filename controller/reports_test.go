package controller

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/placed-dev/placed/fleet"
)

var start = time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)

func report(host fleet.HostID, seq uint64, tick int64, residuals ...int64) Report {
	s := fleet.Series{Workload: "w", Resource: fleet.CPU, Tick: tick, Features: []float32{1}}
	for _, t := range residuals {
		s.Residuals = append(s.Residuals, fleet.Residual{Tick: t, Errors: []float32{float32(t)}})
	}
	return Report{Host: host, Boot: "b", Seq: seq, At: fleet.TickStart(tick), Usage: fleet.Vector{CPU: 100 * tick},
		Workloads: []WorkloadReport{{ID: "w", Tick: tick, TickCPU: 10 * tick, Usage: fleet.Vector{CPU: tick}, Series: []fleet.Series{s}}}}
}

func TestReportsAskForADayOnce(t *testing.T) {
	r := NewReports()
	if ack := r.Add(report("h1", 1, 1000, 1000), start); !ack.Full {
		t.Fatal("a voter without residuals must ask for a day of them")
	}
	if ack := r.Add(report("h1", 2, 1001, 1000, 1001), start); !ack.Full {
		t.Fatal("two residuals are no day")
	}
	day := report("h1", 3, 1001, 999, 1000, 1001)
	day.Workloads[0].Series[0].Whole = true
	if ack := r.Add(day, start); ack.Full {
		t.Fatal("a voter that got its day asked again")
	}
	if ack := r.Add(report("h1", 4, 1002, 1002), start); ack.Full {
		t.Fatal("one tick later is no gap")
	}
	if ack := r.Add(report("h1", 5, 1005, 1003, 1004, 1005), start); ack.Full {
		t.Fatal("three ticks with their residuals are no gap")
	}
	if ack := r.Add(report("h1", 6, 1010, 1010), start); !ack.Full {
		t.Fatal("four ticks without news are a gap that the host can fill")
	}
	var old []int64 // a host of an older version does not say that its day is whole
	for tick := int64(900); tick <= 1011; tick++ {
		old = append(old, tick)
	}
	if ack := r.Add(report("h1", 7, 1011, old...), start); ack.Full {
		t.Fatal("a day of an older host is not taken for one")
	}
}

func TestReportsAskAfterRestart(t *testing.T) {
	r := NewReports()
	unchanged := report("h1", 7, 1000)
	unchanged.Workloads[0].Series = nil // the host believes it is known here
	if ack := r.Add(unchanged, start); !ack.Full {
		t.Error("a voter that forgot a series does not ask for it")
	}
}

func TestReportsNewerSequenceWins(t *testing.T) {
	r := NewReports()
	r.Add(report("h1", 5, 1005, 1005), start)
	r.Add(report("h1", 4, 1004, 1004), start)
	if have, _, _ := r.Newest("h1"); have.Seq != 5 {
		t.Errorf("an older report replaced a newer one: sequence %d", have.Seq)
	}
	next := report("h1", 1, 1006, 1006)
	next.Boot = "restarted"
	r.Add(next, start)
	if have, _, _ := r.Newest("h1"); have.Boot != "restarted" {
		t.Error("a restarted agent begins its sequence again and must be heard")
	}
}

func TestResidualsStayOneDayAscending(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := NewReports()
		ticks := rapid.SliceOfN(rapid.Int64Range(0, 1000), 1, 50).Draw(t, "ticks")
		for i, tick := range ticks {
			more := rapid.SliceOfN(rapid.Int64Range(0, 1000), 0, 400).Draw(t, "residuals")
			r.Add(report("h1", uint64(i+1), tick, append(more, tick)...), start)
		}
		got := r.seriesOf("w")[0].Residuals
		if len(got) > residualDay {
			t.Fatalf("%d residuals are held", len(got))
		}
		for i := 1; i < len(got); i++ {
			if got[i-1].Tick >= got[i].Tick {
				t.Fatal("residuals are not ascending")
			}
		}
		for _, e := range got {
			if e.Errors[0] != float32(e.Tick) {
				t.Fatal("a residual lost its tick")
			}
		}
	})
}

func TestFillMarksSilentHostsStale(t *testing.T) {
	r := NewReports()
	r.Add(report("h1", 1, 1000, 1000), start)
	view := fleet.View{
		Hosts:     []fleet.HostView{{Host: fleet.Host{ID: "h1"}}, {Host: fleet.Host{ID: "h2"}}},
		Workloads: []fleet.WorkloadView{{Workload: fleet.Workload{ID: "w", Owner: "h1"}}},
	}
	r.Fill(&view, start.Add(5*time.Second), 15*time.Second)
	if view.Hosts[0].Liveness != fleet.Alive || view.Hosts[1].Liveness != fleet.Stale {
		t.Errorf("liveness %s and %s, want alive and stale (never reported)", view.Hosts[0].Liveness, view.Hosts[1].Liveness)
	}
	if view.Workloads[0].Usage.CPU != 1000 || len(view.Workloads[0].Series) != 1 {
		t.Errorf("the workload's usage and series were not filled in: %+v", view.Workloads[0])
	}
	view.Hosts[0].Liveness = fleet.Dead
	r.Fill(&view, start.Add(16*time.Second), 15*time.Second)
	if view.Hosts[0].Liveness != fleet.Dead {
		t.Error("a report must not make a dead host look better")
	}
}

func TestHostDemandIsThatOfOneTick(t *testing.T) {
	r := NewReports()
	r.Add(Report{Host: "h1", Boot: "b", Seq: 1, At: fleet.TickStart(1001), Usage: fleet.Vector{CPU: 999}, Foreign: fleet.Vector{CPU: 5},
		Workloads: []WorkloadReport{{ID: "a", Tick: 1000, TickCPU: 70}, {ID: "b", Tick: 1000, TickCPU: 30}, {ID: "gone", Tick: 990, TickCPU: 500}}}, start)
	if got, ok := r.HostDemandAt("h1", 1000); !ok || got != 105 {
		t.Errorf("demand %g, %v: want the sum of what was measured in tick 1000, and foreign load", got, ok)
	}
	if moved, ok := r.DemandAt("a", 1000); !ok || moved != 70 {
		t.Errorf("demand of a workload %g, %v", moved, ok)
	}
}

func TestRingKeepsTheNewest(t *testing.T) {
	r := &ring{}
	for tick := range int64(historyTicks + 10) {
		r.put(tick, float64(tick))
		r.put(tick-1, -1) // late news is ignored
	}
	ticks, values := r.values()
	if len(ticks) != historyTicks || ticks[0] != 10 || values[0] != 10 {
		t.Errorf("%d ticks from %d, value %g", len(ticks), ticks[0], values[0])
	}
	if v, ok := r.at(int64(historyTicks) + 9); !ok || v != float64(historyTicks+9) {
		t.Errorf("newest = %g, %v", v, ok)
	}
}

func TestLeaseClock(t *testing.T) {
	ttl := time.Minute
	clock := newLeaseClock(start, ttl)
	leases := []fleet.Lease{
		{ID: "L1", State: fleet.Transferring}, {ID: "L2", State: fleet.Committed}, {ID: "L3", State: fleet.Prepared},
	}
	limit := ttl + ttl/100 + expireMargin
	if got := clock.expired(leases, start.Add(limit)); len(got) != 0 {
		t.Fatalf("%v expired before their time: a new leader owes every lease a full term", got)
	}
	clock.renew("L3", start.Add(limit))
	got := clock.expired(leases, start.Add(limit+time.Second))
	if len(got) != 1 || got[0] != "L1" {
		t.Fatalf("expired %v, want L1 alone: L2 is committed, L3 was renewed", got)
	}
	fresh := []fleet.Lease{{ID: "L9", State: fleet.Granted}}
	if got := clock.expired(fresh, start.Add(10*limit)); len(got) != 0 {
		t.Fatal("a lease granted late in a term expired at once")
	}
	if len(clock.renewed) != 1 {
		t.Error("ended leases are still remembered")
	}
}

func TestRecorderSkipsRepetition(t *testing.T) {
	r := newRecorder()
	d := fleet.Decision{At: start, Outcome: fleet.OutcomeRefused, Workload: "w", From: "h1", Reason: "full"}
	if len(r.choose([]fleet.Decision{d})) != 1 {
		t.Fatal("a new refusal must be recorded")
	}
	d.At, d.Reason = start.Add(5*time.Minute), "full, other figures"
	if len(r.choose([]fleet.Decision{d})) != 0 {
		t.Fatal("the same refusal filled the log")
	}
	d.Outcome, d.To = fleet.OutcomeMove, "h2"
	if len(r.choose([]fleet.Decision{d, d})) != 2 {
		t.Fatal("a decision that acts must always be recorded")
	}
	d.Outcome, d.At = fleet.OutcomeRefused, start.Add(2*time.Hour)
	if len(r.choose([]fleet.Decision{d})) != 1 {
		t.Fatal("an old refusal must be recorded again")
	}
	if len(r.choose([]fleet.Decision{{At: start, Outcome: fleet.OutcomeNone}})) != 0 {
		t.Fatal("nothing to do is not worth an entry")
	}
}
