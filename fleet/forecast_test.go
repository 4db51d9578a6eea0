package fleet

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestLoadClock(t *testing.T) {
	wall := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	c := LoadClock{Wall: wall, Load: wall.Add(-1000 * time.Hour), Scale: 300}
	if got := c.At(wall.Add(2 * time.Second)); !got.Equal(c.Load.Add(10 * time.Minute)) {
		t.Errorf("two seconds at scale 300 are ten minutes of load, got %s", got.Sub(c.Load))
	}
	if got := c.Machine(c.LoadOf(7 * time.Second)); got != 7*time.Second {
		t.Errorf("machine(load(7s)) = %s", got)
	}
	if got := (LoadClock{}).At(wall); !got.Equal(wall) {
		t.Errorf("without a load clock both clocks are one, got %s", got)
	}
}

func TestTicks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(-1<<33, 1<<33).Draw(t, "seconds"), 0)
		tick := TickOf(at)
		if start := TickStart(tick); start.After(at) || !TickStart(tick+1).After(at) {
			t.Fatalf("%s is not inside tick %d", at, tick)
		}
	})
}

func TestForecastAt(t *testing.T) {
	f := Forecast{Quantiles: []float64{.5, .9}, Steps: [][]float64{{10, 20}}}
	for level, want := range map[float64]float64{.1: 10, .5: 10, .7: 15, .9: 20, .99: 20} {
		if got := f.At(0, level); math.Abs(got-want) > 1e-9 {
			t.Errorf("level %g: %g, want %g", level, got, want)
		}
	}
}

func TestEnumsKeepTheirWords(t *testing.T) {
	for i, word := range leaseStates {
		var s LeaseState
		if err := s.UnmarshalText([]byte(word)); err != nil || int(s) != i {
			t.Errorf("%s: %v, %v", word, s, err)
		}
	}
	if _, err := json.Marshal(LeaseState(99)); err == nil {
		t.Error("a state without a name was written")
	}
	var a Automation
	if err := json.Unmarshal([]byte(`"sometimes"`), &a); err == nil {
		t.Error("an unknown word was read")
	}
	if err := DefaultPolicy().Validate(); err != nil {
		t.Error(err)
	}
	if DefaultPolicy().Automation != Observe {
		t.Error("a new cluster must only observe")
	}
}

func TestLeaseHolds(t *testing.T) {
	// While it may still end either way, a lease holds capacity at both ends:
	// the source through the workload it owns, or through the lease once the
	// owner has changed.
	for state, want := range map[LeaseState][2]bool{
		Granted: {true, false}, Transferring: {true, false}, Prepared: {true, false},
		Committed: {false, true}, Activated: {false, true}, Released: {false, false},
		Aborted: {true, false}, Uncertain: {true, false},
	} {
		l := Lease{Kind: LeaseMigration, State: state}
		if got := [2]bool{l.HoldsDestination(), l.HoldsSource()}; got != want {
			t.Errorf("%s holds (destination, source) = %v, want %v", state, got, want)
		}
	}
	if (Lease{State: Aborted, Discarded: true}).Active() {
		t.Error("an aborted lease whose copy is discarded is over")
	}
}
