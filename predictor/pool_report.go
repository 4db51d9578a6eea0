package predictor

import (
	"cmp"
	"math"
	"slices"
)

// Summary judges one method at one horizon over many series.
type Summary struct {
	Group   string // "" = all series
	Horizon int    // place in TrialConfig.Horizons
	Method  string
	Series  int
	// Relative is the geometric mean over the series of the mean pinball loss
	// against that of persistence; a hundredth of a unit is added to both, so
	// that idle series do not decide.
	Relative float64
	// MASE is the median over the series.
	MASE     float64
	Pinball  [LevelCount]float64 // means over the series
	Coverage [LevelCount]float64
}

// Summarise sums scores up: over all series, and per group when groups gives
// each series one. The order is that of groups, horizons and methods in scores.
func Summarise(scores []Score, groups []string) []Summary {
	persistence := map[[2]int]float64{}
	for _, s := range scores {
		if s.Method == Persistence {
			persistence[[2]int{s.Series, s.Horizon}] = s.Mean()
		}
	}
	type key struct {
		group   string
		horizon int
		method  string
	}
	sums := map[key]*Summary{}
	errors := map[key][]float64{}
	var order []key
	add := func(k key, s Score) {
		sum := sums[k]
		if sum == nil {
			sum = &Summary{Group: k.group, Horizon: k.horizon, Method: k.method}
			sums[k], order = sum, append(order, k)
		}
		sum.Series++
		sum.Relative += math.Log((s.Mean() + 0.01) / (persistence[[2]int{s.Series, s.Horizon}] + 0.01))
		errors[k] = append(errors[k], s.MASE)
		for q := range LevelCount {
			sum.Pinball[q] += s.Pinball[q]
			sum.Coverage[q] += s.Coverage[q]
		}
	}
	for _, s := range scores {
		if s.Origins == 0 {
			continue
		}
		add(key{"", s.Horizon, s.Method}, s)
		if groups != nil {
			add(key{groups[s.Series], s.Horizon, s.Method}, s)
		}
	}
	slices.SortStableFunc(order, func(a, b key) int {
		return cmp.Or(cmp.Compare(a.group, b.group), cmp.Compare(a.horizon, b.horizon))
	})
	out := make([]Summary, len(order))
	for i, k := range order {
		s := sums[k]
		n := float64(s.Series)
		s.Relative = math.Exp(s.Relative / n)
		slices.Sort(errors[k])
		s.MASE = interpolated(errors[k], 0.5)
		for q := range LevelCount {
			s.Pinball[q] /= n
			s.Coverage[q] /= n
		}
		out[i] = *s
	}
	return out
}
