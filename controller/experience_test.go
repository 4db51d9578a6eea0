package controller

import (
	"math"
	"testing"
	"time"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/scorer"
)

// Five hosts serve a category alike for three weeks, by their reports; then the
// first makes its workloads wait. After two half-lives at the latest its
// historical performance is below the median, and the other category, whose
// workloads do not wait there, is not held against it.
func TestExperienceFollowsTheReports(t *testing.T) {
	reports, e := NewReports(), newExperiences()
	hosts := []fleet.HostID{"h1", "h2", "h3", "h4", "h5"}
	view := fleet.View{}
	for _, h := range hosts {
		view.Hosts = append(view.Hosts, fleet.HostView{Host: fleet.Host{ID: h}})
		for _, category := range []string{"bursty", "steady"} {
			view.Workloads = append(view.Workloads, fleet.WorkloadView{
				Workload: fleet.Workload{ID: fleet.WorkloadID(category) + "-" + fleet.WorkloadID(h), Owner: h}, Category: category})
		}
	}
	seq := uint64(0)
	var known []fleet.Experience
	observe := func(hour int) {
		seq++
		view.Now = start.Add(time.Duration(hour) * time.Hour)
		for i, h := range hosts {
			wait := int64(20 + 10*((i*3+hour)%5)) // of 1,000 millicores used
			if i == 0 {
				wait = 10
				if hour >= 21*24 {
					wait = 600
				}
			}
			reports.Add(Report{Host: h, Boot: "b", Seq: seq, At: view.Now, Workloads: []WorkloadReport{
				{ID: "bursty-" + fleet.WorkloadID(h), Usage: fleet.Vector{CPU: 1000}, Wait: wait},
				{ID: "steady-" + fleet.WorkloadID(h), Usage: fleet.Vector{CPU: 1000}, Wait: 5},
				{ID: "stranger", Usage: fleet.Vector{CPU: 1000}, Wait: 9000}, // not in the books
			}}, start)
		}
		known = e.observe(view, reports)
		if again := e.observe(view, reports); again[0].Weight != known[0].Weight {
			t.Fatal("two passes of one tick count one observation twice")
		}
	}
	better := func(category string) (n int) {
		mine := 0.0
		for _, x := range known {
			if x.Host == "h1" && x.Category == category {
				mine = scorer.Historical(x, view.Now)
			}
		}
		for _, x := range known {
			if x.Host != "h1" && x.Category == category && scorer.Historical(x, view.Now) > mine {
				n++
			}
		}
		return n
	}
	turned, halfLife := 21*24, int(scorer.HalfLife/time.Hour)
	for hour := range turned {
		observe(hour)
	}
	if len(known) != 10 || better("bursty") != 0 {
		t.Fatalf("%d experiences, %d hosts are better than the best", len(known), better("bursty"))
	}
	for hour := turned; hour < turned+2*halfLife; hour++ {
		observe(hour)
	}
	if n := better("bursty"); n < 3 {
		t.Errorf("two half-lives after it turned bad, only %d of 4 hosts are better", n)
	}
	if n := better("steady"); n != 0 {
		t.Errorf("what one category suffers is held against another: %d hosts are better", n)
	}
	// A host that has left the books is forgotten.
	view.Hosts = view.Hosts[1:]
	observe(turned + 2*halfLife)
	for _, x := range known {
		if x.Host == "h1" {
			t.Errorf("a host that left is remembered: %+v", x)
		}
	}
}

// A category whose pushed metrics miss their thresholds on a host suffers there; what
// the host measures itself is no word on the host.
func TestMissedThresholdsAreSuffered(t *testing.T) {
	category := map[fleet.WorkloadID]string{"a": "web", "b": "web", "c": "batch"}
	limits := []fleet.WorkloadThresholds{
		{Workload: "a", Thresholds: []fleet.FeatureThreshold{{Metric: "cpu", Limit: 100}, {Metric: "latency_ms", Limit: 20_000}}},
		{Workload: "b", Thresholds: []fleet.FeatureThreshold{{Metric: "latency_ms", Limit: 20_000}}},
		{Workload: "c", Thresholds: []fleet.FeatureThreshold{{Metric: "queue", Limit: 1000}}},
	}
	report := Report{Workloads: []WorkloadReport{
		{ID: "a", Usage: fleet.Vector{CPU: 900}.With("latency_ms", 80_000), Wait: 100},
		{ID: "b", Usage: fleet.Vector{CPU: 1000}.With("latency_ms", 10_000)},
		{ID: "c", Usage: fleet.Vector{CPU: 500}, Wait: 500},
	}}
	got := suffering(report, category, limits)
	// web: 75 % missed by one of two, 5 % waited; batch has pushed nothing.
	if len(got) != 2 || math.Abs(got["web"]-0.375) > 1e-9 || got["batch"] != 0.5 {
		t.Errorf("suffering %v", got)
	}
}
