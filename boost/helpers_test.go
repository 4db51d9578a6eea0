package boost

import (
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// threads runs do on four goroutines, in a different order than one would.
func threads(n int, do func(i int)) {
	var wait sync.WaitGroup
	for g := range 4 {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for i := n - 1 - g; i >= 0; i -= 4 {
				do(i)
			}
		}()
	}
	wait.Wait()
}

var nan = float32(math.NaN())

// sample makes rows whose target depends on three features; feature 3 is
// constant, every missing-th value of feature 1 is missing.
func sample(seed uint64, rows, missing int, kind LossKind) (Matrix, []float32) {
	r := rand.New(rand.NewPCG(seed, 1))
	x := Matrix{Rows: rows, Cols: 6, Data: make([]float32, rows*6)}
	y := make([]float32, rows)
	for i := range rows {
		row := x.Row(i)
		for f := range row {
			row[f] = float32(r.NormFloat64())
		}
		row[3] = 7
		v := 2*float64(row[0]) + math.Abs(float64(row[1])) - float64(row[2])*float64(row[0]) + r.NormFloat64()/2
		if missing > 0 && i%missing == 0 {
			row[1], v = nan, v+3
		}
		if kind == Logistic {
			v = math.Round(sigmoid(3 * v))
		}
		y[i] = float32(v)
	}
	return x, y
}

var losses = []Loss{{Kind: Squared}, {Kind: Absolute}, {Quantile, 0.1}, {Quantile, 0.95}, {Kind: Logistic}}

func drawLoss(t *rapid.T) Loss { return rapid.SampledFrom(losses).Draw(t, "loss") }

func drawConfig(t *rapid.T, loss Loss) Config {
	return Config{
		Loss: loss, Trees: rapid.IntRange(1, 12).Draw(t, "trees"), Leaves: rapid.IntRange(2, 12).Draw(t, "leaves"),
		MinLeaf: rapid.IntRange(1, 12).Draw(t, "minLeaf"), Rate: 0.3, L2: rapid.SampledFrom([]float64{0, 1}).Draw(t, "l2"),
		Seed: rapid.Uint64().Draw(t, "seed"),
	}
}

func drawWeight(t *rapid.T, rows int) []float32 {
	if rapid.Bool().Draw(t, "unweighted") {
		return nil
	}
	weight := make([]float32, rows)
	for i := range weight {
		weight[i] = float32(i%5) / 2
	}
	return weight
}

func train(t testing.TB, x Matrix, y, weight []float32, cfg Config, par Par) *Model {
	t.Helper()
	m, err := Train(Bin(x, 0), y, weight, cfg, par)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func encoded(t testing.TB, m *Model) string {
	t.Helper()
	b, err := m.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
