package controller

import (
	"testing"
	"time"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
)

// TestStandbysOfAPass: what a plan says of standbys goes into the books, below the
// level that brought them nothing; what their sources report reaches the next view;
// a promoted standby is under way and not sent for again.
func TestStandbysOfAPass(t *testing.T) {
	c, books, agents := newTerm(t)
	plan := fleet.Plan{Standbys: []fleet.Move{{Workload: "w", From: "h1", To: "h2", Decision: "p1.1", Reason: "it will be short"}}}
	if leases, err := c.standbys(t.Context(), plan); err != nil || len(leases) != 0 {
		t.Fatalf("below its level: %+v, %v", leases, err)
	}
	policy := books.View().Policy
	policy.Standbys = 1
	if err := books.propose("h1", fsm.RaiseFeatureLevel{Level: fsm.FeatureLevel, By: "test"}, fsm.SetPolicy{Policy: policy, By: "test"}).Refused(); err != nil {
		t.Fatal(err)
	}
	begin := func() fleet.Lease {
		t.Helper()
		leases, err := c.standbys(t.Context(), plan)
		if err != nil || len(leases) != 1 || leases[0].Kind != fleet.LeaseStandby {
			t.Fatalf("leases %+v, %v", leases, err)
		}
		c.dispatch(t.Context(), leases)
		if err := books.propose("h1", fsm.Begin{Lease: leases[0].ID}).Refused(); err != nil {
			t.Fatal(err)
		}
		return leases[0]
	}
	kept := func(l fleet.Lease, phase fleet.MigrationPhase, seq uint64) []fleet.Standby {
		now := time.Now()
		c.cfg.Reports.Add(Report{Host: "h1", Boot: "b", Seq: seq, At: now, Migrations: []fleet.Progress{{Lease: l.ID, Workload: "w", Phase: phase,
			Refresh: 2 * time.Second, Rounds: []fleet.Checkpoint{{Round: 1, Took: time.Second}, {Round: 2, Took: 30 * time.Millisecond}}}},
			Workloads: []WorkloadReport{{ID: "w", Copies: true}}}, now)
		view := c.buildView()
		if !view.Workloads[0].Copies {
			t.Error("the view does not say that the workload can be copied")
		}
		return view.Standbys
	}

	first := begin()
	if got := kept(first, fleet.PhaseCopying, 1); len(got) != 0 {
		t.Errorf("a copy that is not complete: %+v", got)
	}
	want := fleet.Standby{Lease: first.ID, Refresh: 2 * time.Second, Took: 30 * time.Millisecond}
	if got := kept(first, fleet.PhaseStandby, 2); len(got) != 1 || got[0] != want {
		t.Errorf("kept %+v, want %+v", got, want)
	}
	if _, err := c.standbys(t.Context(), fleet.Plan{Cancel: []fleet.StandbyEnd{{Lease: first.ID, Workload: "w", Reason: "no longer"}}}); err != nil {
		t.Fatal(err)
	}
	if l, _ := books.state.Lease(first.ID); l.State != fleet.Aborted || l.Discarded {
		t.Errorf("given up, the lease is %s (discarded %v)", l.State, l.Discarded)
	}
	if got := kept(first, fleet.PhaseStandby, 3); len(got) != 0 {
		t.Errorf("a late report of one that was given up: %+v", got)
	}
	if err := books.propose("h2", fsm.ReportDiscarded{Lease: first.ID}).Refused(); err != nil {
		t.Fatal(err)
	}

	second := begin()
	sent := agents.count()
	leases, err := c.grant(t.Context(), []fleet.Move{{Workload: "w", From: "h1", To: "h2", Type: fleet.Threshold, Decision: "p2.1", Reason: "it is short", Lease: second.ID}}, nil)
	if err != nil || len(leases) != 1 || leases[0].Kind != fleet.LeaseMigration || leases[0].Token != second.Token || leases[0].State != fleet.Transferring {
		t.Fatalf("promoted to %+v, %v", leases, err)
	}
	c.dispatch(t.Context(), leases)
	if n := agents.count(); n != sent || sent != 2 {
		t.Errorf("%d calls to the source, %d after the promotion; want 2", sent, n)
	}
}
