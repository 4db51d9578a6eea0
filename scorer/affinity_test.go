package scorer

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/placed-dev/placed/fleet"
)

var affinityStart = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)

// Ten hosts that are as good as each other for a month; then one turns bad. Two
// half-lives later at the latest it stands below the median, and stays last.
func TestHostTurnedBadFallsBelowTheMedian(t *testing.T) {
	hosts := make([]fleet.Experience, 10)
	observe := func(from, to int) {
		for hour := from; hour < to; hour++ {
			at := affinityStart.Add(time.Duration(hour) * time.Hour)
			for i := range hosts {
				// The usual suffering differs by host and hour, without order.
				suffering := 0.02 + 0.06*float64((i*7+hour*3)%10)/10
				if i == 0 && hour >= 30*24 {
					suffering = 0.3
				} else if i == 0 {
					suffering = 0.01
				}
				hosts[i] = Observe(hosts[i], at, suffering)
			}
		}
	}
	rank := func(hour int) int {
		now := affinityStart.Add(time.Duration(hour) * time.Hour)
		mine := Historical(hosts[0], now)
		better := 0
		for _, e := range hosts[1:] {
			if Historical(e, now) > mine {
				better++
			}
		}
		return better
	}
	turned := 30 * 24
	observe(0, turned)
	if r := rank(turned); r != 0 {
		t.Fatalf("the best host has rank %d before it turns bad", r)
	}
	deadline := turned + int(2*HalfLife/time.Hour)
	observe(turned, deadline)
	if r := rank(deadline); r < 5 {
		t.Fatalf("two half-lives after it turned bad, only %d of 9 hosts are better", r)
	}
}

// Experience stays a share, fades with time, and more suffering never helps.
func TestExperienceProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var e fleet.Experience
		at := affinityStart
		for range rapid.IntRange(1, 50).Draw(t, "observations") {
			at = at.Add(time.Duration(rapid.Int64Range(-int64(24*time.Hour), int64(40*24*time.Hour)).Draw(t, "later")))
			e = Observe(e, at, rapid.OneOf(rapid.Float64Range(-1, 2), rapid.Just(math.NaN()), rapid.Just(math.Inf(1))).Draw(t, "suffering"))
			if !(e.Suffering >= 0 && e.Suffering <= 1) || e.Weight < 0 || math.IsInf(e.Weight, 0) {
				t.Fatalf("%+v", e)
			}
		}
		now := e.At
		today := Historical(e, now)
		if later := Historical(e, now.Add(HalfLife)); today > 0 || today < -weightExperience || later < today {
			t.Fatalf("%g today, %g a half-life later", today, later)
		}
		if worse := Historical(Observe(e, now, 1), now); worse > today+1e-12 {
			t.Fatalf("suffering more lifts the score from %g to %g", today, worse)
		}
	})
}

// Every part that something is known for appears, in its direction, and the
// parts sum to the total.
func TestAffinityParts(t *testing.T) {
	host := fleet.HostView{Host: fleet.Host{ID: "h", Capacity: fleet.Vector{CPU: 8000, Memory: 1 << 40}}, Reported: affinityStart}
	w := fleet.WorkloadView{Workload: fleet.Workload{ID: "w", Reservation: fleet.Vector{CPU: 2000, Memory: 1 << 30}}, Size: 1 << 30}
	after := fleet.Forecast{Quantiles: []float64{0.5}, Steps: [][]float64{{1000}}}
	terms := Terms{Quantile: 500, Now: affinityStart}
	plain := Candidate{Host: host, After: after}
	rich := plain
	rich.Host.Price = fleet.Price{CPUHour: 1, GiBHour: 1}
	rich.Way = fleet.Link{LatencyMS: 2, CostPerGiB: 1}
	rich.SoftRules = 1
	rich.Experience = fleet.Experience{Suffering: 0.5, Weight: 10, At: affinityStart}
	scores, _ := Rank(w, []Candidate{plain}, terms)
	richer, _ := Rank(w, []Candidate{rich}, terms)
	if len(scores[0].Parts) != 4 {
		t.Errorf("a fleet that declares nothing has parts %+v", scores[0].Parts)
	}
	sum := 0.0
	var names []string
	for i, p := range richer[0].Parts {
		sum += p.Value
		names = append(names, p.Name)
		if i >= 4 && p.Value >= 0 {
			t.Errorf("%+v does not count against the host", p)
		}
	}
	if want := []string{"historical performance", "soft rules", "latency", "transfer price", "resource price"}; !slices.Equal(names[4:], want) || sum != richer[0].Total {
		t.Errorf("parts %v sum to %g, total %g", names, sum, richer[0].Total)
	}
}

// Requirements and barred ways, which are directional.
func TestCompatible(t *testing.T) {
	old := fleet.Host{ID: "old", Name: "old", Zone: "z1"}
	newer := fleet.HostView{Host: fleet.Host{ID: "new", Name: "new", Zone: "z2"}, Capabilities: fleet.Capabilities{CPUModel: "v4", CPUFeatures: []string{"avx512"}, Storage: []string{"ceph"}}}
	ways := NewWays([]fleet.Link{{From: "new", To: "old", Barred: "avx512 is missing there"}, {From: "z1", To: "z2", LatencyMS: 3}, {From: "old", To: "new", LatencyMS: 1}})
	if l, ok := ways.Between(old, newer.Host); !ok || l.LatencyMS != 1 {
		t.Errorf("the link between the hosts counts before that of the zones: %+v", l)
	}
	if ok, why := Compatible(fleet.WorkloadView{}, &old, newer, ways); !ok {
		t.Error(why)
	}
	if ok, why := Compatible(fleet.WorkloadView{}, &newer.Host, fleet.HostView{Host: old}, ways); ok || why != "nothing moves from new to it: avx512 is missing there" {
		t.Errorf("%t %q", ok, why)
	}
	for _, c := range []struct {
		want fleet.Capabilities
		why  string
	}{
		{fleet.Capabilities{CPUModel: "v4", CPUFeatures: []string{"avx512"}, Storage: []string{"ceph"}}, ""},
		{fleet.Capabilities{CPUModel: "v3"}, "it lacks cpu model v3, which the workload requires"},
		{fleet.Capabilities{CPUFeatures: []string{"avx512", "amx"}}, "it lacks cpu feature amx, which the workload requires"},
		{fleet.Capabilities{Devices: []string{"gpu"}}, "it lacks device gpu, which the workload requires"},
		{fleet.Capabilities{Storage: []string{"nfs"}}, "it lacks storage nfs, which the workload requires"},
		{fleet.Capabilities{Networks: []string{"dmz"}}, "it lacks network dmz, which the workload requires"},
	} {
		if ok, why := Compatible(fleet.WorkloadView{Requires: c.want}, nil, newer, ways); why != c.why || ok != (c.why == "") {
			t.Errorf("%+v: %q", c.want, why)
		}
	}
}
