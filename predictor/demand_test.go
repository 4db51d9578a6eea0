package predictor

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/placed-dev/placed/fleet"
	"pgregory.net/rapid"
)

func drawSeries(rt *rapid.T, label string) fleet.Series {
	s := NewSeries()
	for _, o := range observations(rt, 320) {
		s.Observe(o.tick, o.value)
	}
	r := s.Report(fleet.WorkloadID(label), fleet.CPU, rapid.IntRange(0, Window).Draw(rt, "residuals"))
	r.Tick += rapid.Int64Range(-2, 2).Draw(rt, "late") // reports need not be in step
	return r
}

// TestDemandProperties: quantiles rise with the level, Exceeds falls with the
// limit and is the inverse, another member never lowers a quantile nor
// Exceeds, Remove undoes Add exactly, and the order of members does not matter.
func TestDemandProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tick := rapid.Int64Range(0, 1e6).Draw(rt, "tick")
		blocks := make([]Block, rapid.IntRange(1, 4).Draw(rt, "members"))
		for i := range blocks {
			s := drawSeries(rt, fmt.Sprint("w", i))
			shift := tick + rapid.Int64Range(0, 3).Draw(rt, "age") - s.Tick
			s.Tick += shift
			for j := range s.Residuals {
				s.Residuals[j].Tick += shift
			}
			blocks[i] = NewBlock(s, Baseline{})
		}
		foreign := rapid.Float64Range(0, 1e9).Draw(rt, "foreign")
		all := Sum(foreign, blocks)
		reversed := slices.Clone(blocks)
		slices.Reverse(reversed)
		if got := Sum(foreign, reversed); *got.scenarios != *all.scenarios || got.centres != all.centres {
			rt.Fatal("the order of members matters")
		}
		extra := blocks[0]
		more := all.Add(extra)
		if less := more.Remove(extra); *less.scenarios != *all.scenarios || less.centres != all.centres || less.Tick() != all.Tick() {
			rt.Fatal("Remove does not undo Add")
		}
		step := rapid.IntRange(1, Steps).Draw(rt, "step")
		levels := rapid.SliceOfN(rapid.Float64Range(0, 0.999), 2, 2).Draw(rt, "levels")
		slices.Sort(levels)
		low, high := all.Quantile(step, levels[0]), all.Quantile(step, levels[1])
		if low < 0 || low > high || !finite(high) {
			rt.Fatalf("quantiles %v at %v", []float64{low, high}, levels)
		}
		if q := more.Quantile(step, levels[1]); q < high {
			rt.Fatalf("one member more lowers the quantile %v from %v to %v", levels[1], high, q)
		}
		if p := all.Exceeds(step, high); p > 1-levels[1]+1e-6 {
			rt.Fatalf("Exceeds(Quantile(%v)) = %v", levels[1], p)
		}
		if p, q := all.Exceeds(step, low), all.Exceeds(step, high); p < q || p > 1 || q < 0 {
			rt.Fatalf("Exceeds rises from %v to %v with the limit", p, q)
		}
		if all.Exceeds(step, high) > more.Exceeds(step, high) {
			rt.Fatal("one member more makes exceeding less likely")
		}
	})
}

// TestExceedsInvertsQuantile on scenarios without ties, tails included.
func TestExceedsInvertsQuantile(t *testing.T) {
	d := Joint([]fleet.Series{report("a", 900, func(tick int64) float64 {
		return 3000 + 1000*math.Sin(float64(tick)/50) + float64(tick*7919%1009)
	})}, 250, Baseline{})
	for _, level := range []float64{0.001, 0.01, 0.3, 0.5, 0.9, 0.95, 0.99, 0.996, 0.9975, 0.999} {
		for _, step := range []int{1, 6, 12} {
			if p := d.Exceeds(step, d.Quantile(step, level)); math.Abs(p-(1-level)) > 1e-4 {
				t.Errorf("step %d: Exceeds(Quantile(%v)) = %v", step, level, p)
			}
		}
	}
}

