package predictor

import (
	"math"
	"slices"
	"testing"
)

// TestBacktestOfAKnownLoad: a load that repeats itself exactly is forecast better
// than by persistence, and a random walk is not forecast much worse.
func TestBacktestOfAKnownLoad(t *testing.T) {
	periodic, walk := make([]float64, 12*ticksPerDay), make([]float64, 12*ticksPerDay)
	load, level, seed := storyLoad(1000, 600, 50, 800, 14), 5000.0, uint64(3)
	for i := range periodic {
		periodic[i] = load(int64(i))
		seed = seed*6364136223846793005 + 1442695040888963407
		level += float64(int64(seed>>40)-1<<23) / (1 << 23) * 30
		walk[i] = level
	}
	periodic[2900], walk[3000] = math.NaN(), math.NaN()
	for _, c := range []struct {
		name   string
		values []float64
		least  [3]float64
	}{{"periodic", periodic, [3]float64{0.1, 0.2, 0.6}}, {"random walk", walk, [3]float64{-0.1, -0.1, -0.1}}} {
		r := Backtest(c.values, 9*ticksPerDay, Baseline{})
		if r.Model != "baseline" || len(r.Steps) != 3 {
			t.Fatalf("%+v", r)
		}
		for i, s := range r.Steps {
			t.Logf("%s, step %d: skill %.2f, coverage %.2f", c.name, s.Step, s.Skill, s.Coverage)
			if s.Step != backtestSteps[i] || s.Origins < 3*ticksPerDay-20 || s.Origins > 3*ticksPerDay-s.Step {
				t.Errorf("%s: %d origins at step %d", c.name, s.Origins, s.Step)
			}
			if s.Skill < c.least[i] || math.Abs(s.Coverage[1]-0.9) > 0.06 {
				t.Errorf("%s step %d: skill %.2f, coverage %.2f", c.name, s.Step, s.Skill, s.Coverage)
			}
		}
	}
}

// TestBacktestSeesNoFuture: what comes after the last origin's target changes
// nothing, and a short or empty history is judged on what there is.
func TestBacktestSeesNoFuture(t *testing.T) {
	values := make([]float64, 3*ticksPerDay)
	for i := range values {
		values[i] = float64(i * i % 577)
	}
	short := Backtest(values[:2*ticksPerDay], ticksPerDay, Baseline{})
	long := slices.Clone(values)
	for i := 2 * ticksPerDay; i < len(long); i++ {
		long[i] = math.NaN()
	}
	padded := Backtest(long, ticksPerDay, Baseline{})
	for i := range short.Steps {
		if a, b := short.Steps[i], padded.Steps[i]; a.Origins != b.Origins || a.Pinball != b.Pinball || a.Persistence != b.Persistence {
			t.Errorf("%+v became %+v", a, b)
		}
	}
	for _, s := range Backtest(nil, 0, Baseline{}).Steps {
		if s.Origins != 0 || s.Skill != 0 || s.Coverage[0] != 0 {
			t.Errorf("nothing was judged as %+v", s)
		}
	}
}
