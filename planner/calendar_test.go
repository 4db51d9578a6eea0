package planner

import (
	"strings"
	"testing"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// What is known beforehand reaches the pass: an event raises the forecast from its
// beginning on and is met before it, maintenance lowers the line, and a window at
// the only destination keeps the automation away from it, not an operator.
func TestCalendarReachesThePass(t *testing.T) {
	policy := fleet.DefaultPolicy()
	policy.Automation, policy.HoldPasses = fleet.Auto, 1
	build := func(entries ...fleet.CalendarEntry) *trial {
		f := newTrial(policy)
		f.host("h1", 8000, 64*gib)
		f.host("h2", 8000, 64*gib)
		f.workload("shop", "h1", 4*gib, constant(4000))
		f.workload("mail", "h1", 4*gib, constant(2000))
		f.advance(2 * day)
		for _, e := range entries {
			e.ID, e.From, e.Until = e.Label, e.From.Add(f.view.Now.Sub(start)), e.Until.Add(f.view.Now.Sub(start))
			f.view.Calendar = append(f.view.Calendar, e)
		}
		return f
	}
	in := func(label string, kind fleet.CalendarKind, from, until time.Duration, e fleet.CalendarEntry) fleet.CalendarEntry {
		e.Label, e.Kind, e.From, e.Until = label, kind, start.Add(from), start.Add(until)
		return e
	}
	sale := in("sale", fleet.LoadChanges, 30*time.Minute, 2*time.Hour, fleet.CalendarEntry{Workloads: []fleet.WorkloadID{"shop"}, Change: fleet.Vector{CPU: 1000}})
	dimm := in("dimm", fleet.CapacityFalls, 30*time.Minute, 2*time.Hour, fleet.CalendarEntry{Hosts: []fleet.HostID{"h1"}, Change: fleet.Vector{CPU: -500}})
	freeze := in("freeze", fleet.NoMoves, -time.Minute, 2*time.Hour, fleet.CalendarEntry{Hosts: []fleet.HostID{"h2"}})

	quiet := build()
	plan, _ := Plan(quiet.view, quiet.model, nil)
	if len(plan.Contentions) != 0 {
		t.Fatalf("without a calendar: %+v", plan.Contentions)
	}
	for name, e := range map[string]fleet.CalendarEntry{"an event": sale, "maintenance": dimm} {
		f := build(e)
		plan, _ := Plan(f.view, f.model, nil)
		if len(plan.Contentions) != 1 || len(plan.Moves) != 1 {
			t.Fatalf("%s: contentions %+v, moves %+v", name, plan.Contentions, plan.Moves)
		}
		if breach := plan.Contentions[0].Breach.Sub(f.view.Now); breach < 25*time.Minute || breach > 35*time.Minute {
			t.Errorf("%s in 30 minutes: breach in %s", name, breach)
		}
	}
	f := build(sale)
	plan, _ = Plan(f.view, f.model, nil)
	if first, last := plan.Forecasts[0].Steps[1][2], plan.Forecasts[0].Steps[10][2]; last < first+3500 {
		t.Errorf("median before the event %.0f, during it %.0f", first, last)
	}
	f = build(sale, freeze)
	plan, _ = Plan(f.view, f.model, nil)
	if len(plan.Moves) != 0 || !strings.Contains(plan.Decisions[0].Reason, "calendar forbids moves there") {
		t.Errorf("into a window: %+v", plan.Decisions)
	}
	f.view.Requests = []fleet.Request{{Workload: "shop", DestinationHost: "h2", Type: fleet.Requested}}
	if plan, _ = Plan(f.view, f.model, nil); len(plan.Moves) != 1 {
		t.Errorf("by an operator's request: %+v", plan.Decisions)
	}
	f.view.Requests, f.view.Calendar = nil, []fleet.CalendarEntry{freeze}
	f.view.Calendar[0].Hosts, f.view.Calendar[0].From, f.view.Calendar[0].Until = nil, f.view.Now, f.view.Now.Add(time.Hour)
	f.view.Hosts[0].State = fleet.HostDraining
	if plan, _ = Plan(f.view, f.model, nil); len(plan.Moves) != 0 || !strings.Contains(plan.Decisions[0].Reason, "must stay for now") {
		t.Errorf("a drain in a window: %+v", plan.Decisions)
	}
}
