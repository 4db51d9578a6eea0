package simulator

import (
	"math"

	"gonum.org/v1/gonum/mat"
)

// DayDetector forecasts the next sample of every machine from the samples of the
// same day and calls a host overloaded when the demand that is exceeded in two of
// a hundred cases does not fit. It has no history to train on, so it learns while
// it runs: one regression of the next value on a few means of the past, and one of
// its squared error on a few variances, both pooled over all machines (a machine
// has a handful of samples, the fleet has a thousand times as many), drawn toward
// weights that were chosen beforehand.
//
// Machines err independently of each other here: their variances add up. That
// tells the spread of a host far more exactly than ten samples of its sum do.
type DayDetector struct {
	// Z standard deviations above the forecast must fit.
	Z float64

	past     [][]float64 // share of nominal MIPS per machine, newest last
	features [][]float64 // of the last step, to learn from the next
	spreads  [][]float64
	level    *ridge
	error2   *ridge
	rows     [][]float64
}

// onlineZ leaves out two cases of a hundred of a normal distribution.
const onlineZ = 2.054

// NewDayDetector returns a detector that has seen nothing.
func NewDayDetector() *DayDetector {
	return &DayDetector{
		Z: onlineZ,
		// Beforehand: half the newest value, half the mean of 50 minutes.
		level: newRidge([]float64{0.5, 0, 0.5, 0}, 100),
		// Beforehand: the variance of the last 50 minutes, and no less than
		// a hundredth of the machine's deviation from them.
		error2: newRidge([]float64{1, 0, 0, 0}, 100),
	}
}

// Observe learns from what came and forecasts what comes.
func (d *DayDetector) Observe(_ int, demand, nominal []float64) {
	for len(d.past) < len(demand) {
		d.past, d.rows = append(d.past, nil), append(d.rows, []float64{0, 0})
		d.features, d.spreads = append(d.features, nil), append(d.spreads, nil)
	}
	for i := range demand {
		if nominal[i] == 0 {
			continue
		}
		now := demand[i] / nominal[i]
		if x := d.features[i]; x != nil {
			miss := now - d.level.at(x)
			d.level.learn(x, now)
			d.error2.learn(d.spreads[i], miss*miss)
		}
		d.past[i] = append(d.past[i], now)
	}
	d.level.solve()
	d.error2.solve()
	for i := range demand {
		if nominal[i] == 0 {
			d.rows[i] = []float64{0, 0}
			continue
		}
		d.features[i], d.spreads[i] = describe(d.past[i])
		centre := min(max(d.level.at(d.features[i]), 0), 1)
		variance := max(d.error2.at(d.spreads[i]), leastVariance)
		d.rows[i] = []float64{centre * nominal[i], variance * nominal[i] * nominal[i]}
	}
}

// leastVariance is one percent point, the resolution of the samples, squared.
const leastVariance = 1e-4

// describe returns the means and the variances that forecasts are made from.
func describe(past []float64) (means, variances []float64) {
	n := len(past)
	now := past[n-1]
	tail := func(k int) []float64 { return past[max(n-k, 0):] }
	m3, _ := meanVariance(tail(3))
	m10, v10 := meanVariance(tail(10))
	m, v := meanVariance(past)
	return []float64{now, m3, m10, m}, []float64{v10, v, (now - m10) * (now - m10), m10 * (1 - m10)}
}

func meanVariance(x []float64) (mean, variance float64) {
	for _, v := range x {
		mean += v
	}
	mean /= float64(len(x))
	for _, v := range x {
		variance += (v - mean) * (v - mean)
	}
	return mean, variance / float64(len(x))
}

// Row is the forecast and its variance, which both add up over a host.
func (d *DayDetector) Row(machine int) []float64 { return d.rows[machine] }

// Over says that the forecast with its margin does not fit.
func (d *DayDetector) Over(total, _ float64, sum []float64) bool {
	if len(sum) == 0 {
		return false
	}
	return sum[0]+d.Z*math.Sqrt(sum[1]) >= total
}

// ridge is a least-squares regression that is learned row by row and drawn
// toward prior weights, as if weight rows of unit features had confirmed them.
type ridge struct {
	prior, weights []float64
	xx             *mat.SymDense
	xy             []float64
}

func newRidge(prior []float64, strength float64) *ridge {
	n := len(prior)
	r := &ridge{prior: prior, weights: append([]float64(nil), prior...), xx: mat.NewSymDense(n, nil), xy: make([]float64, n)}
	for i := range n {
		r.xx.SetSym(i, i, strength*1e-2)
		r.xy[i] = strength * 1e-2 * prior[i]
	}
	return r
}

func (r *ridge) at(x []float64) float64 {
	sum := 0.0
	for i, w := range r.weights {
		sum += w * x[i]
	}
	return sum
}

func (r *ridge) learn(x []float64, y float64) {
	for i := range x {
		for j := i; j < len(x); j++ {
			r.xx.SetSym(i, j, r.xx.At(i, j)+x[i]*x[j])
		}
		r.xy[i] += x[i] * y
	}
}

// solve updates the weights; where rounding makes that impossible they stay.
func (r *ridge) solve() {
	var factor mat.Cholesky
	if !factor.Factorize(r.xx) {
		return
	}
	var w mat.VecDense
	if err := factor.SolveVecTo(&w, mat.NewVecDense(len(r.xy), r.xy)); err != nil {
		return
	}
	for i := range r.weights {
		r.weights[i] = w.AtVec(i)
	}
}
