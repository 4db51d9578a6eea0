package predictor

import (
	"gonum.org/v1/gonum/mat"
)

// linear is an autoregression of one sequence on its newest values and those one
// and two seasons back, fitted with a small penalty. It follows slow waves and
// trends that trees can only take in steps, so its path is a feature of theirs.
type linear struct {
	lags    []int
	weights []float64
	mean    float64
}

// newLinear fits it on values[:end]; nil when there are too few.
func newLinear(s *sequence, end int) *linear {
	l := &linear{lags: []int{1, 2, 3, s.season - 1, s.season, s.season + 1, 2 * s.season}, mean: s.mean(0, end)}
	if end > 3*s.long {
		l.lags = append(l.lags, s.long-1, s.long, s.long+1, 2*s.long)
	}
	l.lags = distinctLags(l.lags)
	reach := l.lags[len(l.lags)-1]
	if end-reach < 6*len(l.lags) {
		return nil
	}
	p := len(l.lags)
	a, b := mat.NewSymDense(p, nil), mat.NewVecDense(p, nil)
	x := make([]float64, p)
	for t := reach; t < end; t++ {
		for i, lag := range l.lags {
			x[i] = s.values[t-lag] - l.mean
		}
		y := s.values[t] - l.mean
		for i := range p {
			b.SetVec(i, b.AtVec(i)+x[i]*y)
			for j := i; j < p; j++ {
				a.SetSym(i, j, a.At(i, j)+x[i]*x[j])
			}
		}
	}
	ridge := 0.0
	for i := range p {
		ridge += a.At(i, i) / float64(p)
	}
	for i := range p {
		a.SetSym(i, i, a.At(i, i)+1e-3*ridge+1e-9)
	}
	var chol mat.Cholesky
	var w mat.VecDense
	if !chol.Factorize(a) || chol.SolveVecTo(&w, b) != nil {
		return nil
	}
	l.weights = make([]float64, p)
	for i := range p {
		l.weights[i] = w.AtVec(i)
	}
	return l
}

func distinctLags(lags []int) []int {
	var out []int
	for _, lag := range lags {
		if lag < 1 || len(out) > 0 && lag <= out[len(out)-1] {
			continue
		}
		out = append(out, lag)
	}
	return out
}

// path forecasts the steps after origin one from the other.
func (l *linear) path(s *sequence, origin int, out []float64) {
	low, high := s.values[origin], s.values[origin]
	for i := max(0, origin-4*s.season); i <= origin; i++ {
		low, high = min(low, s.values[i]), max(high, s.values[i])
	}
	room := high - low // an unstable fit must not run away
	for k := range out {
		v := 0.0
		for i, lag := range l.lags {
			at := origin + k + 1 - lag
			past := 0.0
			if at > origin {
				past = out[at-origin-1]
			} else if at >= 0 {
				past = s.values[at]
			} else {
				past = l.mean
			}
			v += l.weights[i] * (past - l.mean)
		}
		out[k] = min(max(v+l.mean, low-room/2), high+room/2)
	}
}
