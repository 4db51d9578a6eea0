package boost

import (
	"math/rand/v2"
	"testing"
)

// large is the size a leader trains on: 100,000 rows of 90 features, of which a
// third take few values and some are missing.
func large() (Matrix, []float32) {
	r := rand.New(rand.NewPCG(1, 1))
	x := Matrix{Rows: 100_000, Cols: 90, Data: make([]float32, 100_000*90)}
	y := make([]float32, x.Rows)
	for i := range y {
		row := x.Row(i)
		level := r.NormFloat64()
		for f := range row {
			v := level + r.NormFloat64()
			switch {
			case f%3 == 0:
				v = float64(int(v * 3))
			case f%17 == 0 && r.IntN(10) == 0:
				v = float64(nan)
			}
			row[f] = float32(v)
		}
		y[i] = float32(level + r.ExpFloat64())
	}
	return x, y
}

// BenchmarkLarge reports CPU seconds of binning, of a model of 100 trees, and
// nanoseconds of a prediction.
func BenchmarkLarge(b *testing.B) {
	x, y := large()
	for b.Loop() {
		began := cpuTime()
		binned := Bin(x, 255)
		ready := cpuTime()
		m, err := Train(binned, y, nil, Config{Loss: Loss{Quantile, 0.9}}, nil)
		if err != nil {
			b.Fatal(err)
		}
		trained := cpuTime()
		m.PredictAll(x, make([]float64, x.Rows), nil)
		b.ReportMetric((ready - began).Seconds(), "bin-cpu-s")
		b.ReportMetric((trained - ready).Seconds(), "train-cpu-s")
		b.ReportMetric(float64((cpuTime()-trained).Nanoseconds())/float64(x.Rows), "cpu-ns/row")
	}
}
