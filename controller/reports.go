package controller

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/predictor"
)

// residualDay is how many residuals a series keeps: one day of ticks.
const residualDay = int(24 * time.Hour / fleet.Tick)

// historyTicks bounds the measured demand that is kept per workload and host,
// for charts and for looking back at a prediction.
const historyTicks = 2 * residualDay

// Reports holds the newest report of every host and a day of residuals per
// series. Every voter keeps one; safe for concurrent use.
type Reports struct {
	mu     sync.Mutex // guards everything below
	hosts  map[fleet.HostID]*hostReport
	series map[seriesKey]*seriesMemory
	demand map[fleet.WorkloadID]*ring // millicores per tick
	totals map[fleet.HostID]*ring     // millicores per tick, all of the host
	uses   map[useKey]*useRing
	// distances are the round-trip times between zones, as last shown.
	distances map[zonePair]time.Duration
	fits      map[fleet.HostID]*hostFit
}

type hostReport struct {
	report   Report
	received time.Time // wall time with its monotonic part
}

type seriesKey struct {
	workload fleet.WorkloadID
	resource fleet.Resource
}

type seriesMemory struct {
	newest    fleet.Series // without residuals
	residuals []fleet.Residual
	rows      []byte // the same of resources beside cpu
	// full: a whole day was received, so gaps are gaps of the host itself.
	full bool
}

// NewReports returns an empty store.
func NewReports() *Reports {
	return &Reports{
		hosts:  map[fleet.HostID]*hostReport{},
		series: map[seriesKey]*seriesMemory{},
		demand: map[fleet.WorkloadID]*ring{},
		totals: map[fleet.HostID]*ring{},
		uses:   map[useKey]*useRing{},

		distances: map[zonePair]time.Duration{},
		fits:      map[fleet.HostID]*hostFit{},
	}
}

// Add takes in a report received at the wall time now. A report older than one
// already held is dropped: newer sequence wins.
func (r *Reports) Add(report Report, now time.Time) Ack {
	r.mu.Lock()
	defer r.mu.Unlock()
	if have := r.hosts[report.Host]; have != nil && have.report.Boot == report.Boot && have.report.Seq >= report.Seq {
		return Ack{}
	}
	ack := Ack{Fit: r.addFit(report)}
	report.Fit = nil // kept apart
	r.hosts[report.Host] = &hostReport{report: report, received: now}
	for _, w := range report.Workloads {
		for _, s := range w.Series {
			if !r.addSeries(s) {
				ack.Full = true
			}
		}
		if w.Tick > 0 && len(w.Series) == 0 && r.series[seriesKey{w.ID, fleet.CPU}] == nil {
			ack.Full = true // sent to this voter before it restarted
		}
		if w.Tick > 0 {
			ringOf(r.demand, w.ID).put(w.Tick, float64(w.TickCPU))
		}
	}
	tick, total := completeTick(report)
	ringOf(r.totals, report.Host).put(tick, total)
	r.addUses(report)
	return ack
}

// completeTick is the newest tick that the host has measured whole, and its
// demand in it. Workloads whose newest tick is older have left or are silent.
func completeTick(report Report) (tick int64, millicores float64) {
	for _, w := range report.Workloads {
		tick = max(tick, w.Tick)
	}
	if tick == 0 {
		return fleet.TickOf(report.At) - 1, float64(report.Usage.CPU)
	}
	for _, w := range report.Workloads {
		if w.Tick == tick {
			millicores += float64(w.TickCPU)
		}
	}
	return tick, millicores + float64(report.Foreign.CPU)
}

// addSeries reports whether the series has its day of residuals.
func (r *Reports) addSeries(s fleet.Series) bool {
	// One that cannot be unpacked counts as one that says nothing: the workload
	// is taken to go on with what it uses.
	s, _ = predictor.Unpacked(s)
	key := seriesKey{s.Workload, s.Resource}
	m := r.series[key]
	if m == nil {
		m = &seriesMemory{}
		r.series[key] = m
	}
	// One without features has no residuals to wait for. Hosts of an older version
	// do not say that a day is whole: they send one residual or all. An hour of them
	// is more than a host of this version can have left to tell.
	news := max(len(s.Residuals), len(s.Rows)/predictor.RowSize)
	if s.Whole || news > predictor.Steps || len(s.Features) == 0 {
		m.full = true
	}
	if s.Tick >= m.newest.Tick || m.newest.FeatureVersion != s.FeatureVersion {
		// More than one tick that nothing is known of: the day has a hole that
		// the host can fill.
		if m.newest.Tick > 0 && s.Tick > m.newest.Tick+1+int64(max(news, 1)) && !s.Whole {
			m.full = false
		}
		if s.Record == nil { // it has not changed
			s.Record = m.newest.Record
		}
		m.newest = s
		m.newest.Residuals, m.newest.Rows, m.newest.Whole = nil, nil, false
	}
	m.residuals, m.rows = mergeResiduals(m.residuals, s.Residuals), predictor.MergeRows(m.rows, s.Rows)
	return m.full
}

// mergeResiduals keeps one residual per tick, the newest day of them, ascending.
func mergeResiduals(have, more []fleet.Residual) []fleet.Residual {
	if len(more) == 0 {
		return have
	}
	if len(have) > 0 && more[0].Tick > have[len(have)-1].Tick && ascending(more) {
		have = append(have, more...)
	} else {
		byTick := make(map[int64]fleet.Residual, len(have)+len(more))
		for _, list := range [][]fleet.Residual{have, more} {
			for _, e := range list {
				byTick[e.Tick] = e
			}
		}
		have = slices.SortedFunc(maps.Values(byTick), func(a, b fleet.Residual) int { return cmp.Compare(a.Tick, b.Tick) })
	}
	if extra := len(have) - residualDay; extra > 0 {
		have = slices.Clone(have[extra:])
	}
	return have
}

