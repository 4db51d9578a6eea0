package predictor

import (
	"math"
	"slices"

	"github.com/placed-dev/placed/fleet"
)

// backtestLevels are the quantiles a backtest judges.
var backtestLevels = [...]float64{0.5, 0.9, 0.95}

// backtestSteps are the steps a backtest judges: 5 min, 15 min, 1 h.
var backtestSteps = [...]int{1, 3, 12}

// Report says how a model would have done on one series.
type Report struct {
	Model string
	Steps []StepReport
}

// StepReport judges one step over all origins.
type StepReport struct {
	Step    int // ticks ahead
	Origins int // forecasts that could be judged
	// Levels, and for each the share of values at or below the forecast.
	Levels   []float64
	Coverage []float64
	// Pinball is the mean quantile loss over the levels, base units;
	// Persistence the same for a forecast that repeats the newest value and
	// takes its spread from its own last day of errors.
	Pinball, Persistence float64
	// Skill is 1 − Pinball/Persistence: above 0 the model is the better one.
	Skill float64
}

// Backtest runs a series through the very path that production takes, with a
// forecast at every tick from `from` on that was made from earlier values only,
// and judges it against what came. NaN values are missing; ticks before `from`
// only teach. A tick where nothing was observed is no origin.
func Backtest(values []float64, from int, model Model) Report {
	judges := make([]judge, len(backtestSteps))
	series, errors := NewSeries(), newErrorWindow(model)
	naive := newErrorWindow(persistence{})
	for t, v := range values {
		series.Observe(int64(t), v)
		if series.Empty() || series.Tick() != int64(t) {
			continue
		}
		now := series.Report("", fleet.CPU, 0)
		own, repeated := errors.observe(now, v), naive.observe(now, v)
		if t < from {
			continue
		}
		now.Residuals = own
		ours := NewBlock(now, model)
		now.Residuals = repeated
		theirs := NewBlock(now, persistence{})
		for i, step := range backtestSteps {
			if t+step < len(values) && !math.IsNaN(values[t+step]) {
				judges[i].add(values[t+step], ours.quantiles(step), theirs.quantiles(step))
			}
		}
	}
	report := Report{Model: model.Name()}
	for i, step := range backtestSteps {
		report.Steps = append(report.Steps, judges[i].report(step))
	}
	return report
}

// quantiles of a block on its own, at the levels of a backtest.
func (b Block) quantiles(step int) [len(backtestLevels)]float64 {
	sorted := b.sorted(step)
	var out [len(backtestLevels)]float64
	for i, level := range backtestLevels {
		out[i] = quantileOf(sorted, level)
	}
	return out
}

// persistence is what every model has to beat.
type persistence struct{}

func (persistence) Name() string { return "persistence" }

func (persistence) Centre(features []float32, _ int) float64 { return float64(features[FeatureLags]) }

// errorWindow keeps the last day of a model's own errors, as Series does for
// Baseline.
type errorWindow struct {
	model     Model
	centres   map[int64][Steps]float64 // by origin, the last Steps of them
	residuals []fleet.Residual
}

func newErrorWindow(model Model) *errorWindow {
	return &errorWindow{model: model, centres: map[int64][Steps]float64{}}
}

// observe judges the forecasts for the tick of s, whose value is v, and
// remembers the ones made at it. It returns the errors of the last day.
func (w *errorWindow) observe(s fleet.Series, v float64) []fleet.Residual {
	row := make([]float32, Steps)
	complete := true
	for k := range Steps {
		centres, ok := w.centres[s.Tick-int64(k)-1]
		complete = complete && ok
		row[k] = float32(max(v, 0) - centres[k])
	}
	if complete {
		w.residuals = append(w.residuals, fleet.Residual{Tick: s.Tick, Errors: row})
	}
	for len(w.residuals) > 0 && w.residuals[0].Tick <= s.Tick-Window {
		w.residuals = w.residuals[1:]
	}
	var centres [Steps]float64
	for k := range Steps {
		centres[k] = w.model.Centre(s.Features, k+1)
	}
	w.centres[s.Tick] = centres
	delete(w.centres, s.Tick-Steps)
	return w.residuals
}

// judge sums up the forecasts of one step.
type judge struct {
	origins      int
	covered      [len(backtestLevels)]int
	loss, naives float64
}

func (j *judge) add(truth float64, ours, theirs [len(backtestLevels)]float64) {
	truth = max(truth, 0)
	j.origins++
	for i, level := range backtestLevels {
		// Half a scenario unit of room: a forecast that was only rounded
		// must not count as missed.
		if truth <= ours[i]+0.5/fraction {
			j.covered[i]++
		}
		j.loss += pinball(truth-ours[i], level) / float64(len(backtestLevels))
		j.naives += pinball(truth-theirs[i], level) / float64(len(backtestLevels))
	}
}

func (j *judge) report(step int) StepReport {
	r := StepReport{Step: step, Origins: j.origins, Levels: slices.Clone(backtestLevels[:])}
	r.Coverage = make([]float64, len(backtestLevels))
	if j.origins == 0 {
		return r
	}
	n := float64(j.origins)
	for i, covered := range j.covered {
		r.Coverage[i] = float64(covered) / n
	}
	r.Pinball, r.Persistence = j.loss/n, j.naives/n
	if r.Persistence > 0 {
		r.Skill = 1 - r.Pinball/r.Persistence
	}
	return r
}

func pinball(missed, level float64) float64 { return max(level*missed, (level-1)*missed) }
