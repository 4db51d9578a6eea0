package predictor

import (
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// clockwork are histories that repeat every 24 steps, with noise and levels of
// their own.
func clockwork(series, length int) [][]float64 {
	out := make([][]float64, series)
	for i := range out {
		rng := sequenceRandom(i)
		out[i] = make([]float64, length)
		for t := range out[i] {
			out[i][t] = float64(10*(i+1)) * (2 + math.Sin(2*math.Pi*float64(t+i)/24) + float64(rng.below(1000))/2000)
		}
	}
	return out
}

var dayConfig = SequenceConfig{Horizon: 24, Seasons: []int{24}, Levels: []float64{0.05, 0.5, 0.95}, Seed: 1, Rows: 3000, Trees: 60}

// TestSequences: pooled models beat repeating the last day, cover what they
// promise, ascend, and are the same on two threads.
func TestSequences(t *testing.T) {
	full := clockwork(12, 24*20)
	histories := make([][]float64, len(full))
	for i := range full {
		histories[i] = full[i][:len(full[i])-24]
	}
	got, err := Sequences(histories, dayConfig, nil)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Sequences(histories, dayConfig, twoThreads)
	if err != nil || !reflect.DeepEqual(got, again) {
		t.Errorf("two threads give other forecasts (%v)", err)
	}
	var ours, naive, inside, n float64
	for i, f := range got {
		if f.Plain != "" || len(f.Steps) != 24 {
			t.Fatalf("series %d: %q, %d steps", i, f.Plain, len(f.Steps))
		}
		for k, q := range f.Steps {
			truth := full[i][len(histories[i])+k]
			if !slices.IsSorted(q) {
				t.Fatalf("series %d step %d: %v", i, k, q)
			}
			unit := float64(i + 1)
			ours += math.Abs(truth-q[1]) / unit
			naive += math.Abs(truth-histories[i][len(histories[i])-24+k]) / unit
			inside, n = inside+boolean(truth >= q[0] && truth <= q[2]), n+1
		}
	}
	if ours > 0.95*naive {
		t.Errorf("error %.2f against %.2f of repeating the last day", ours/n, naive/n)
	}
	if c := inside / n; c < 0.84 || c > 0.97 {
		t.Errorf("the 90 %% band covers %.3f", c)
	}
}

// TestSequencesOfOddHistories: what no model can read gets a plain forecast that
// says why; gaps, negative values and infinitely small ones do not spoil others.
func TestSequencesOfOddHistories(t *testing.T) {
	nan := math.NaN()
	histories := clockwork(12, 24*20)
	gaps := slices.Clone(histories[0])
	negative := slices.Clone(histories[1])
	for i := range gaps {
		if i%7 == 3 || i > len(gaps)-5 {
			gaps[i] = nan
		}
		negative[i] -= 100
	}
	histories = append(histories, gaps, negative,
		slices.Repeat([]float64{5}, 400), []float64{3, 4}, []float64{7}, nil, []float64{nan, nan}, slices.Repeat([]float64{0}, 100))
	got, err := Sequences(histories, dayConfig, nil)
	if err != nil {
		t.Fatal(err)
	}
	odd := got[12:]
	for i, want := range []string{"", "", "constant", "too short", "too short", "empty", "empty", "constant"} {
		f := odd[i]
		if want == "" && f.Plain != "" || !strings.Contains(f.Plain, want) {
			t.Errorf("history %d: plain because %q, want %q", i, f.Plain, want)
		}
		if (f.Steps == nil) != (want == "empty") {
			t.Errorf("history %d has %d steps", i, len(f.Steps))
		}
		for k, q := range f.Steps {
			for _, v := range q {
				if math.IsNaN(v) || math.IsInf(v, 0) || v < 0 && i != 1 {
					t.Fatalf("history %d step %d: %v", i, k, q)
				}
			}
			if !slices.IsSorted(q) {
				t.Fatalf("history %d step %d: %v", i, k, q)
			}
		}
	}
	if odd[1].Steps[0][1] > 0 {
		t.Errorf("a history below zero is forecast as %v", odd[1].Steps[0])
	}
	if q := odd[2].Steps[23]; q[0] != 5 || q[2] != 5 {
		t.Errorf("a constant 5 is forecast as %v", q)
	}
	alone, err := Sequences([][]float64{histories[0][:60]}, dayConfig, nil)
	if err != nil || !strings.Contains(alone[0].Plain, "too short for a model") {
		t.Errorf("one short history: %+v, %v", alone, err)
	}
}

// TestSequencesRefuse settings that mean nothing.
func TestSequencesRefuse(t *testing.T) {
	for want, change := range map[string]func(*SequenceConfig){
		"horizon of 0":      func(c *SequenceConfig) { c.Horizon = 0 },
		"no season":         func(c *SequenceConfig) { c.Seasons = nil },
		"seasons [24 24]":   func(c *SequenceConfig) { c.Seasons = []int{24, 24} },
		"no quantile":       func(c *SequenceConfig) { c.Levels = nil },
		"quantiles [0.5 1]": func(c *SequenceConfig) { c.Levels = []float64{0.5, 1} },
	} {
		cfg := dayConfig
		change(&cfg)
		if _, err := Sequences(nil, cfg, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want a refusal with %q, got %v", want, err)
		}
	}
}

// TestRowReadsNoFuture: what comes after the origin changes no feature.
func TestRowReadsNoFuture(t *testing.T) {
	history := clockwork(1, 24*20)[0]
	const origin = 24 * 15
	other := slices.Clone(history)
	for i := origin + 1; i < len(other); i++ {
		other[i] = 1e6
	}
	a, b := newSequence(history, []int{24}), newSequence(other, []int{24})
	b.unit, b.step, b.far, b.deviation = a.unit, a.step, a.far, a.deviation
	path := make([]float64, 48)
	x, y := make([]float32, sequenceCols), make([]float32, sequenceCols)
	for ahead := 1; ahead <= 48; ahead++ {
		base := a.row(x, origin, ahead, path)
		if again := b.row(y, origin, ahead, path); again != base {
			t.Fatalf("%d ahead: the base is %v, not %v", ahead, again, base)
		}
		for i := range x {
			if math.Float32bits(x[i]) != math.Float32bits(y[i]) && math.Abs(float64(x[i]-y[i])) > 1e-3 {
				t.Fatalf("%d ahead: feature %d is %v, not %v", ahead, i, y[i], x[i])
			}
		}
	}
}
