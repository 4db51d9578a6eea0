package precopy

import (
	"math"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// Model is what the rounds so far say about a workload's writes.
type Model struct {
	// WriteRate r in bytes per second: how fast clean state becomes dirty.
	WriteRate float64
	// WorkingSet W in bytes: what is written over and over. Zero means that
	// it was not identified; then D(T) grows as r × T without a bound.
	WorkingSet float64
}

// Dirty returns D(T), the bytes written at least once in a time T.
func (m Model) Dirty(t time.Duration) float64 {
	return m.dirtyAfter(t.Seconds())
}

func (m Model) dirtyAfter(seconds float64) float64 {
	if m.WriteRate <= 0 || seconds <= 0 {
		return 0
	}
	if m.WorkingSet <= 0 {
		return m.WriteRate * seconds
	}
	return -m.WorkingSet * math.Expm1(-m.WriteRate*seconds/m.WorkingSet)
}

// dirtied is one observation of the model: bytes found dirty after a time.
type dirtied struct{ seconds, bytes float64 }

// observations pairs each round's dirty set with the time in which it was
// written: how long the round before took, for each begins with the scan that ends
// the one before, and how long was waited between the two. The first round's dirty
// set is everything ever written and says nothing.
func observations(rounds []fleet.Checkpoint) []dirtied {
	var out []dirtied
	for i := 1; i < len(rounds); i++ {
		if took := (rounds[i-1].Took + rounds[i].Waited).Seconds(); took > 0 && rounds[i].Dirty >= 0 {
			out = append(out, dirtied{took, float64(rounds[i].Dirty)})
		}
	}
	return out
}

// Estimate fits the model to the rounds of one migration, in their order. One
// usable pair of rounds gives the write rate alone; two of different length
// identify the working set as well. Without any it returns the zero Model,
// which predicts that nothing is written.
//
// The fit is least squares in bytes, so long rounds count for more: short ones
// are off by 5–11 % because a scan is not instantaneous.
func Estimate(rounds []fleet.Checkpoint) Model {
	seen := observations(rounds)
	if len(seen) == 0 {
		return Model{}
	}
	shortest, longest := seen[0].seconds, seen[0].seconds
	for _, o := range seen {
		shortest, longest = min(shortest, o.seconds), max(longest, o.seconds)
	}
	linear := proportional(seen)
	if linear == 0 || longest < shortest*minSpread {
		return Model{WriteRate: linear}
	}
	// k = r / W is the inverse of the time in which the working set fills.
	// Below kMin the curve cannot be told from a straight line over the
	// longest round; above kMax it is flat over the shortest one.
	kMin, kMax := straight/longest, saturated/shortest
	k := minimise(math.Log(kMin), math.Log(kMax), func(logK float64) float64 {
		_, miss := fit(seen, math.Exp(logK))
		return miss
	})
	k = math.Exp(k)
	if k < kMin*1.05 {
		return Model{WriteRate: linear}
	}
	w, _ := fit(seen, k)
	return Model{WriteRate: k * w, WorkingSet: w}
}

const (
	// minSpread: rounds must differ by a quarter in length before the bend
	// of the curve shows through the noise of a scan.
	minSpread = 1.25
	straight  = 0.02
	saturated = 20.0
)

// proportional is the least-squares slope through the origin.
func proportional(seen []dirtied) float64 {
	var xy, xx float64
	for _, o := range seen {
		xy += o.bytes * o.seconds
		xx += o.seconds * o.seconds
	}
	return xy / xx
}

// fit returns the best working set for a given k, and the squared error left.
func fit(seen []dirtied, k float64) (w, miss float64) {
	var xy, xx float64
	for _, o := range seen {
		share := -math.Expm1(-k * o.seconds)
		xy += o.bytes * share
		xx += share * share
	}
	w = xy / xx
	for _, o := range seen {
		d := o.bytes + w*math.Expm1(-k*o.seconds)
		miss += d * d
	}
	return w, miss
}

// minimise finds the minimum of f between low and high: a coarse scan, because
// the error may have a second, shallow valley, then a golden-section search.
func minimise(low, high float64, f func(float64) float64) float64 {
	const points = 48
	step := (high - low) / points
	best, least := low, math.Inf(1)
	for i := range points + 1 {
		x := low + float64(i)*step
		if y := f(x); y < least {
			best, least = x, y
		}
	}
	a, b := max(low, best-step), min(high, best+step)
	const golden = 0.6180339887498949
	for range 40 {
		c, d := b-golden*(b-a), a+golden*(b-a)
		if f(c) <= f(d) {
			b = d
		} else {
			a = c
		}
	}
	return (a + b) / 2
}
