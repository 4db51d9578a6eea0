package predictor

import (
	"math"
	"slices"
)

// centreBaselines are forecasts of one value that take their spread from their
// own errors before the test.
var centreBaselines = []struct {
	name string
	of   func(f []float32, h Horizon, at []float32) float64
}{
	{Persistence, func(f []float32, h Horizon, _ []float32) float64 {
		if h.Peak {
			return float64(f[outlookMaxima+1])
		}
		return float64(f[outlookLags])
	}},
	{"ewma", func(f []float32, _ Horizon, _ []float32) float64 { return float64(f[outlookEWMA]) }},
	{"seasonal mean", func(_ []float32, _ Horizon, at []float32) float64 { return float64(at[targetMean]) }},
	{"yesterday", func(_ []float32, _ Horizon, at []float32) float64 { return float64(at[targetDay]) }},
}

// baselines judges what needs no model on one series and horizon.
func (t *trial) baselines(i, place, h int, unit float64) []Score {
	values := t.values[i]
	var scores []Score
	at := func(o origin) []float32 {
		return o.outlook[outlookTargets+h*outlookPerTarget:][:outlookPerTarget]
	}
	for _, b := range centreBaselines {
		var residuals []float64
		for _, o := range t.origins[i] {
			if o.tick < t.end-ticksPerDay && (o.tick-learnFrom)%calibrateEvery == 0 {
				if r := Horizons[h].target(values, o.tick) - b.of(o.outlook, Horizons[h], at(o)); r == r {
					residuals = append(residuals, r)
				}
			}
		}
		slices.Sort(residuals)
		sum := tally{}
		for _, o := range t.origins[i] {
			truth := Horizons[h].target(values, o.tick)
			if !o.judged || truth != truth {
				continue
			}
			var q [LevelCount]float64
			for k, level := range Levels {
				q[k] = max(b.of(o.outlook, Horizons[h], at(o))+interpolated(residuals, level), 0)
			}
			if !math.IsNaN(q[0]) {
				sum.add(truth, q)
			}
		}
		scores = append(scores, sum.score(i, place, b.name, unit))
	}
	history := tally{}
	for _, o := range t.origins[i] {
		truth := Horizons[h].target(values, o.tick)
		if !o.judged || truth != truth {
			continue
		}
		if opinions, ok := OpinionsOf(nil, o.outlook, h); ok {
			history.add(truth, opinions.Of[expertHistory])
		}
	}
	return append(scores, history.score(i, place, "history quantile", unit), t.stack(i, h).score(i, place, "stack", unit))
}

// stack judges the stack of one series and horizon, fitted on what lies before the
// test.
func (t *trial) stack(i, h int) *tally {
	var rows, judged []stackRow
	for _, o := range t.origins[i] {
		r := stackRow{outlook: o.outlook, at: o.outlook[outlookTargets+h*outlookPerTarget:][:outlookPerTarget], truth: Horizons[h].target(t.values[i], o.tick)}
		switch {
		case r.truth != r.truth:
		case o.judged:
			judged = append(judged, r)
		case o.tick < t.end-Horizons[h].Ticks && (o.tick-learnFrom)%calibrateEvery == 0:
			rows = append(rows, r)
		}
	}
	s, sum := fitStack(rows, Horizons[h]), &tally{}
	for _, r := range judged {
		sum.add(r.truth, s.quantiles(r, Horizons[h]))
	}
	return sum
}