// TestJointKnowsCorrelation: two loads that rise together need more room than
// two that take turns, which a sum of quantiles cannot tell.
func TestJointKnowsCorrelation(t *testing.T) {
	noise := func(tick int64) float64 { return 800 * hash(tick) }
	a := report("a", 900, func(tick int64) float64 { return 1000 + noise(tick) })
	together := report("b", 900, func(tick int64) float64 { return 1000 + noise(tick) })
	turns := report("b", 900, func(tick int64) float64 { return 1800 - noise(tick) })
	q := func(s ...fleet.Series) float64 { return Joint(s, 0, Baseline{}).Quantile(3, 0.95) }
	if alone := q(a) + q(together); math.Abs(q(a, together)-alone) > 0.01*alone {
		t.Errorf("equal loads: %v, want the sum of their quantiles %v", q(a, together), alone)
	}
	if both := q(a, turns); both > 2950 {
		t.Errorf("loads that always add up to 2800 have a quantile of %v", both)
	}
}

// TestShortHistoryIsWide: with minutes of history the band is wide, and two
// strangers are not taken for one.
func TestShortHistoryIsWide(t *testing.T) {
	flat := func(int64) float64 { return 1000 }
	short, long := report("a", 3, flat), report("a", 900, flat)
	width := func(s ...fleet.Series) float64 {
		d := Joint(s, 0, Baseline{})
		return d.Quantile(12, 0.9) - d.Quantile(12, 0.5)
	}
	if w := width(long); w > 1 {
		t.Errorf("a constant load has a band of %v", w)
	}
	one := width(short)
	if one < 250 || one > 400 {
		t.Errorf("after three ticks the band is %v of 1000", one)
	}
	other := report("b", 3, flat)
	if two := width(short, other); two > 1.7*one || two < 1.1*one {
		t.Errorf("two short series: %v, one: %v; want about √2 as much", two, one)
	}
	if got := Joint([]fleet.Series{{Workload: "x", Resource: fleet.CPU, FeatureVersion: 99, Features: []float32{1}}}, 10, Baseline{}); got.Quantile(1, 0.9) != 10 {
		t.Errorf("features of another version gave %v", got.Quantile(1, 0.9))
	}
}

// TestHostileReports: what a host sends cannot make a demand panic, vanish or
// wrap round.
func TestHostileReports(t *testing.T) {
	nan, huge := float32(math.NaN()), float32(math.MaxFloat32)
	features := make([]float32, FeatureCount)
	for i := range features {
		features[i] = []float32{huge, nan, -huge, float32(math.Inf(1))}[i%4]
	}
	features[FeatureLags] = huge
	s := fleet.Series{Workload: "x", Tick: math.MaxInt64, Features: features, FeatureVersion: FeatureVersion,
		Residuals: []fleet.Residual{{Tick: math.MinInt64, Errors: []float32{nan}}, {Tick: math.MaxInt64, Errors: slices.Repeat([]float32{nan}, Steps)}}}
	many := slices.Repeat([]fleet.Series{s}, 700)
	d := Joint(append(many, report("a", 20, func(int64) float64 { return 5 })), math.Inf(1), Baseline{})
	for k := 1; k <= Steps; k++ {
		if q := d.Quantile(k, 0.999); !(q > 1e15) || !finite(q) {
			t.Errorf("step %d: quantile %v", k, q)
		}
	}
	var zero Demand
	if zero.Quantile(1, 0.9) != 0 || zero.Exceeds(1, 0) != 0 || zero.Exceeds(1, -1) != 1 || zero.Centre(5) != 0 {
		t.Error("the zero demand is not nothing")
	}
	if d := zero.Add(NewBlock(report("a", 900, func(int64) float64 { return 5 }), Baseline{})); d.Tick() != 899 || math.Abs(d.Quantile(1, 0.5)-5) > 0.1 {
		t.Errorf("nothing and 5 are %v at tick %d", d.Quantile(1, 0.5), d.Tick())
	}
}

