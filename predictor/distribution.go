package predictor

import (
	"math"

	"github.com/placed-dev/placed/boost"
)

// tailPower shapes what lies beyond the largest scenario: P(X > x) falls with
// (largest/x)^4. Machine load has fat tails; a power keeps the tail monotone
// both in the limit and in the load.
const tailPower = 4

// quantileOf reads a level from ascending amounts.
func quantileOf(sorted []int64, level float64) float64 {
	n := len(sorted)
	if n == 0 || math.IsNaN(level) {
		return 0
	}
	place := level * float64(n+1) // 1 = the smallest
	largest := float64(sorted[n-1]) / fraction
	switch {
	case place <= 0:
		return 0
	case place < 1:
		return place * float64(sorted[0]) / fraction
	case place >= float64(n):
		outside := max(float64(n+1)-place, 1e-6)
		return largest * math.Pow(1/min(outside, 1), 1.0/tailPower)
	}
	i := int(place)
	low, high := float64(sorted[i-1]), float64(sorted[i])
	return (low + (high-low)*(place-float64(i))) / fraction
}

// arranged puts the two amounts that quantileOf reads at a level into their
// places, in the given slice: smaller ones stand before, larger ones behind. One
// level needs no sorting.
func arranged(amounts []int64, level float64) []int64 {
	n := len(amounts)
	place := level * float64(n+1)
	at := n - 1
	if place < float64(n) && place == place {
		at = max(int(place), 1) - 1
	}
	boost.Select(amounts, at)
	if at+1 < n { // the next larger one, and the largest stays behind it
		least := at + 1
		for i := at + 2; i < n; i++ {
			if amounts[i] < amounts[least] {
				least = i
			}
		}
		amounts[at+1], amounts[least] = amounts[least], amounts[at+1]
	}
	return amounts
}

// exceedsOf is the inverse of quantileOf on unsorted amounts, in one walk.
func exceedsOf(amounts []int64, limit float64) float64 {
	n := len(amounts)
	scaled := limit * fraction
	if !(scaled >= 0) {
		return 1
	}
	notAbove := 0
	low, high := math.Inf(-1), math.Inf(1)
	for _, a := range amounts {
		v := float64(a)
		if v <= scaled {
			notAbove++
			low = max(low, v)
		} else {
			high = min(high, v)
		}
	}
	switch {
	case notAbove == n:
		if scaled <= 0 {
			return 0
		}
		return math.Pow(low/scaled, tailPower) / float64(n+1)
	case notAbove == 0:
		return 1 - scaled/high/float64(n+1)
	}
	place := float64(notAbove) + (scaled-low)/(high-low)
	return 1 - place/float64(n+1)
}
