package predictor

import (
	"flag"
	"math"
	"slices"
	"testing"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/trace"
)

var figures = flag.Bool("figures", false, "backtest the whole Azure set instead of every ninth series of the shipped excerpt")

// TestBaselineFigures backtests days 15-21 and holds the figures to what
// docs/ and the planner rely on. Values are scaled from percent of a core to
// millicores.
func TestBaselineFigures(t *testing.T) {
	if raceDetector {
		t.Skip("figures are computed without the race detector")
	}
	var traces []trace.Trace
	if *figures {
		traces = azure(t)
	}
	if traces == nil {
		for i, tr := range excerpt(t) {
			if *figures || i%9 == 0 {
				traces = append(traces, tr)
			}
		}
	}
	var ratio, coverage [len(backtestSteps)][]float64
	var all [len(backtestSteps)][len(backtestLevels)]float64
	for _, tr := range traces {
		values := slices.Clone(tr.Values[teachStart:])
		for i := range values {
			values[i] *= 10
		}
		r := Backtest(values, trainEnd-teachStart, Baseline{})
		for i, s := range r.Steps {
			// A tenth of a millicore, so that idle series do not decide.
			ratio[i] = append(ratio[i], (s.Pinball+0.1)/(s.Persistence+0.1))
			coverage[i] = append(coverage[i], s.Coverage[1])
			for q, c := range s.Coverage {
				all[i][q] += c / float64(len(traces))
			}
		}
	}
	for i, step := range backtestSteps {
		worst := slices.Sorted(slices.Values(coverage[i]))[len(coverage[i])/10]
		gm := geometricMean(ratio[i])
		t.Logf("step %2d, %d series: pinball/persistence %.3f; coverage .5 %.3f, .9 %.3f, .95 %.3f; worst tenth's .9 %.3f",
			step, len(traces), gm, all[i][0], all[i][1], all[i][2], worst)
		if gm >= 1 {
			t.Errorf("step %d: the baseline loses to persistence: pinball ratio %.3f", step, gm)
		}
		if c := all[i][1]; c < 0.87 || c > 0.95 {
			t.Errorf("step %d: quantile .9 covers %.3f of what came", step, c)
		}
	}
}

// TestJointCoverage deals the series out to three hosts and asks whether the .9 of
// each host's sum holds what came on days 15-21.
func TestJointCoverage(t *testing.T) {
	if raceDetector {
		t.Skip("figures are computed without the race detector")
	}
	var traces []trace.Trace
	if *figures {
		traces = azure(t)
	}
	if traces == nil {
		for i, tr := range excerpt(t) {
			if *figures || i%2 == 0 {
				traces = append(traces, tr)
			}
		}
	}
	const hosts = 3
	var covered, judged, sumOfQuantiles [len(backtestSteps)]float64
	for h := range hosts {
		var members []*Series
		var values [][]float64
		for i, tr := range traces {
			if i%hosts == h {
				members, values = append(members, NewSeries()), append(values, tr.Values)
			}
		}
		for tick := teachStart; tick < historyEnd; tick++ {
			truth := true
			for i, m := range members {
				m.Observe(int64(tick), values[i][tick]*10)
				truth = truth && m.Tick() == int64(tick)
			}
			if tick < trainEnd || tick%7 != 0 || !truth {
				continue
			}
			blocks := make([]Block, len(members))
			for i, m := range members {
				blocks[i] = NewBlock(m.Report(fleet.WorkloadID(rune('a'+i)), fleet.CPU, Window), Baseline{})
			}
			joint := Sum(0, blocks)
			for i, step := range backtestSteps {
				came, separate := 0.0, 0.0
				for j := range members {
					came += values[j][min(tick+step, historyEnd-1)] * 10
					separate += blocks[j].quantiles(step)[1]
				}
				if tick+step >= historyEnd || math.IsNaN(came) {
					continue
				}
				judged[i]++
				covered[i] += boolean(came <= joint.Quantile(step, 0.9))
				sumOfQuantiles[i] += boolean(came <= separate)
			}
		}
	}
	for i, step := range backtestSteps {
		c := covered[i] / judged[i]
		t.Logf("step %2d: %d hosts, %.0f origins: joint .9 covers %.3f (sum of quantiles: %.3f)", step, hosts, judged[i], c, sumOfQuantiles[i]/judged[i])
		if c < 0.85 || c > 0.95 {
			t.Errorf("step %d: the joint quantile .9 covers %.3f", step, c)
		}
	}
}

func geometricMean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += math.Log(v)
	}
	return math.Exp(sum / float64(len(values)))
}
