package predictor

import (
	"math"
	"reflect"
	"testing"
	"time"
)

var quickTrial = TrialConfig{Test: 2 * ticksPerDay, Horizons: []Horizon{{3, false}}, Pool: PoolConfig{Seed: 1, Trees: 15, Leaves: 8, Rate: 0.3}}

func trialLoads() [][]float64 {
	var values [][]float64
	for i := range 5 {
		values = append(values, waveLoad(i, 13*ticksPerDay))
	}
	return values
}

// TestTrial: on loads that can be forecast ours beats persistence and covers what
// it promises; it is the same on one thread and on two.
func TestTrial(t *testing.T) {
	values := trialLoads()
	scores, err := Trial(values, quickTrial, twoThreads)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Trial(values, quickTrial, nil)
	if err != nil || !reflect.DeepEqual(scores, again) {
		t.Errorf("one thread gives other scores (%v)", err)
	}
	groups := []string{"a", "a", "a", "b", "b"}
	for _, s := range Summarise(scores, groups) {
		if want := map[string]int{"": 5, "a": 3, "b": 2}[s.Group]; s.Series != want {
			t.Errorf("%+v: want %d series", s, want)
		}
		if s.Method == Persistence && math.Abs(s.Relative-1) > 1e-12 {
			t.Errorf("persistence is %v of itself", s.Relative)
		}
		if s.Method == Ours && (s.Relative > 0.95 || s.Coverage[1] < 0.75 || s.Coverage[1] > 0.99) {
			t.Errorf("ours: %+v", s)
		}
	}
}

// TestTrialSeesNoFuture: models and calibration that stand at the first test
// origin are the same whatever the test holds.
func TestTrialSeesNoFuture(t *testing.T) {
	values := trialLoads()
	end := len(values[0]) - quickTrial.Test
	learn := func(values [][]float64) []Example {
		cfg := quickTrial
		cfg.Every = 37
		tr := trial{values: values, cfg: cfg, par: func(n int, do func(int)) {
			for i := range n {
				do(i)
			}
		}}
		if err := tr.split(); err != nil {
			t.Fatal(err)
		}
		tr.collect()
		return tr.examples(learnFrom, tr.end)
	}
	before := learn(values)
	for i := range values {
		for tick := end; tick < len(values[i]); tick++ {
			values[i][tick] = 1e9
		}
	}
	after := learn(values)
	if len(before) == 0 || len(before) != len(after) {
		t.Fatalf("%d examples became %d", len(before), len(after))
	}
	for i := range before {
		for k, v := range before[i].Outlook {
			if math.Float32bits(v) != math.Float32bits(after[i].Outlook[k]) {
				t.Fatalf("example %d has seen the test", i)
			}
		}
		for k, v := range before[i].Targets {
			if math.Float32bits(v) != math.Float32bits(after[i].Targets[k]) {
				t.Fatalf("example %d has a target in the test", i)
			}
		}
	}
}

// TestForecastSpeed prints what forecasts of 10,000 workloads with 4 resources
// at every horizon and level cost on one thread, the features of one tick
// included.
func TestForecastSpeed(t *testing.T) {
	if !*figures {
		t.Skip("prints a figure: run with -figures")
	}
	examples := poolExamples(8)
	cfg := PoolConfig{Seed: 1}
	p, err := TrainPool(examples, cfg, twoThreads)
	if err != nil {
		t.Fatal(err)
	}
	var series []*Series
	for i := range 50 {
		s := NewSeries()
		for tick, v := range waveLoad(i, 9*ticksPerDay) {
			s.record(int64(tick), v)
		}
		s.Outlook()
		series = append(series, s)
	}
	const wanted = 40_000
	var features, forecasts time.Duration
	sum := 0.0
	for n := 0; n < wanted; n += len(series) {
		start := cpuTime()
		outlooks := make([][]float32, len(series))
		for i, s := range series {
			s.record(s.tick+1, 500)
			outlooks[i] = s.Outlook()
		}
		features += cpuTime() - start
		start = cpuTime()
		for _, o := range outlooks {
			var c Calibration
			for h := range Horizons {
				opinions, _ := OpinionsOf(p, o, h)
				var q [LevelCount]float64
				c.Blend(Horizons[h], &opinions, nil, &q)
				sum += q[0]
			}
		}
		forecasts += cpuTime() - start
	}
	t.Logf("%d series × %d horizons × %d quantiles: %.2f CPU s (features of a tick %.2f, forecasts %.2f)",
		wanted, HorizonCount, LevelCount, (features + forecasts).Seconds(), features.Seconds(), forecasts.Seconds())
	if sum == 0 {
		t.Error("nothing was forecast")
	}
}
