package simulator

import (
	"testing"

	"github.com/placed-dev/placed/predictor"
)

// With a forecast every third tick a workload's report stands between them, whole:
// its errors end with the tick of its features, and later ones do not change it.
func TestReportsStandBetweenForecasts(t *testing.T) {
	c := smallFleet(1, 3, 400, func(i, tick int) float64 { return 1 + float64((i+1)*tick%7)/10 })
	p := placedDecider(c, false)
	p.Every = 3
	demand := make([]float64, len(c.Workloads))
	renewed := make([]int, len(demand))
	for tick := range 380 {
		before := make([]int64, len(demand))
		for w := range demand {
			demand[w] = c.Workloads[w].Demand[tick]
			if tick > 0 {
				before[w] = p.known(tick-1, w).Tick
			}
		}
		p.Observe(tick, demand)
		for w := range demand {
			s := p.known(tick, w)
			if s.Tick != before[w] {
				renewed[w]++
				if s.Tick != p.FirstTick+int64(tick) {
					t.Fatalf("tick %d: workload %d reports tick %d", tick, w, s.Tick)
				}
			}
			if n := len(s.Residuals); n > 0 && s.Residuals[n-1].Tick != s.Tick {
				t.Fatalf("tick %d: the newest error of workload %d is of tick %d, its features are of %d", tick, w, s.Residuals[n-1].Tick, s.Tick)
			}
			if tick > 350 && len(s.Residuals) != predictor.Window {
				t.Fatalf("tick %d: %d errors of workload %d, want a day", tick, len(s.Residuals), w)
			}
		}
	}
	for w, n := range renewed {
		if n < 126 || n > 128 {
			t.Errorf("workload %d was forecast %d times in 380 ticks", w, n)
		}
	}
}
