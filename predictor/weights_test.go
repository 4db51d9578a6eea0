package predictor

import (
	"flag"
	"fmt"
	"math"
	"slices"
	"testing"

	"gonum.org/v1/gonum/mat"
)

var fit = flag.Bool("fit", false, "fit the weights of Baseline anew on days 9-14 of the whole Azure set and print them")

// TestFitBaseline is where the weights in baseline.go come from: least absolute
// deviations (by reweighted least squares) of the change against the experts,
// every series scaled by its own mean change, pooled over all series.
func TestFitBaseline(t *testing.T) {
	if !*fit {
		t.Skip("prints weights only: run with -fit")
	}
	traces := azure(t)
	if traces == nil {
		t.Skip("the Azure set is absent: set PLACED_DATA to the folder that holds azure-v1")
	}
	type row struct {
		x []float64
		y float64
	}
	rows := make([][]row, Steps)
	for _, tr := range traces {
		values := tr.Values[:trainEnd]
		var scale [Steps]float64
		for k := range Steps {
			n := 0.0
			for i := 8 * ticksPerDay; i+k+1 < len(values); i++ {
				if d := math.Abs(values[i+k+1] - values[i]); !math.IsNaN(d) {
					scale[k], n = scale[k]+d, n+1
				}
			}
			scale[k] = scale[k]/max(n, 1) + 0.02
		}
		s := NewSeries()
		for i, v := range values {
			s.Observe(int64(i), v)
			if i < 8*ticksPerDay || i%11 != 0 || math.IsNaN(v) {
				continue
			}
			for k := range Steps {
				if i+k+1 >= len(values) || math.IsNaN(values[i+k+1]) {
					continue
				}
				x := make([]float64, 0, expertCount)
				for _, e := range experts(s.features, k+1) {
					x = append(x, e.trust*e.change/scale[k])
				}
				rows[k] = append(rows[k], row{x, (values[i+k+1] - v) / scale[k]})
			}
		}
	}
	for k := range Steps {
		w := make([]float64, len(rows[k][0].x))
		for range 40 {
			p := len(w)
			a, b := mat.NewSymDense(p, nil), mat.NewVecDense(p, nil)
			for _, r := range rows[k] {
				e := r.y
				for j := range w {
					e -= w[j] * r.x[j]
				}
				weight := 1 / max(math.Abs(e), 0.02)
				for i := range p {
					b.SetVec(i, b.AtVec(i)+weight*r.x[i]*r.y)
					for j := i; j < p; j++ {
						a.SetSym(i, j, a.At(i, j)+weight*r.x[i]*r.x[j])
					}
				}
			}
			for i := range p {
				a.SetSym(i, i, a.At(i, i)*(1+1e-6)+1e-6)
			}
			var solved mat.VecDense
			if err := solved.SolveVec(a, b); err != nil {
				t.Fatal(err)
			}
			w = slices.Clone(solved.RawVector().Data)
		}
		loss, naive := 0.0, 0.0
		for _, r := range rows[k] {
			e := r.y
			for j := range w {
				e -= w[j] * r.x[j]
			}
			loss, naive = loss+math.Abs(e), naive+math.Abs(r.y)
		}
		t.Logf("{%s}, // %.3f", floats(w), loss/naive)
	}
}

func floats(w []float64) string {
	out := ""
	for i, v := range w {
		if i > 0 {
			out += ", "
		}
		out += fmt.Sprintf("%.3f", v)
	}
	return out
}