func ascending(residuals []fleet.Residual) bool {
	for i := 1; i < len(residuals); i++ {
		if residuals[i].Tick <= residuals[i-1].Tick {
			return false
		}
	}
	return true
}

// Fill writes what is observed into a view that the books made. A host whose
// newest report is older than staleAfter (machine time) becomes at least stale.
func (r *Reports) Fill(view *fleet.View, now time.Time, staleAfter time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	workloads := map[fleet.WorkloadID]WorkloadReport{}
	for i := range view.Hosts {
		h := &view.Hosts[i]
		have := r.hosts[h.ID]
		if have == nil || now.Sub(have.received) > staleAfter {
			h.Liveness = max(h.Liveness, fleet.Stale)
		}
		if have == nil {
			continue
		}
		h.Usage, h.Foreign = have.report.Usage, have.report.Foreign
		h.Reported, h.Bandwidth = have.report.At, have.report.Bandwidth
		for _, w := range have.report.Workloads {
			// Two hosts name a workload around its cutover: the newer tick wins.
			if old, ok := workloads[w.ID]; !ok || w.Tick >= old.Tick {
				workloads[w.ID] = w
			}
		}
	}
	for i := range view.Workloads {
		w := &view.Workloads[i]
		if seen, ok := workloads[w.ID]; ok {
			w.Usage, w.Size = seen.Usage, seen.Size
			w.WriteRate, w.WorkingSet = seen.WriteRate, seen.WorkingSet
			w.Knobs, w.Wait, w.Copies = seen.Knobs, seen.Wait, seen.Copies
		}
		w.Series = r.seriesOf(w.ID)
	}
	r.standing(view)
	r.fillFit(view)
	r.trips(view, now, staleAfter)
}

// seriesOf returns the series of one workload, sorted by resource. The slices
// inside are shared and never changed in place.
func (r *Reports) seriesOf(id fleet.WorkloadID) []fleet.Series {
	var out []fleet.Series
	for _, resource := range fleet.Resources() {
		m := r.series[seriesKey{id, resource}]
		if m == nil {
			continue
		}
		s := m.newest
		s.Residuals, s.Rows = slices.Clip(m.residuals), slices.Clip(m.rows)
		out = append(out, s)
	}
	return out
}

// HostDemand returns the measured demand of a host per tick, oldest first.
func (r *Reports) HostDemand(id fleet.HostID) (ticks []int64, millicores []float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if have := r.totals[id]; have != nil {
		return have.values()
	}
	return nil, nil
}

// DemandAt returns the measured demand of a workload in one tick.
func (r *Reports) DemandAt(id fleet.WorkloadID, tick int64) (float64, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	have := r.demand[id]
	if have == nil {
		return 0, false
	}
	return have.at(tick)
}

// HostDemandAt returns the measured demand of a host in one tick.
func (r *Reports) HostDemandAt(id fleet.HostID, tick int64) (float64, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	have := r.totals[id]
	if have == nil {
		return 0, false
	}
	return have.at(tick)
}

// Newest returns the newest report of a host and the wall time it came.
func (r *Reports) Newest(id fleet.HostID) (Report, time.Time, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	have := r.hosts[id]
	if have == nil {
		return Report{}, time.Time{}, false
	}
	return have.report, have.received, true
}

// Migrations returns what every host says of the moves it is the source of.
func (r *Reports) Migrations() []fleet.Progress {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []fleet.Progress
	for _, id := range slices.Sorted(maps.Keys(r.hosts)) {
		all = append(all, r.hosts[id].report.Migrations...)
	}
	return all
}

// Forget drops what is held of workloads that are no longer in the books, so
// that memory is bounded by the fleet, not by its history.
func (r *Reports) Forget(known func(fleet.WorkloadID) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.series, func(k seriesKey, _ *seriesMemory) bool { return !known(k.workload) })
	maps.DeleteFunc(r.demand, func(id fleet.WorkloadID, _ *ring) bool { return !known(id) })
}

// ring keeps the newest historyTicks values by tick.
type ring struct {
	ticks []int64
	data  []float64
}

func ringOf[K comparable](all map[K]*ring, key K) *ring {
	if all[key] == nil {
		all[key] = &ring{}
	}
	return all[key]
}

// put sets the value of a tick; ticks older than the newest are ignored.
func (r *ring) put(tick int64, value float64) {
	n := len(r.ticks)
	switch {
	case n > 0 && r.ticks[n-1] == tick:
		r.data[n-1] = value
		return
	case n > 0 && r.ticks[n-1] > tick:
		return
	case n == historyTicks:
		copy(r.ticks, r.ticks[1:])
		copy(r.data, r.data[1:])
		r.ticks, r.data = r.ticks[:n-1], r.data[:n-1]
	}
	r.ticks, r.data = append(r.ticks, tick), append(r.data, value)
}

func (r *ring) at(tick int64) (float64, bool) {
	i, ok := slices.BinarySearch(r.ticks, tick)
	if !ok {
		return 0, false
	}
	return r.data[i], true
}

func (r *ring) values() ([]int64, []float64) { return slices.Clone(r.ticks), slices.Clone(r.data) }
