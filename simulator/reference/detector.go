package reference

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Detector decides whether a host is overloaded. What it needs to know of the
// machines is a vector per machine that is summed over a host, so that a plan
// may ask "and with this one more?" cheaply.
type Detector interface {
	observe(w *world)
	vector(w *world, v *vm, c *class) []float64
	over(l load) bool
}

// load is a host as a detector sees it.
type load struct {
	total, demand float64 // MIPS
	sum           []float64
	largest       float64 // MB of the largest machine
}

// fallback is the static threshold used while the history is short.
const fallback = 0.7

// DetectorNamed reads "lr:1.2", "thr:0.8", "iqr:1.5", "mad:2.5", "mean-sd:2",
// "persistence:1.0" or "oracle:1".
func DetectorNamed(text string) (Detector, error) {
	name, number, given := strings.Cut(text, ":")
	value, err := strconv.ParseFloat(number, 64)
	if given && (err != nil || !(value > 0) || math.IsInf(value, 0)) {
		return nil, fmt.Errorf("detector %q: %q is no positive number", text, number)
	}
	standard := map[string]float64{"lr": 1.2, "thr": 0.8, "iqr": 1.5, "mad": 2.5, "mean-sd": 2, "persistence": 1, "oracle": 1}
	if !given {
		value = standard[name]
	}
	switch name {
	case "lr", "iqr", "mad", "mean-sd":
		return &historyTest{kind: name, factor: value}, nil
	case "thr":
		return threshold{above: value}, nil
	case "persistence":
		return persistence{z: value}, nil
	case "oracle":
		if value != math.Trunc(value) || value > 288 {
			return nil, fmt.Errorf("detector %q: the horizon is a number of samples, 1 to 288", text)
		}
		return oracle{steps: int(value)}, nil
	}
	return nil, fmt.Errorf("detector %q: want lr, thr, iqr, mad, mean-sd, persistence, oracle, dvfs, npa or placed", text)
}

// threshold fires above a fixed share of the host.
type threshold struct{ above float64 }

func (threshold) observe(*world)                       {}
func (threshold) vector(*world, *vm, *class) []float64 { return nil }
func (d threshold) over(l load) bool                   { return l.demand/l.total > d.above }

// persistence takes the next sample to be z times the present one.
type persistence struct{ z float64 }

func (persistence) observe(*world)                       {}
func (persistence) vector(*world, *vm, *class) []float64 { return nil }
func (d persistence) over(l load) bool                   { return d.z*l.demand/l.total >= 1 }

// oracle knows the coming samples.
type oracle struct{ steps int }

func (oracle) observe(*world) {}

func (d oracle) vector(w *world, v *vm, _ *class) []float64 {
	out := make([]float64, d.steps)
	for j := range out {
		out[j] = v.data[min(w.step+j+1, len(v.data)-1)] * v.mips
	}
	return out
}

func (d oracle) over(l load) bool {
	if l.demand/l.total >= 1 {
		return true
	}
	for _, s := range l.sum {
		if s/l.total >= 1 {
			return true
		}
	}
	return false
}

// historyTest looks at the past utilisation of the host's present machines.
type historyTest struct {
	kind   string
	factor float64
}

func (*historyTest) observe(*world) {}

func (*historyTest) vector(_ *world, v *vm, c *class) []float64 {
	out := make([]float64, len(v.history))
	for i, u := range v.history {
		out[i] = u * v.mips / c.total
	}
	return out
}

func (d *historyTest) over(l load) bool {
	history := l.sum // newest first
	for len(history) > 0 && history[len(history)-1] == 0 {
		history = history[:len(history)-1]
	}
	now := l.demand / l.total
	switch d.kind {
	case "lr":
		if len(history) < regressed {
			return now > fallback
		}
		return d.factor*regress(history, l.largest) >= 1
	case "mean-sd":
		if len(history) < regressed {
			return now > fallback
		}
		mean, sd := moments(history[:regressed])
		return mean+float64(d.factor*sd) >= 1
	}
	if len(history) < 12 {
		return now > fallback
	}
	sorted := slices.Sorted(slices.Values(history))
	if d.kind == "iqr" {
		n := float64(len(sorted) + 1)
		low, high := int(math.Floor(0.25*n+0.5))-1, int(math.Floor(0.75*n+0.5))-1
		return now > 1-float64(d.factor*(sorted[high]-sorted[low]))
	}
	middle := median(sorted)
	for i := range sorted {
		sorted[i] = math.Abs(middle - sorted[i])
	}
	slices.Sort(sorted)
	return now > 1-float64(d.factor*median(sorted))
}

// regressed is how many points the regression and the moments look at.
const regressed = 10

// regress fits a line through the newest points by least squares and reads it
// where the longest migration would end.
func regress(history []float64, largest float64) float64 {
	var sx, sy, sxx, sxy float64
	for i := range regressed {
		x, y := float64(i+1), history[regressed-1-i]
		sx, sy = sx+x, sy+y
		sxx, sxy = sxx+float64(x*x), sxy+float64(x*y)
	}
	const n = regressed
	slope := (float64(n*sxy) - float64(sx*sy)) / (float64(n*sxx) - float64(sx*sx))
	start := (sy - float64(slope*sx)) / n
	ahead := math.Ceil(largest / copyRate / interval)
	return start + float64(slope*(n+ahead))
}

// moments returns the mean and the population standard deviation.
func moments(x []float64) (mean, sd float64) {
	for _, v := range x {
		mean += v
	}
	mean /= float64(len(x))
	square := 0.0
	for _, v := range x {
		square += float64((v - mean) * (v - mean))
	}
	return mean, math.Sqrt(square / float64(len(x)))
}

// median of ascending values.
func median(sorted []float64) float64 {
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return sorted[n/2-1] + float64(0.5*(sorted[n/2]-sorted[n/2-1]))
}

func floor(x float64) float64 { return math.Floor(x) }
