package predictor

import (
	"fmt"
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/placed-dev/placed/fleet"
)

// A demand is above the line somewhere in the hour at least as surely as at any
// one step of it, never more surely than all steps taken together, falls with the
// limit and grows with the load.
func TestPeakExceedsProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		blocks := make([]Block, rapid.IntRange(1, 3).Draw(rt, "members"))
		for i := range blocks {
			blocks[i] = NewBlock(drawSeries(rt, fmt.Sprint("w", i)), Baseline{})
		}
		d := Sum(0, blocks)
		first := rapid.IntRange(1, Steps).Draw(rt, "first")
		last := rapid.IntRange(first, Steps).Draw(rt, "last")
		limit := d.Quantile(first, rapid.Float64Range(0.05, 0.95).Draw(rt, "level"))
		peak := d.PeakExceeds(first, last, limit)
		if peak < 0 || peak > 1 {
			rt.Fatalf("probability %v", peak)
		}
		if higher := d.PeakExceeds(first, last, limit*1.1+1); higher > peak {
			rt.Fatalf("a higher limit is exceeded more surely: %v, %v", higher, peak)
		}
		if more := d.Add(blocks[0]).PeakExceeds(first, last, limit); more < peak {
			rt.Fatalf("more load makes it less likely: %v, %v", more, peak)
		}
		// Both ends of the window's edge are worth a few scenarios.
		const edge = float64(Steps+1) / Window
		sum := 0.0
		for step := first; step <= last; step++ {
			p := d.Exceeds(step, limit)
			sum += p
			if p > peak+edge {
				rt.Fatalf("step %d alone %v, the whole %v", step, p, peak)
			}
		}
		if peak > sum+edge*float64(Steps) {
			rt.Fatalf("%v somewhere, %v summed over the steps", peak, sum)
		}
	})
}

// What is missing with a block added is what is missing of the sum.
func TestShortfallIsThatOfTheSum(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		a, b := NewBlock(drawSeries(rt, "a"), Baseline{}), NewBlock(drawSeries(rt, "b"), Baseline{})
		d := Sum(0, []Block{a})
		limit := d.Quantile(1, rapid.Float64Range(0.01, 0.99).Draw(rt, "level"))
		with := d.Add(b)
		near := func(what string, x, y float64) {
			if math.Abs(x-y) > 1e-9*(1+y) {
				rt.Fatalf("%s: %v, want %v", what, x, y)
			}
		}
		near("added", d.Shortfall(1, Steps, limit, b, 1), with.Shortfall(1, Steps, limit, Block{}, 0))
		near("taken away", with.Shortfall(1, Steps, limit, b, -1), d.Shortfall(1, Steps, limit, Block{}, 0))
		if x, y := with.Shortfall(1, Steps, limit, Block{}, 0), d.Shortfall(1, Steps, limit, Block{}, 0); x < y {
			rt.Fatalf("more load is missing less: %v, %v", x, y)
		}
	})
	// By hand: 4 of 5 fit, at every step, so a fifth is missing at each.
	flat := NewBlock(report("w", 900, func(int64) float64 { return 5000 }), Baseline{})
	if got := Sum(0, []Block{flat}).Shortfall(1, 10, 4000, Block{}, 0); math.Abs(got-2) > 1e-6 {
		t.Errorf("%v, want 2", got)
	}
	if got := (Demand{}).Shortfall(1, 10, 4000, flat, 1); math.Abs(got-2) > 1e-6 {
		t.Errorf("on an empty host %v, want 2", got)
	}
	if p := (Demand{}).PeakExceeds(1, 12, 10); p != 0 {
		t.Errorf("an empty host exceeds its limit with probability %v", p)
	}
}

// TestExcess: what is expected above a limit falls with it at the rate of the
// probability of exceeding it, and is the mean demand above none.
func TestExcess(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := Joint([]fleet.Series{UsageSeries("a", fleet.Net, 7, rapid.Float64Range(1, 1e9).Draw(rt, "a")),
			UsageSeries("b", fleet.Net, 7, rapid.Float64Range(0, 1e9).Draw(rt, "b"))}, 0, Baseline{})
		step := rapid.IntRange(1, Steps).Draw(rt, "step")
		largest := d.Quantile(step, 0.99)
		low := rapid.Float64Range(0, largest).Draw(rt, "low")
		high := low + rapid.Float64Range(0, largest).Draw(rt, "more")
		near, far := d.Excess(step, low), d.Excess(step, high)
		if far > near || near < 0 || near-far > (high-low)*min(1, d.Exceeds(step, low)+2.0/Window)+2.0/fraction {
			rt.Fatalf("above %v: %v, above %v: %v", low, near, high, far)
		}
		mean := 0.0
		for _, v := range d.scenarios[step-1] {
			mean += float64(v) / fraction / Window
		}
		if math.Abs(d.Excess(step, 0)-mean) > 1e-6*mean {
			rt.Fatalf("above nothing: %v of %v", d.Excess(step, 0), mean)
		}
	})
	if (Demand{}).Excess(1, 5) != 0 {
		t.Error("nothing exceeds something")
	}
}