// TestUsageBlock: a workload with nothing but a usage counts with it, in a band.
func TestUsageBlock(t *testing.T) {
	if Readable(fleet.Series{FeatureVersion: FeatureVersion + 1, Features: make([]float32, FeatureCount)}) || !Readable(report("a", 1, func(int64) float64 { return 1 })) {
		t.Error("Readable is wrong")
	}
	d := Sum(0, []Block{UsageBlock("x", fleet.CPU, 70, 2000)})
	if c, q := d.Centre(12), d.Quantile(12, 0.9); c != 2000 || q < 2500 || q > 2800 || d.Tick() != 70 {
		t.Errorf("centre %v, quantile %v, tick %d", c, q, d.Tick())
	}
}

// TestLateMember: a member that reported two ticks before the others is read two
// steps further ahead.
func TestLateMember(t *testing.T) {
	ramp := func(tick int64) float64 { return 100 * float64(tick%288) }
	late, timely := NewBlock(report("a", 2000, ramp), Baseline{}), NewBlock(report("b", 2002, func(int64) float64 { return 0 }), Baseline{})
	d := Sum(0, []Block{late, timely})
	if d.Tick() != 2001 || d.Centre(1) != float64(late.centres[2])/fraction || d.Centre(12) != float64(late.centres[11])/fraction {
		t.Errorf("tick %d, centre %v", d.Tick(), d.Centre(1))
	}
}

func TestForecast(t *testing.T) {
	d := Joint([]fleet.Series{report("a", 900, func(tick int64) float64 { return float64(1000 + tick*31%200) })}, 0, Baseline{})
	f := d.Forecast("host-1", fleet.CPU, []float64{0.95, 0.5, 0.9}, "baseline")
	if f.Of != "host-1" || f.Tick != 899 || len(f.Steps) != Steps || !slices.Equal(f.Quantiles, []float64{0.5, 0.9, 0.95}) || f.Model != "baseline" {
		t.Fatalf("%+v", f)
	}
	for k, row := range f.Steps {
		for i, level := range f.Quantiles {
			if row[i] != d.Quantile(k+1, level) || f.At(k, level) != row[i] {
				t.Errorf("step %d level %v: %v", k+1, level, row[i])
			}
		}
	}
}

// TestBaselineIsBounded: whatever the features, the centre lies within what the
// series has shown.
func TestBaselineIsBounded(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := NewSeries()
		largest := 0.0
		for _, o := range observations(rt, 300) {
			s.Observe(o.tick, o.value)
			largest = max(largest, o.value)
		}
		if s.Empty() {
			return
		}
		for k := 1; k <= Steps; k++ {
			if c := (Baseline{}).Centre(s.features, k); c < 0 || c > 1.0001*largest*2 || !finite(c) {
				rt.Fatalf("step %d: centre %v of a load up to %v", k, c, largest)
			}
		}
	})
	if (Baseline{}).Centre(nil, 1) != 0 {
		t.Error("no features, but a centre")
	}
}

func BenchmarkTryDestination(b *testing.B) {
	load := func(tick int64) float64 { return 1000 + float64(tick*7919%601) }
	var members []Block
	for i := range 20 {
		members = append(members, NewBlock(report(fmt.Sprint(i), 900, load), Baseline{}))
	}
	host := fleet.Host{ID: "h", Capacity: fleet.Vector{CPU: 30_000}}
	demand := Sum(0, members)
	for b.Loop() {
		Contention(host, fleet.CPU, demand.Add(members[0]), 900, 0, fleet.DefaultPolicy())
	}
}

func BenchmarkNewBlock(b *testing.B) {
	s := report("a", 900, func(tick int64) float64 { return 1000 + float64(tick*7919%601) })
	for b.Loop() {
		NewBlock(s, Baseline{})
	}
}
