package predictor

import (
	"math"
	"testing"

	"github.com/placed-dev/placed/fleet"
	"pgregory.net/rapid"
)

// TestFullAfter: a zone that grows by one a day and has ten left is full in ten, the
// band lies around it, and what does not grow is never full.
func TestFullAfter(t *testing.T) {
	trends := []Trend{{Level: 40, Slope: 0.5, Error: 0.1}, {Level: 40, Slope: 0.5, Error: 0.1}}
	got := FullAfter(80, trends, 90, nil)
	if math.Abs(got.Median-10) > 1e-9 || got.Early >= got.Median || got.Late <= got.Median || math.Abs(got.Growth-1) > 1e-9 {
		t.Errorf("%+v", got)
	}
	// Peaks that do not meet count for less: half of them together grow by half.
	if half := FullAfter(40, trends, 45, nil); math.Abs(half.Median-10) > 1e-9 {
		t.Errorf("half of the peaks together: %+v", half)
	}
	if full := FullAfter(100, trends, 90, nil); full.Early != 0 || full.Median != 0 || full.Late != 0 {
		t.Errorf("a full zone: %+v", full)
	}
	if still := FullAfter(80, []Trend{{Level: 80, Slope: -1, Error: 0.1}}, 90, nil); !math.IsInf(still.Median, 1) || !math.IsInf(still.Early, 1) {
		t.Errorf("a zone that shrinks: %+v", still)
	}
	// Of a steady zone only the growth that the calendar knows makes it full:
	// twice as much in ten days, of which it needs those to a half more.
	doubles := func(days float64) float64 { return math.Exp2(days / 10) }
	steady := FullAfter(80, []Trend{{Level: 80}}, 120, doubles)
	if want := 10 * math.Log2(1.5); math.Abs(steady.Median-want) > 0.02 || steady.Growth != 0 {
		t.Errorf("with declared growth full after %v days, want %v", steady.Median, want)
	}
	if both := FullAfter(80, trends, 120, doubles); !(both.Median < steady.Median) {
		t.Errorf("with a rising line as well, it takes %v days instead of %v", both.Median, steady.Median)
	}
	rapid.Check(t, func(rt *rapid.T) {
		var trends []Trend
		for range rapid.IntRange(0, 6).Draw(rt, "workloads") {
			trends = append(trends, Trend{rapid.Float64Range(0, 100).Draw(rt, "level"), rapid.Float64Range(-1, 1).Draw(rt, "slope"), rapid.Float64Range(0, 1).Draw(rt, "error")})
		}
		peak := rapid.Float64Range(0, 200).Draw(rt, "peak")
		f := FullAfter(peak, trends, rapid.Float64Range(0, 300).Draw(rt, "limit"), nil)
		if !(f.Early <= f.Median && f.Median <= f.Late) || f.Early < 0 {
			rt.Fatalf("%+v", f)
		}
	})
}

// TestCouplings: loads that err together are found, strangers and those with few
// common errors are not.
func TestCouplings(t *testing.T) {
	series := func(id fleet.WorkloadID, ticks int64, load func(int64) float64) fleet.Series {
		s := fleet.Series{Workload: id}
		for tick := range ticks {
			s.Residuals = append(s.Residuals, fleet.Residual{Tick: tick, Errors: append(make([]float32, Steps-1), float32(load(tick)))})
		}
		return s
	}
	got := Couplings([]fleet.Series{
		series("a", Window, func(tick int64) float64 { return hash(tick) }),
		series("b", Window, func(tick int64) float64 { return 3*hash(tick) + 0.1*hash(tick+7777) }),
		series("stranger", Window, func(tick int64) float64 { return hash(tick + 99_999) }),
		series("young", Window/4, hash),
		series("still", Window, func(int64) float64 { return 5 }),
	}, 0.5, 9)
	if len(got) != 1 || got[0].A != "a" || got[0].B != "b" || got[0].Correlation < 0.99 {
		t.Errorf("%+v", got)
	}
}
