package predictor

import (
	"compress/gzip"
	"math"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/placed-dev/placed/trace"
)

// m4 returns the training part of M4 Hourly, nil where it is absent.
func m4(t testing.TB) []trace.Trace {
	t.Helper()
	root := os.Getenv("PLACED_DATA")
	if root == "" {
		root = filepath.Join("..", "..", "shared", "data")
	}
	f, err := os.Open(filepath.Join(root, "m4-hourly", "Hourly-train.csv.gz"))
	if err != nil {
		return nil
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	traces, err := trace.ReadRows(z, trace.Options{Header: true})
	if err != nil {
		t.Fatal(err)
	}
	return traces
}

// twoThreads runs work on both cores.
func twoThreads(n int, do func(int)) {
	var wg sync.WaitGroup
	next := make(chan int)
	for range 2 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range next {
				do(i)
			}
		}()
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}

// TestSequenceFigures forecasts the last 48 points of every M4 Hourly training
// series and holds the overall weighted average against seasonal naive.
func TestSequenceFigures(t *testing.T) {
	if !*figures {
		t.Skip("trains on the whole M4 Hourly set: run with -figures")
	}
	traces := m4(t)
	if traces == nil {
		t.Skip("the M4 Hourly set is absent: set PLACED_DATA to the folder that holds m4-hourly")
	}
	const horizon, season = 48, 24
	histories := make([][]float64, len(traces))
	for i, tr := range traces {
		histories[i] = tr.Values[:len(tr.Values)-horizon]
	}
	start := time.Now()
	got, err := Sequences(histories, SequenceConfig{Horizon: horizon, Seasons: []int{24, 168}, Levels: []float64{0.025, 0.5, 0.975}, Seed: 1}, twoThreads)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("took %v", time.Since(start))
	var ours, naive struct{ smape, mase float64 }
	var msis, inside float64
	for i, tr := range traces {
		h := histories[i]
		unit := 0.0
		for k := season; k < len(h); k++ {
			unit += math.Abs(h[k]-h[k-season]) / float64(len(h)-season)
		}
		for k := range horizon {
			truth := tr.Values[len(h)+k]
			again := h[len(h)-season+k%season]
			q := got[i].Steps[k]
			ours.smape += 200 * math.Abs(truth-q[1]) / (math.Abs(truth) + math.Abs(q[1]))
			naive.smape += 200 * math.Abs(truth-again) / (math.Abs(truth) + math.Abs(again))
			ours.mase += math.Abs(truth-q[1]) / unit
			naive.mase += math.Abs(truth-again) / unit
			msis += (q[2] - q[0] + 40*max(q[0]-truth, 0) + 40*max(truth-q[2], 0)) / unit
			if truth >= q[0] && truth <= q[2] {
				inside++
			}
		}
	}
	n := float64(len(traces) * horizon)
	owa := func(smape, mase float64) float64 { return (smape/n/18.383 + mase/n/2.395) / 2 }
	a, b := owa(ours.smape, ours.mase), owa(naive.smape, naive.mase)
	t.Logf("sMAPE %.3f MASE %.3f OWA %.4f (seasonal naive %.4f): %.3f of it; MSIS %.3f, 95 %% covers %.3f",
		ours.smape/n, ours.mase/n, a, b, a/b, msis/n, inside/n)
	if a/b > 0.69 {
		t.Errorf("OWA is %.3f of seasonal naive's, want at most .69", a/b)
	}
}
