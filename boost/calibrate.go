package boost

import (
	"cmp"
	"slices"
)

// Calibration maps a score to the mean outcome at that score; it never falls.
type Calibration struct {
	// Scores ascend; Means[i] belongs to Scores[i], and between two scores the
	// mean lies on a straight line. Outside it stays.
	Scores, Means []float64
}

// pooled is a run of scores with one mean.
type pooled struct{ low, high, mean, weight float64 }

// Isotonic fits the rising map with the least weighted squared error by pooling
// adjacent violators (Ayer et al. 1955). weight may be nil; rows of weight 0 and
// rows that are not numbers do not count. Of nothing it makes a map to 0.
func Isotonic(score, outcome, weight []float64) *Calibration {
	blocks := sortedBlocks(score, outcome, weight)
	stack := blocks[:0]
	for _, b := range blocks {
		for n := len(stack); n > 0 && stack[n-1].mean >= b.mean; n = len(stack) {
			below := stack[n-1]
			total := below.weight + b.weight
			b = pooled{below.low, b.high, (below.mean*below.weight + b.mean*b.weight) / total, total}
			stack = stack[:n-1]
		}
		stack = append(stack, b)
	}
	c := &Calibration{}
	for _, b := range stack {
		c.Scores, c.Means = append(c.Scores, b.low), append(c.Means, b.mean)
		if b.high > b.low {
			c.Scores, c.Means = append(c.Scores, b.high), append(c.Means, b.mean)
		}
	}
	return c
}

// sortedBlocks makes one block of each distinct score, ascending.
func sortedBlocks(score, outcome, weight []float64) []pooled {
	var blocks []pooled
	for i, s := range score {
		w := 1.0
		if weight != nil {
			w = weight[i]
		}
		if w > 0 && s == s && outcome[i] == outcome[i] {
			blocks = append(blocks, pooled{s, s, outcome[i], w})
		}
	}
	// By outcome and weight too, so that the order of rows does not show.
	slices.SortFunc(blocks, func(a, b pooled) int {
		return cmp.Or(cmp.Compare(a.low, b.low), cmp.Compare(a.mean, b.mean), cmp.Compare(a.weight, b.weight))
	})
	out := blocks[:0]
	for _, b := range blocks {
		if n := len(out); n > 0 && out[n-1].low == b.low {
			total := out[n-1].weight + b.weight
			out[n-1].mean, out[n-1].weight = (out[n-1].mean*out[n-1].weight+b.mean*b.weight)/total, total
			continue
		}
		out = append(out, b)
	}
	return out
}

// At returns the mean outcome at a score; of a score that is not a number, the
// smallest.
func (c *Calibration) At(score float64) float64 {
	n := len(c.Scores)
	if n == 0 {
		return 0
	}
	i, found := slices.BinarySearch(c.Scores, score)
	switch {
	case found:
		return c.Means[i]
	case i == 0:
		return c.Means[0]
	case i == n:
		return c.Means[n-1]
	}
	share := (score - c.Scores[i-1]) / (c.Scores[i] - c.Scores[i-1])
	return c.Means[i-1] + share*(c.Means[i]-c.Means[i-1])
}
