package predictor

import (
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// One level read by selection is what sorting reads, ties and tails included.
func TestArrangedIsSorted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		amounts := rapid.SliceOfN(rapid.Int64Range(0, rapid.SampledFrom([]int64{3, 1000, int64(maxAmount)}).Draw(t, "largest")), 1, 300).Draw(t, "amounts")
		level := rapid.Float64Range(-0.1, 1.1).Draw(t, "level")
		sorted := slices.Sorted(slices.Values(amounts))
		if got, want := quantileOf(arranged(slices.Clone(amounts), level), level), quantileOf(sorted, level); got != want {
			t.Fatalf("level %v of %v: %v, sorted %v", level, amounts, got, want)
		}
	})
}

// A report whose errors are all there in order takes a shorter way to the same
// block as one in which they are not.
func TestBlockOfErrorsInAnyOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		level := 3000 * r.Float64()
		s := report("a", 900, func(tick int64) float64 { return max(level+2000*r.NormFloat64(), 0) })
		inOrder, spare := NewBlock(s, Baseline{}), new(scenarios)
		if !spare.spread(new([Steps]float64), s) {
			t.Fatal("a day of errors is not taken as one")
		}
		r.Shuffle(len(s.Residuals), func(i, j int) { s.Residuals[i], s.Residuals[j] = s.Residuals[j], s.Residuals[i] })
		shuffled := NewBlock(s, Baseline{})
		if *shuffled.amounts != *inOrder.amounts || shuffled.shift != inOrder.shift || shuffled.centres != inOrder.centres {
			t.Fatal("the order of the errors matters")
		}
		s.Residuals = s.Residuals[1:]
		if spare.spread(new([Steps]float64), s) {
			t.Fatal("a day with a gap is taken as whole")
		}
	}
}

// What a block keeps of an amount is all of it up to 2^32, and right to the 31st bit
// beyond; nothing rises.
func TestBlockKeepsAmounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.Int64Range(0, maxAmount).Draw(t, "most") >> rapid.IntRange(0, 54).Draw(t, "smaller")
		var all scenarios
		for k := range Steps {
			all[k][rapid.IntRange(0, Window-1).Draw(t, "place")] = rapid.Int64Range(0, most).Draw(t, "amount")
		}
		all[0][0] = most
		var b Block
		b.keep(&all)
		for k := range Steps {
			for i, kept := range b.row(k) {
				if lost := all[k][i] - kept; lost < 0 || lost > most>>31 {
					t.Fatalf("of %d, among at most %d, %d are kept", all[k][i], most, kept)
				}
			}
		}
	})
}
