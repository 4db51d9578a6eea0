package predictor

import (
	"math"

	"github.com/placed-dev/placed/boost"
)

// WarningLeads are how many ticks ahead contention is warned of: of demand above what
// a host can give in one of the OnsetWindow ticks after the lead.
var WarningLeads = [...]int{3, 6, 9}

// WarningRecord judges the probabilities of contention at one lead, of all hosts
// together: how large their errors are, how many warnings were right, and how often
// what is said comes true. Old cases count less (Fade). The zero record has judged
// nothing.
type WarningRecord struct {
	// Judged cases, how many of them Came, and the sum of squared errors.
	Judged, Came, Squared float64
	// Of the cases in which the host was not contended when it was said: how many
	// came (Onsets), how many were Warned of, and how many of these came (Right).
	Onsets, Warned, Right float64
	bins                  [warningBins]struct{ weight, said, came float64 }
}

const (
	warningBins = 12
	// warningHalfLife is in how many ticks a case counts half: two weeks, because
	// contention is rare.
	warningHalfLife = 14 * ticksPerDay
	// warningPrior is how many cases of a bin weigh as much as the word of the
	// scenarios themselves.
	warningPrior = 50
)

// Fade lets the record age by one tick.
func (r *WarningRecord) Fade() {
	keep := math.Exp2(-1.0 / warningHalfLife)
	for _, v := range []*float64{&r.Judged, &r.Came, &r.Squared, &r.Onsets, &r.Warned, &r.Right} {
		*v *= keep
	}
	for i := range r.bins {
		b := &r.bins[i]
		b.weight, b.said, b.came = b.weight*keep, b.said*keep, b.came*keep
	}
}

// Observe judges one probability p: contended says whether the host was when it was
// said, line from which probability on passes act.
func (r *WarningRecord) Observe(p, line float64, contended, came bool) {
	y := boolean(came)
	r.Judged++
	r.Came += y
	r.Squared += (p - y) * (p - y)
	if !contended {
		r.Onsets += y
		if p >= line {
			r.Warned++
			r.Right += y
		}
	}
	b := &r.bins[warningBin(p)]
	b.weight, b.said, b.came = b.weight+1, b.said+p, b.came+y
}

// warningBin is fine where probabilities are small, because most are.
func warningBin(p float64) int {
	return min(int(math.Sqrt(min(max(p, 0), 1))*warningBins), warningBins-1)
}

// Brier is the mean squared error of the probabilities; Skill is 1 − Brier / that of
// always saying how often contention came. Both are NaN before anything was judged,
// Skill as long as contention never came.
func (r *WarningRecord) Brier() (score, skill float64) {
	score = r.Squared / r.Judged
	rate := r.Came / r.Judged
	if spread := rate * (1 - rate); spread > 0 {
		return score, 1 - score/spread
	}
	return score, math.NaN()
}

// Precision is how many warnings of an onset were right, Recall how many onsets were
// warned of; NaN without any.
func (r *WarningRecord) Precision() float64 { return r.Right / r.Warned }

// Recall is explained with Precision.
func (r *WarningRecord) Recall() float64 { return r.Right / r.Onsets }

// Calibrated is how often contention has come when about p was said; where little has
// been judged it stays near p. It never falls with p.
func (r *WarningRecord) Calibrated(p float64) float64 {
	var said, came, weight []float64
	for i, b := range r.bins {
		root := (float64(i) + 0.5) / warningBins
		at := root * root
		if b.weight > 0 {
			at = b.said / b.weight
		}
		said = append(said, at)
		came = append(came, (b.came+warningPrior*at)/(b.weight+warningPrior))
		weight = append(weight, b.weight+warningPrior)
	}
	return boost.Isotonic(said, came, weight).At(p)
}
