package predictor

import (
	"math"
	"slices"
)

// stackExperts is how many simple forecasts a stack mixes; the last is constant.
const stackExperts = 8

// stack is a mix of simple forecasts with weights that are not negative, fitted to
// one series and horizon by least squares, with a spread taken from its own errors.
// It stands among the baselines: weights of one series alone are easily wrong.
type stack struct {
	weights [stackExperts]float64
	mean    float64 // of the targets, the constant expert
	errors  []float64
}

// experts of an outlook: the newest value, exponential mean, means of 12 h and 24 h
// (for peaks: maxima), the same time yesterday, a week ago and on seven days.
func (s *stack) experts(f []float32, h Horizon, at []float32) [stackExperts]float64 {
	newest, day := f[outlookLags], f[outlookMeans+5]
	if h.Peak {
		newest, day = f[outlookMaxima+1], f[outlookMaxima+3]
	}
	out := [stackExperts]float64{float64(newest), float64(f[outlookEWMA]), float64(f[outlookMeans+4]), float64(day),
		float64(at[targetDay]), float64(at[targetWeek]), float64(at[targetMean]), s.mean}
	for i, v := range out {
		out[i] = known(v, 0)
	}
	return out
}

func (s *stack) centre(x [stackExperts]float64) float64 {
	sum := 0.0
	for i, w := range s.weights {
		sum += w * x[i]
	}
	return sum
}

// spread is what the stack's errors are counted in.
func (s *stack) spread(f []float32, at []float32, centre float64) float64 {
	return 0.5*known(float64(f[outlookSDs+1]), 0) + 0.5*known(float64(at[targetSD]), 0) + 0.05*math.Abs(centre) + 0.02
}

// stackRow is one past moment.
type stackRow struct {
	outlook, at []float32
	truth       float64
}

// fitStack fits on the first two thirds of the rows, takes the spread from the rest
// and then fits on all of them.
func fitStack(rows []stackRow, h Horizon) *stack {
	s := &stack{}
	if len(rows) == 0 {
		return s
	}
	for _, r := range rows {
		s.mean += r.truth / float64(len(rows))
	}
	x, y := make([][stackExperts]float64, len(rows)), make([]float64, len(rows))
	for i, r := range rows {
		x[i], y[i] = s.experts(r.outlook, h, r.at), r.truth
	}
	cut := len(rows) * 2 / 3
	s.weights = nonNegativeLeastSquares(x[:cut], y[:cut])
	for i, r := range rows[cut:] {
		c := s.centre(x[cut+i])
		s.errors = append(s.errors, (r.truth-c)/s.spread(r.outlook, r.at, c))
	}
	slices.Sort(s.errors)
	s.weights = nonNegativeLeastSquares(x, y)
	return s
}

// quantiles at Levels.
func (s *stack) quantiles(r stackRow, h Horizon) [LevelCount]float64 {
	c := s.centre(s.experts(r.outlook, h, r.at))
	sd := s.spread(r.outlook, r.at, c)
	var q [LevelCount]float64
	for i, level := range Levels {
		q[i] = c + known(interpolated(s.errors, level), 0)*sd
	}
	ascending(&q)
	return q
}

// nonNegativeLeastSquares minimises |xw − y|² over w ≥ 0 by going from one weight to
// the next until none changes: with eight weights that is quick, and a convex
// problem has one minimum.
func nonNegativeLeastSquares(x [][stackExperts]float64, y []float64) (w [stackExperts]float64) {
	var a [stackExperts][stackExperts]float64
	var b [stackExperts]float64
	for i, row := range x {
		for j, v := range row {
			b[j] += v * y[i]
			for k := range row {
				a[j][k] += v * row[k]
			}
		}
	}
	const rounds, still = 5000, 1e-9
	for range rounds {
		moved := 0.0
		for j := range w {
			if !(a[j][j] > 0) {
				continue
			}
			gradient := b[j]
			for k, v := range w {
				gradient -= a[j][k] * v
			}
			next := max(w[j]+gradient/a[j][j], 0)
			moved = max(moved, math.Abs(next-w[j]))
			w[j] = next
		}
		if moved < still {
			break
		}
	}
	return w
}
