package telemetry

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/placed-dev/placed/fleet"
	"pgregory.net/rapid"
)

// TestAccumulatorConservesLoad: over any pattern of samples, the mean times the
// covered time adds up to what the samples said, and every tick comes out once,
// in order.
func TestAccumulatorConservesLoad(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		a := NewAccumulator()
		at := day0.Add(time.Duration(rapid.IntRange(0, 600).Draw(rt, "start")) * time.Second)
		var want, got, largest float64
		seen := map[int64]bool{}
		collect := func(now time.Time) {
			last := int64(math.MinInt64)
			for _, v := range a.Complete(now) {
				if v.Tick <= last || seen[v.Tick] || v.Tick >= fleet.TickOf(now) {
					rt.Fatalf("tick %d after %d, seen %v", v.Tick, last, seen[v.Tick])
				}
				last, seen[v.Tick] = v.Tick, true
				if v.Covered > fleet.Tick+time.Nanosecond || v.Mean.CPU > v.Max.CPU {
					rt.Fatalf("%+v", v)
				}
				got += float64(v.Mean.CPU) * v.Covered.Seconds()
				largest = max(largest, float64(v.Max.CPU))
			}
		}
		highest := 0.0
		for i := range rapid.IntRange(1, 40).Draw(rt, "samples") {
			cpu := rapid.Int64Range(0, 64_000).Draw(rt, "cpu")
			highest = max(highest, float64(cpu))
			step := time.Duration(rapid.IntRange(1, 600).Draw(rt, "step")) * time.Second
			if i > 0 {
				at = at.Add(step)
				want += float64(cpu) * step.Seconds()
			}
			a.Add("vm", fleet.Sample{At: at, Usage: fleet.Vector{CPU: cpu}})
			a.Add("vm", fleet.Sample{At: at.Add(-time.Second), Usage: fleet.Vector{CPU: 1 << 40}}) // old: ignored
			if rapid.Bool().Draw(rt, "collect") {
				collect(at)
			}
		}
		collect(at.Add(fleet.Tick))
		// Each tick rounds its mean to a millicore.
		if slack := float64(len(seen)+1) * fleet.Tick.Seconds() * 0.51; math.Abs(got-want) > slack {
			rt.Fatalf("handed out %.0f millicore seconds, samples say %.0f", got, want)
		}
		if largest != highest {
			rt.Fatalf("largest %v, want %v", largest, highest)
		}
		if rest := a.Complete(at.Add(24 * time.Hour)); len(rest) != 0 {
			rt.Fatalf("handed out twice: %v", rest)
		}
	})
}

func TestAccumulatorStories(t *testing.T) {
	at := func(seconds int) time.Time { return day0.Add(time.Duration(seconds) * time.Second) }
	cpu := func(seconds int, v int64) fleet.Sample {
		return fleet.Sample{At: at(seconds), Usage: fleet.Vector{CPU: v, Net: fleet.Unknown}.With("gpu", v), Wait: v / 2}
	}
	for _, c := range []struct {
		name    string
		samples []fleet.Sample
		now     int
		want    string
	}{
		{"first sample counts where it stands alone", []fleet.Sample{cpu(10, 700)}, 300, "tick 0: 700 max 700 wait 350 gpu 700 net unknown"},
		{"weighted by time", []fleet.Sample{cpu(0, 9), cpu(100, 900), cpu(300, 300)}, 300, "tick 0: 500 max 900 wait 250 gpu 500 net unknown"},
		{"divided at the boundary", []fleet.Sample{cpu(0, 9), cpu(200, 100), cpu(400, 400)}, 600, "tick 0: 200 max 400 wait 100 gpu 200 net unknown; tick 1: 400 max 400 wait 200 gpu 400 net unknown"},
		{"running tick stays", []fleet.Sample{cpu(0, 9), cpu(300, 100), cpu(301, 5)}, 599, "tick 0: 100 max 100 wait 50 gpu 100 net unknown"},
		{"silence is missing", []fleet.Sample{cpu(0, 9), cpu(3600, 80)}, 3600, "tick 10: 80 max 80 wait 40 gpu 80 net unknown; tick 11: 80 max 80 wait 40 gpu 80 net unknown"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := NewAccumulator()
			for _, s := range c.samples {
				a.Add("vm", s)
			}
			got := ""
			for i, v := range a.Complete(at(c.now)) {
				if v.Tick < fleet.TickOf(day0) {
					continue // the instant before the first tick
				}
				if got != "" && i > 0 {
					got += "; "
				}
				net := "known"
				if v.Mean.Net == fleet.Unknown && v.Max.Net == fleet.Unknown {
					net = "unknown"
				}
				got += fmt.Sprintf("tick %d: %d max %d wait %d gpu %d net %s", v.Tick-fleet.TickOf(day0), v.Mean.CPU, v.Max.CPU, v.Wait, v.Mean.Get("gpu"), net)
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// TestAccumulatorBounded: nobody collects for a week.
func TestAccumulatorBounded(t *testing.T) {
	a := NewAccumulator()
	for m := range 7 * 24 * 60 {
		a.Add("vm", sampleAt(m, 5))
	}
	if n := len(a.Complete(sampleAt(7*1440, 0).At)); n > maxOpenTicks+1 || n < maxOpenTicks-1 {
		t.Errorf("%d ticks were kept, at most %d are", n, maxOpenTicks)
	}
	a.Forget("vm")
	if len(a.workloads) != 0 {
		t.Error("a forgotten workload is remembered")
	}
}
