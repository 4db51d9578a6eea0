package controller

import (
	"cmp"
	"maps"
	"slices"
	"sync"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/scorer"
)

// experiences remembers how the workloads of each category fare on each host: the
// share of the time they wanted cpu that they waited for it, or how far a metric that
// is pushed misses its threshold, whichever is worse. It belongs to the
// agent and outlives a term; an agent that has never led begins without, which
// changes no score.
type experiences struct {
	mu    sync.Mutex // guards everything below
	known map[experienceKey]fleet.Experience
	tick  int64 // the newest one observed
}

type experienceKey struct {
	host     fleet.HostID
	category string
}

func newExperiences() *experiences {
	return &experiences{known: map[experienceKey]fleet.Experience{}}
}

// observe adds what the newest reports say, once per load tick, and returns what
// is known, by host and category. Workloads without a category count as one.
// Hosts that have left the books are forgotten.
func (e *experiences) observe(view fleet.View, reports *Reports) []fleet.Experience {
	e.mu.Lock()
	defer e.mu.Unlock()
	if tick := fleet.TickOf(view.Now); tick > e.tick {
		e.tick = tick
		category := make(map[fleet.WorkloadID]string, len(view.Workloads))
		for _, w := range view.Workloads {
			category[w.ID] = w.Category
		}
		for _, h := range view.Hosts {
			report, _, ok := reports.Newest(h.ID)
			if !ok || h.Liveness != fleet.Alive {
				continue
			}
			for name, share := range suffering(report, category, view.Thresholds) {
				key := experienceKey{h.ID, name}
				was := e.known[key]
				was.Host, was.Category = h.ID, name
				e.known[key] = scorer.Observe(was, view.Now, share)
			}
		}
		maps.DeleteFunc(e.known, func(k experienceKey, _ fleet.Experience) bool {
			return !slices.ContainsFunc(view.Hosts, func(h fleet.HostView) bool { return h.ID == k.host })
		})
	}
	return slices.SortedFunc(maps.Values(e.known), func(a, b fleet.Experience) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Category, b.Category))
	})
}

// suffering is, per category, the share of the time that its workloads on a host
// wanted cpu and did not get it. Workloads that want none tell nothing.
func suffering(report Report, category map[fleet.WorkloadID]string, thresholds []fleet.WorkloadThresholds) map[string]float64 {
	type sums struct{ waited, wanted float64 }
	all := map[string]sums{}
	for _, w := range report.Workloads {
		name, booked := category[w.ID]
		waited, used := float64(max(w.Wait, 0)), float64(max(w.Usage.CPU, 0))
		if !booked || waited+used == 0 {
			continue
		}
		s := all[name]
		all[name] = sums{s.waited + waited, s.wanted + waited + used}
	}
	out := map[string]float64{}
	for name, s := range all {
		out[name] = s.waited / s.wanted
	}
	for name, miss := range missed(report, category, thresholds) {
		out[name] = max(out[name], miss)
	}
	return out
}

// missed is, per category, by how much its workloads on a host miss their thresholds of
// pushed metrics, as a mean: 0 for those that meet them, a half for twice the limit.
// What a host measures itself tells of the workload, not of the host.
func missed(report Report, category map[fleet.WorkloadID]string, thresholds []fleet.WorkloadThresholds) map[string]float64 {
	limits := map[fleet.WorkloadID][]fleet.FeatureThreshold{}
	for _, t := range thresholds {
		limits[t.Workload] = t.Thresholds
	}
	sum, n := map[string]float64{}, map[string]float64{}
	builtIn := fleet.Resources()
	for _, w := range report.Workloads {
		name, booked := category[w.ID]
		for _, t := range limits[w.ID] {
			value := w.Usage.Get(t.Metric)
			if !booked || value <= 0 || slices.Contains(builtIn[:], t.Metric) {
				continue
			}
			n[name]++
			sum[name] += max(0, 1-float64(t.Limit)/float64(value))
		}
	}
	for name := range n {
		sum[name] /= n[name]
	}
	return sum
}
