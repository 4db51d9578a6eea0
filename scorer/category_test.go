package scorer

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/placed-dev/placed/fleet"
)

func categoryHost(id string, usage fleet.Vector) Candidate {
	return Candidate{
		Host: fleet.HostView{Host: fleet.Host{ID: fleet.HostID(id), Capacity: fleet.Vector{CPU: 8000, Memory: 64 << 30, Net: 1000, Disk: 1000}},
			Usage: usage, Reported: affinityStart},
		After: fleet.Forecast{Quantiles: []float64{0.5}, Steps: [][]float64{{float64(usage.CPU)}}},
	}
}

// Of a host with idle disks and one with idle cores, an io-heavy workload ranks
// the first first and a cpu-bound one the second.
func TestCategoryWeighsWhatItUses(t *testing.T) {
	disks, cores := categoryHost("disks", fleet.Vector{CPU: 6000, Disk: 100}), categoryHost("cores", fleet.Vector{CPU: 1000, Disk: 950})
	for category, first := range map[string]fleet.HostID{"io-heavy": "disks", "cpu-bound": "cores", "": "cores", "of a newer version": "cores"} {
		w := fleet.WorkloadView{Workload: fleet.Workload{ID: "w"}, Category: category}
		ranked, _ := Rank(w, []Candidate{disks, cores}, Terms{Quantile: 500, Now: affinityStart})
		if ranked[0].Host != first {
			t.Errorf("%q ranks %+v", category, ranked)
		}
	}
	for name, row := range byCategory {
		if sum := row.cpu + row.books + row.net + row.disk; math.Abs(sum-usual.cpu-usual.books) > 1e-9 {
			t.Errorf("the weights of %s sum to %g", name, sum)
		}
	}
}

// A workload that is busy at night goes to the host that is busy by day, although
// both have the same room now.
func TestComplementaryDaysArePreferred(t *testing.T) {
	day, night := make([]int64, 24), make([]int64, 24)
	for h := range 24 {
		if h >= 8 && h < 20 {
			day[h] = 4000
		} else {
			night[h] = 4000
		}
	}
	byDay, byNight := categoryHost("by-day", fleet.Vector{CPU: 2000}), categoryHost("a-by-night", fleet.Vector{CPU: 2000})
	byDay.Hours, byNight.Hours = day, night
	w := fleet.WorkloadView{Workload: fleet.Workload{ID: "w"}, Hours: night}
	ranked, _ := Rank(w, []Candidate{byNight, byDay}, Terms{Quantile: 500, Now: affinityStart})
	if ranked[0].Host != "by-day" {
		t.Errorf("%+v", ranked)
	}
	if !slices.ContainsFunc(ranked[0].Parts, func(p fleet.ScorePart) bool { return p.Name == "peak of the day" }) {
		t.Errorf("no part says so: %+v", ranked[0])
	}
}

// More load, in any resource, at any hour, for any category, never makes a host
// look better.
func TestMoreLoadNeverRaisesAScore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		amount := rapid.Int64Range(0, 9000)
		hours := rapid.SliceOfN(amount, 24, 24)
		usage := fleet.Vector{CPU: amount.Draw(t, "cpu"), Net: amount.Draw(t, "net"), Disk: amount.Draw(t, "disk")}
		more := usage.Add(fleet.Vector{CPU: amount.Draw(t, "more cpu"), Net: amount.Draw(t, "more net"), Disk: amount.Draw(t, "more disk")})
		idle, busy := categoryHost("h", usage), categoryHost("h", more)
		idle.Hours = hours.Draw(t, "hours")
		for _, v := range idle.Hours {
			busy.Hours = append(busy.Hours, v+amount.Draw(t, "more"))
		}
		w := fleet.WorkloadView{Workload: fleet.Workload{ID: "w"}, Hours: hours.Draw(t, "workload"),
			Category: rapid.SampledFrom([]string{"", "cpu-bound", "io-heavy", "network-heavy", "memory-intensive"}).Draw(t, "category")}
		terms := Terms{Quantile: 500, Now: affinityStart, Advisory: true}
		before, _ := Rank(w, []Candidate{idle}, terms)
		after, _ := Rank(w, []Candidate{busy}, terms)
		if after[0].Total > before[0].Total+1e-12 {
			t.Fatalf("%+v, with more load %+v", before[0], after[0])
		}
	})
}
