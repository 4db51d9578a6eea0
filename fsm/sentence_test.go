package fsm

import (
	"strings"
	"testing"

	"github.com/placed-dev/placed/fleet"
)

// TestSentenceOfReactiveMoves: only of a move that was made ahead is it said whether
// what was predicted came, also when an older version has recorded it of others.
func TestSentenceOfReactiveMoves(t *testing.T) {
	for _, came := range []bool{false, true} {
		o := MigrationOutcome{Lease: "L1", Workload: "w", Type: fleet.Preemptive, ContentionCame: &came}
		if !strings.Contains(o.sentence(), "the predicted contention") {
			t.Errorf("ahead of a breach: %s", o.sentence())
		}
		if o.Type = fleet.Threshold; strings.Contains(o.sentence(), "predicted") {
			t.Errorf("nothing was predicted: %s", o.sentence())
		}
	}
}
