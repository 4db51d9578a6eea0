package planner

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// Stationary fleets of up to 8 hosts × 40 workloads (AR(1), ρ .8, CV up to .2)
// for 24 virtual hours: after the first pass without a move, reached within six
// hours, there is none. `make soak-plan` runs 1,000 of them (PLACED_SOAK=N); a
// normal run a handful, since TestStationaryLoadReachesZeroMoves shares the code.
func TestStationaryFleets(t *testing.T) {
	fleets := 1
	if n, err := strconv.Atoi(os.Getenv("PLACED_SOAK")); err == nil {
		fleets = n
	} else if testing.Short() || raced {
		t.Skip("long: the smaller stationary fleets run")
	}
	moves, late, lateFleets, unsettled := 0, 0, 0, 0
	for seed := range uint64(fleets) {
		r := rand.New(rand.NewPCG(seed, 5))
		hosts := 2 + r.IntN(7)
		f := randomFleet(r, autoPolicy(), hosts, hosts*(4+r.IntN(37)), 0.3+0.4*r.Float64(), 0.2)
		f.advance(300)
		settledAt, lateHere := -1, 0
		for pass := range 288 {
			n := len(f.pass().Moves)
			moves += n
			switch {
			case n == 0 && settledAt < 0:
				settledAt = pass
			case n > 0 && pass >= 72:
				lateHere++
			}
		}
		if settledAt < 0 || settledAt >= 72 {
			unsettled++
			t.Errorf("seed %d: no pass without a move within six hours", seed)
		}
		if lateHere > 0 {
			late += lateHere
			lateFleets++
		}
	}
	t.Logf("FIGURE stationary fleets: %d, moves %d, not settled within 6 h %d, fleets that move after 6 h %d (moves %d)", fleets, moves, unsettled, lateFleets, late)
	// What noise does at the line (see doc.go) is rare, not impossible.
	if allowed := fleets / 50; lateFleets > allowed {
		t.Errorf("%d of %d fleets move after six hours, %d may", lateFleets, fleets, allowed)
	}
}
