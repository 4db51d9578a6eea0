package predictor

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// TestNonNegativeLeastSquares: the conditions of an optimum hold: no weight is
// negative, the gradient is zero where a weight is not, and nowhere points inward.
func TestNonNegativeLeastSquares(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(20, 60).Draw(rt, "rows")
		x, y := make([][stackExperts]float64, n), make([]float64, n)
		for i := range x {
			for j := range x[i] {
				x[i][j] = rapid.Float64Range(0, 10).Draw(rt, "x")
			}
			y[i] = rapid.Float64Range(-5, 20).Draw(rt, "y")
		}
		w := nonNegativeLeastSquares(x, y)
		for j := range w {
			gradient, scale := 0.0, 1e-9
			for i := range x {
				e := y[i]
				for k, v := range w {
					e -= x[i][k] * v
				}
				gradient += x[i][j] * e
				scale += math.Abs(x[i][j] * y[i])
			}
			if w[j] < 0 || gradient > 1e-5*scale || w[j] > 1e-6 && math.Abs(gradient) > 1e-5*scale {
				rt.Fatalf("weight %d is %v with a gradient of %v of %v", j, w[j], gradient, scale)
			}
		}
	})
}

// TestStackFindsTheExpert: where one of the simple forecasts is right, the stack
// follows it and its spread covers what comes.
func TestStackFindsTheExpert(t *testing.T) {
	values := waveLoad(2, 14*ticksPerDay)
	s := NewSeries()
	var rows []stackRow
	const h = 3 // a day ahead: the same time on seven days is right
	for tick, v := range values {
		s.record(int64(tick), v)
		if tick < learnFrom || tick%3 != 0 || tick+ticksPerDay >= len(values) {
			continue
		}
		outlook := s.Outlook()
		rows = append(rows, stackRow{outlook, outlook[outlookTargets+h*outlookPerTarget:][:outlookPerTarget], values[tick+ticksPerDay]})
	}
	cut := len(rows) / 2
	fitted := fitStack(rows[:cut], Horizons[h])
	covered, missed, level := 0.0, 0.0, 0.0
	for _, r := range rows[cut:] {
		q := fitted.quantiles(r, Horizons[h])
		covered += boolean(r.truth <= q[2]) / float64(len(rows)-cut)
		missed += math.Abs(r.truth - q[0])
		level += r.truth
	}
	if missed > 0.06*level || covered < 0.88 || covered > 0.99 {
		t.Errorf("it missed by %.3f of the level and covered %.3f", missed/level, covered)
	}
	if empty := fitStack(nil, Horizons[h]); empty.quantiles(rows[0], Horizons[h])[0] != 0 {
		t.Error("a stack without rows says something")
	}
}
