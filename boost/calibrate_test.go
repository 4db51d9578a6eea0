package boost

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestIsotonic holds the fit against its closed form: the largest over all
// beginnings of the smallest over all ends of the mean in between.
func TestIsotonic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 25).Draw(t, "rows")
		score, outcome, weight := make([]float64, n), make([]float64, n), make([]float64, n)
		for i := range n {
			score[i] = float64(rapid.IntRange(0, 12).Draw(t, "score"))
			outcome[i] = float64(rapid.IntRange(0, 1).Draw(t, "outcome"))
			weight[i] = float64(rapid.IntRange(1, 3).Draw(t, "weight"))
		}
		c := Isotonic(score, outcome, weight)
		distinct := slices.Compact(slices.Sorted(slices.Values(score)))
		mean := func(low, high float64) float64 {
			sum, total := 0.0, 0.0
			for i, s := range score {
				if s >= low && s <= high {
					sum, total = sum+weight[i]*outcome[i], total+weight[i]
				}
			}
			return sum / total
		}
		before := math.Inf(-1)
		for i, s := range distinct {
			want := math.Inf(-1)
			for j := 0; j <= i; j++ {
				least := math.Inf(1)
				for k := i; k < len(distinct); k++ {
					least = min(least, mean(distinct[j], distinct[k]))
				}
				want = max(want, least)
			}
			got := c.At(s)
			if math.Abs(got-want) > 1e-9 {
				t.Fatalf("at score %v the mean is %v, want %v", s, got, want)
			}
			for _, between := range []float64{s - 0.5, s} {
				if v := c.At(between); v < before-1e-12 {
					t.Fatalf("the map falls at %v", between)
				} else {
					before = v
				}
			}
		}
	})
}

func TestIsotonicEdges(t *testing.T) {
	nan := math.NaN()
	if got := Isotonic(nil, nil, nil).At(3); got != 0 {
		t.Errorf("of nothing: %v", got)
	}
	c := Isotonic([]float64{1, nan, 3, 5}, []float64{0, 9, 1, nan}, nil)
	for _, want := range []struct{ at, mean float64 }{{-5, 0}, {1, 0}, {2, 0.5}, {3, 1}, {9, 1}, {math.Inf(1), 1}, {math.Inf(-1), 0}, {nan, 0}} {
		if got := c.At(want.at); got != want.mean {
			t.Errorf("At(%v) = %v, want %v", want.at, got, want.mean)
		}
	}
	if got := Isotonic([]float64{1, 2}, []float64{5, 7}, []float64{0, 1}).At(1); got != 7 {
		t.Errorf("a row of weight 0 counts: %v", got)
	}
}
