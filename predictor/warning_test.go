package predictor

import (
	"math"
	"testing"
)

// TestWarningRecord: probabilities that are right have the skill that follows from
// them; such that say twice what comes are brought down to it; warnings are counted
// where a host was not contended yet; what is old counts half after two weeks.
func TestWarningRecord(t *testing.T) {
	rng := sequenceRandom(4)
	draw := func() float64 { return float64(rng.below(1_000_000)) / 1e6 }
	var right, twice WarningRecord
	wanted, spread := 0.0, 0.0
	const cases = 20_000
	for range cases {
		p := draw() * draw() / 2
		came := draw() < p
		right.Observe(p, 0.2, false, came)
		twice.Observe(2*p, 0.2, false, came)
		wanted += p * (1 - p) / cases
		spread += p / cases
	}
	score, skill := right.Brier()
	if math.Abs(score-wanted) > 0.01 || math.Abs(skill-(1-wanted/(spread*(1-spread)))) > 0.03 {
		t.Errorf("Brier %.4f, skill %.3f; want %.4f", score, skill, wanted)
	}
	if _, worse := twice.Brier(); worse >= skill {
		t.Errorf("twice what comes has a skill of %.3f, the truth %.3f", worse, skill)
	}
	for _, p := range []float64{0.05, 0.1, 0.2, 0.35} {
		if got := twice.Calibrated(2 * p); math.Abs(got-p) > 0.03 {
			t.Errorf("%.2f is said where %.2f comes; calibrated %.3f", 2*p, p, got)
		}
	}
	last := 0.0
	for p := 0.0; p <= 1; p += 0.01 {
		if got := twice.Calibrated(p); got < last || got > 1 {
			t.Errorf("calibrated %.3f at %.2f after %.3f", got, p, last)
		} else {
			last = got
		}
	}
	if p := (&WarningRecord{}).Calibrated(0.3); math.Abs(p-0.3) > 0.01 {
		t.Errorf("without a record .3 becomes %.3f", p)
	}

	var r WarningRecord
	r.Observe(0.9, 0.1, false, true)
	r.Observe(0.9, 0.1, false, false)
	r.Observe(0.05, 0.1, false, true)
	r.Observe(0.9, 0.1, true, true) // contended already: no onset
	if r.Precision() != 0.5 || r.Recall() != 0.5 || r.Judged != 4 || r.Came != 3 {
		t.Errorf("%+v", r)
	}
	for range warningHalfLife {
		r.Fade()
	}
	if math.Abs(r.Judged-2) > 1e-9 || math.Abs(r.Precision()-0.5) > 1e-9 {
		t.Errorf("after two weeks %+v", r)
	}
}
