package daemon

import (
	"testing"
	"time"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/fleet"
)

// withHistory asks any agent for the books with history: every host has answered,
// every workload in the books has its load, on the grid that was asked for.
func withHistory(t *testing.T, client *api.Client, workloads int) {
	t.Helper()
	data, _, err := client.SaveBundle(t.Context(), api.QueryOptions{}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := api.DecodeBundle(data)
	if err != nil {
		t.Fatal(err)
	}
	if bundle.Ticks != 12 || len(bundle.Missing) != 0 || len(bundle.Loads) != workloads || len(bundle.Books) == 0 {
		t.Errorf("%d ticks, missing %+v, %d loads, %d bytes of books; want 12 ticks of %d workloads", bundle.Ticks, bundle.Missing, len(bundle.Loads), len(bundle.Books), workloads)
	}
	for _, l := range bundle.Loads {
		if len(l.CPU) != bundle.Ticks {
			t.Errorf("%s has %d ticks", l.Workload, len(l.CPU))
		}
	}
	if _, _, err := client.SaveBundle(t.Context(), api.QueryOptions{}, time.Second); err == nil {
		t.Error("a second of history was saved")
	}
}

// Only what has taken place is a move, in the order of the grants.
func TestMovesInLeases(t *testing.T) {
	at := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	lease := func(id string, index uint64, state fleet.LeaseState, kind fleet.LeaseKind) fleet.Lease {
		return fleet.Lease{ID: fleet.LeaseID(id), Workload: fleet.WorkloadID(id), Source: "h1", Destination: "h2", State: state, Kind: kind,
			Token: fleet.Token{Index: index}, GrantedAt: at}
	}
	got := movesIn([]fleet.Lease{
		lease("late", 9, fleet.Committed, fleet.LeaseMigration), lease("early", 3, fleet.Released, fleet.LeaseMigration),
		lease("placed", 4, fleet.Released, fleet.LeasePlacement), lease("given-up", 5, fleet.Aborted, fleet.LeaseMigration),
		lease("on-its-way", 6, fleet.Prepared, fleet.LeaseMigration),
	}, fleet.LoadClock{Scale: 10, Wall: at.Add(-time.Minute), Load: at})
	if len(got) != 2 || got[0].Workload != "early" || got[1].Workload != "late" || !got[0].At.Equal(at.Add(10*time.Minute)) {
		t.Errorf("%+v", got)
	}
}
