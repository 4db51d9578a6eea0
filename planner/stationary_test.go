package planner

import (
	"math/rand/v2"
	"testing"

	"github.com/placed-dev/placed/fleet"
)

func autoPolicy() fleet.Policy {
	p := fleet.DefaultPolicy()
	p.Automation = fleet.Auto
	return p
}

// settled runs a random fleet for six hours, lets it go on for twelve more, and
// returns the moves after the six hours and in all.
func settled(t *testing.T, seed uint64, cv float64) (late, all int) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	hosts := 2 + r.IntN(3)
	f := randomFleet(r, autoPolicy(), hosts, hosts*(3+r.IntN(4)), 0.3+0.4*r.Float64(), cv)
	if seed%2 == 1 { // with moves that are copied ahead and may wait
		f.view.Policy.Standbys = 2
		for i := range f.view.Workloads {
			f.view.Workloads[i].Copies = true
		}
	}
	f.advance(300)
	left := map[fleet.WorkloadID]map[fleet.HostID]bool{}
	for i := range 216 {
		plan := f.pass()
		if n := int64(len(f.view.Leases)); n > f.view.Policy.Standbys {
			t.Errorf("seed %d, pass %d: %d standbys", seed, i, n)
		}
		for _, m := range plan.Moves {
			all++
			if i >= 72 {
				late++
			}
			if left[m.Workload][m.To] {
				t.Errorf("seed %d, pass %d: %s returns to %s: %s", seed, i, m.Workload, m.To, m.Reason)
			}
			if left[m.Workload] == nil {
				left[m.Workload] = map[fleet.HostID]bool{}
			}
			left[m.Workload][m.From] = true
		}
	}
	return late, all
}

// G9: with stationary load that hardly fluctuates, the planner reaches zero
// moves within six hours and stays there.
func TestStationaryLoadReachesZeroMoves(t *testing.T) {
	total, fleets := 0, uint64(4)
	if raced {
		fleets = 1
	}
	for seed := range fleets {
		late, all := settled(t, seed, 0.05)
		if late != 0 {
			t.Errorf("seed %d: %d moves after six hours", seed, late)
		}
		total += all
	}
	if total == 0 {
		t.Error("nothing ever moved: the fleets test nothing")
	}
}

// With noise (each workload up to 20 %, correlated over 25 minutes), hosts cross the
// line for a while and nothing moves for it after six hours; no workload returns.
func TestNoiseDoesNotMoveThingsBackAndForth(t *testing.T) {
	if raced {
		t.Skip("TestStationaryLoadReachesZeroMoves runs the same code with the race detector")
	}
	const fleets = 4
	late := 0
	for seed := range uint64(fleets) {
		n, _ := settled(t, 100+seed, 0.2)
		late += n
	}
	if late > 0 {
		t.Errorf("%d moves after six hours in %d fleets", late, fleets)
	}
}
