package predictor

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/placed-dev/placed/fleet"
)

// TestContentionStories reads testdata/contention.txt: series are made of simple
// loads, and the answer is printed as an operator would want it.
func TestContentionStories(t *testing.T) {
	var members []fleet.Series
	ticks := 0
	datadriven.RunTest(t, "testdata/contention.txt", func(t *testing.T, d *datadriven.TestData) string {
		number := func(key string, otherwise float64) float64 {
			if d.HasArg(key) {
				var text string
				d.ScanArgs(t, key, &text)
				if _, err := fmt.Sscan(text, &otherwise); err != nil {
					d.Fatalf(t, "%s: %v", key, err)
				}
			}
			return otherwise
		}
		switch d.Cmd {
		case "forget":
			members = nil
			return "ok"
		case "workload":
			var id string
			d.ScanArgs(t, "id", &id)
			ticks = int(number("hours", 0) * Steps)
			load := storyLoad(number("level", 0), number("amplitude", 0), number("noise", 0), number("jump", 0), number("at", math.Inf(1))*Steps)
			members = append(members, report(id, ticks, load))
			return "ok"
		case "contention":
			policy := fleet.DefaultPolicy()
			policy.Quantile = int64(number("quantile", float64(policy.Quantile)))
			policy.Horizon = time.Duration(number("horizon_min", 60)) * time.Minute
			host := fleet.Host{ID: "h", Zone: "z", Capacity: fleet.Vector{CPU: int64(number("allocatable", 0))}}
			if d.HasArg("undeclared") {
				host.Capacity.CPU = fleet.Unknown
			}
			demand := Joint(members, number("foreign", 0), Baseline{})
			nowTick := int64(ticks) + int64(number("late", 0))
			c, ok := Contention(host, fleet.CPU, demand, nowTick, number("current", 0), policy)
			if !ok {
				return "none"
			}
			return fmt.Sprintf("in %d ticks (%s)%s: P %.2f, demand %.0f of %d", c.Steps,
				c.Breach.Sub(fleet.TickStart(nowTick)), map[bool]string{true: " NOW"}[c.Now], c.Probability, c.Demand, c.Allocatable)
		}
		d.Fatalf(t, "unknown command %s", d.Cmd)
		return ""
	})
}

// storyLoad is a daily sine with noise and a jump at the same time every day.
func storyLoad(level, amplitude, noise, jump, at float64) func(int64) float64 {
	return func(tick int64) float64 {
		v := level + amplitude*math.Sin(float64(tick)/ticksPerDay*2*math.Pi)
		v += noise * (hash(tick) - 0.5)
		if of := float64(slot(tick, ticksPerDay)); of >= at && of < at+2*Steps {
			v += jump
		}
		return v
	}
}

// hash is noise in 0..1 that is the same for the same tick.
func hash(tick int64) float64 {
	x := uint64(tick) * 0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return float64((x^x>>31)>>40) / (1 << 24)
}

// TestMessageUnits: the result names host, zone, resource and what it crosses.
func TestMessageUnits(t *testing.T) {
	host := fleet.Host{ID: "h1", Zone: "z1", Capacity: fleet.Vector{CPU: 900}}
	d := Joint([]fleet.Series{report("a", 600, func(int64) float64 { return 1000 })}, 0, Baseline{})
	c, ok := Contention(host, fleet.CPU, d, 600, 0, fleet.DefaultPolicy())
	want := fleet.Contention{Host: "h1", Zone: "z1", Resource: fleet.CPU, Allocatable: 900, Breach: fleet.TickStart(600), Steps: 0}
	want.Probability, want.Demand = c.Probability, c.Demand
	if !ok || c != want || c.Probability < 0.99 || math.Abs(c.Demand-1000) > 1 {
		t.Errorf("got %+v", c)
	}
	if strings.Contains(fmt.Sprint(c), "NaN") {
		t.Error("NaN")
	}
}
