package fsm

import (
	"maps"
	"slices"
	"testing"

	"github.com/placed-dev/placed/fleet"
)

// tally counts what the random sequences have reached.
type tally struct {
	accepted, refused map[string]int
	states            map[fleet.LeaseState]int
	codes             map[Code]int
	ops, entries      int
	replayed, bundled int
}

func newTally() *tally {
	return &tally{accepted: map[string]int{}, refused: map[string]int{}, states: map[fleet.LeaseState]int{}, codes: map[Code]int{}}
}

// report prints the distribution and fails if the sequences miss the point.
func (s *tally) report(t *testing.T, wanted int) {
	least, total := wanted/1000, 0 // 1,000 of a million
	for _, name := range slices.Sorted(maps.Keys(everyOperation())) {
		t.Logf("%-20s accepted %8d refused %8d", name, s.accepted[name], s.refused[name])
		total += s.accepted[name]
		if s.accepted[name] < least {
			t.Errorf("%s was accepted %d times, at least %d are needed", name, s.accepted[name], least)
		}
	}
	for state := fleet.Granted; state <= fleet.Uncertain; state++ {
		t.Logf("%-20s seen %8d", state, s.states[state])
		if s.states[state] < least {
			t.Errorf("a lease was %s %d times, at least %d are needed", state, s.states[state], least)
		}
	}
	t.Logf("refusals by code: %v", s.codes)
	share := float64(total) / float64(s.ops)
	t.Logf("FIGURE books: %d operations in %d entries (%d bundles, %d proposed again), %.0f %% accepted; every command accepted and every lease state seen %d times or more",
		s.ops, s.entries, s.bundled, s.replayed, 100*share, s.rarest())
	if share < 0.3 || s.ops < wanted {
		t.Errorf("%.0f %% of %d operations were accepted", 100*share, s.ops)
	}
}

func (s *tally) rarest() int {
	least := s.ops
	for name := range everyOperation() {
		least = min(least, s.accepted[name])
	}
	for state := fleet.Granted; state <= fleet.Uncertain; state++ {
		least = min(least, s.states[state])
	}
	return least
}
