package daemon

import (
	"maps"
	"math"
	"slices"
	"time"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/controller"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/httpapi"
	"github.com/placed-dev/placed/predictor"
)

// zone is what one zone consists of.
type zone struct {
	name        string
	hosts       map[fleet.HostID]bool
	allocatable fleet.Vector
	usage       fleet.Vector
	foreign     float64 // cpu of no workload
	members     []fleet.WorkloadView
	owners      []fleet.Host // of members
	blocks      []predictor.Block
	trends      map[fleet.Resource][]predictor.Trend
	days        int
}

const (
	// couplingLeast is from which correlation on two workloads are shown as
	// coupled, couplingMost how many pairs of a zone, couplingAmong how many of
	// its largest workloads are compared.
	couplingLeast = 0.5
	couplingMost  = 8
	couplingAmong = 60
)

// zoneLevels are the quantiles of a zone's demand that are shown.
var zoneLevels = []float64{0.5, 0.9, 0.95, 0.99}

// zones forecasts every zone of a view whose series carry what may be acted upon.
func (d *Daemon) zones(view fleet.View) []api.ZoneForecast {
	all := d.collectZones(view)
	declared := pairsOf(view.Rules)
	calendar := predictor.NewCalendar(view.Calendar)
	out := []api.ZoneForecast{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		z := all[name]
		for _, r := range forecastResources {
			if limit := z.allocatable.Get(r); limit != fleet.Unknown && limit > 0 {
				f := d.forecastZone(z, r, float64(limit), z.declaredGrowth(calendar, r, view.Now))
				if r == fleet.CPU {
					z.hour(&f, float64(limit))
					f.Loss = lossOf(name, all, view.Policy)
					f.Coupled = z.coupled(declared)
				}
				out = append(out, f)
			}
		}
	}
	return out
}

func (d *Daemon) collectZones(view fleet.View) map[string]*zone {
	all, of := map[string]*zone{}, map[fleet.HostID]*zone{}
	hosts := map[fleet.HostID]fleet.Host{}
	for _, h := range view.Hosts {
		if h.State == fleet.HostLeft {
			continue
		}
		z := all[h.Zone]
		if z == nil {
			z = &zone{name: h.Zone, hosts: map[fleet.HostID]bool{}, trends: map[fleet.Resource][]predictor.Trend{}}
			all[h.Zone] = z
		}
		of[h.ID], hosts[h.ID] = z, h.Host
		if h.State == fleet.HostActive {
			z.hosts[h.ID] = true
			z.allocatable = z.allocatable.Add(h.Allocatable())
		}
		z.usage = z.usage.Add(h.Usage)
		z.foreign += float64(max(h.Foreign.CPU, 0))
	}
	d.books.Read(func(s *fsm.State) {
		for _, w := range view.Workloads {
			z := of[w.Owner]
			if z == nil {
				continue
			}
			z.members, z.owners = append(z.members, w), append(z.owners, hosts[w.Owner])
			z.blocks = append(z.blocks, controller.BlockOf(w, 0))
			have, _ := s.Profile(w.ID)
			var p predictor.Profile
			if p.UnmarshalBinary(have.Blob) != nil {
				continue // none yet, or of a newer version
			}
			z.days = max(z.days, p.Days)
			for _, r := range p.Resources {
				z.trends[r.Resource] = append(z.trends[r.Resource], r.Trend)
			}
		}
	})
	return all
}

// forecastZone says how full the zone is and when it will be.
func (d *Daemon) forecastZone(z *zone, r fleet.Resource, limit float64, declared func(days float64) float64) api.ZoneForecast {
	amount := func(v float64) float64 { return httpapi.AmountOf(r, v) }
	now := float64(max(z.usage.Get(r), 0))
	peak := now
	if r == fleet.CPU {
		peak = max(peak, d.jointPeak(z))
	} else {
		// Nobody adds these up tick by tick; they hardly fall, so peaks meet.
		sum := 0.0
		for _, t := range z.trends[r] {
			sum += t.Level
		}
		peak = max(peak, sum)
	}
	full := predictor.FullAfter(peak, z.trends[r], limit, declared)
	return api.ZoneForecast{
		Zone: z.name, Resource: string(r), Unit: httpapi.UnitOf(r), Hosts: len(z.hosts), Allocatable: amount(limit),
		Now: amount(now), Peak: amount(peak), Levels: []float64{}, Hour: []float64{}, Coupled: []api.CoupledPair{},
		Growth: amount(full.Growth), DaysEarly: finiteDays(full.Early), DaysToFull: finiteDays(full.Median), DaysLate: finiteDays(full.Late),
		HistoryDays: z.days, Declared: declared(float64(fleet.Month / (24 * time.Hour))),
	}
}

// declaredGrowth is by how much the calendar's growth multiplies what the zone uses
// now, after so many days. Events of a single day do not count: they pass.
func (z *zone) declaredGrowth(calendar predictor.Calendar, r fleet.Resource, now time.Time) func(days float64) float64 {
	growth := calendar.Growing()
	return func(days float64) float64 {
		at := now.Add(time.Duration(days * 24 * float64(time.Hour)))
		before, after := 0.0, 0.0
		for i, w := range z.members {
			used := float64(max(w.Usage.Get(r), 0))
			if used == 0 { // not measured yet
				used = float64(max(w.Reservation.Get(r), 0))
			}
			before += used
			after += used * growth.Load(w.Workload, z.owners[i], r, now, at)
		}
		if before == 0 {
			return 1
		}
		return after / before
	}
}

func finiteDays(d float64) *float64 {
	if math.IsInf(d, 1) {
		return nil
	}
	return &d
}

// jointPeak is the largest joint demand of the zone's hosts in a tick of the last
// day.
func (d *Daemon) jointPeak(z *zone) float64 {
	sums := map[int64]float64{}
	newest := int64(0)
	for id := range z.hosts {
		ticks, values := d.reports.HostDemand(id)
		for i, tick := range ticks {
			sums[tick] += values[i]
			newest = max(newest, tick)
		}
	}
	peak := 0.0
	for tick, sum := range sums {
		if tick > newest-int64(24*time.Hour/fleet.Tick) {
			peak = max(peak, sum)
		}
	}
	return peak
}

// hour adds the joint demand of the coming hour.
func (z *zone) hour(f *api.ZoneForecast, limit float64) {
	demand := predictor.Sum(z.foreign, z.blocks)
	step, p := worstStep(demand, limit)
	f.Probability, f.Levels = p, zoneLevels
	for _, level := range zoneLevels {
		f.Hour = append(f.Hour, httpapi.AmountOf(fleet.CPU, demand.Quantile(step, level)))
	}
}

// worstStep of the coming hour is the one at which the limit is exceeded most
// probably.
func worstStep(d predictor.Demand, limit float64) (step int, p float64) {
	step = 1
	for k := 1; k <= predictor.Steps; k++ {
		if q := d.Exceeds(k, limit); q > p {
			step, p = k, q
		}
	}
	return step, p
}

// lossOf asks what the others would have to carry without the zone; nil when there
// are no others.
func lossOf(lost string, all map[string]*zone, policy fleet.Policy) *api.ZoneLoss {
	limit, foreign := 0.0, 0.0
	var blocks []predictor.Block
	for _, name := range slices.Sorted(maps.Keys(all)) {
		z := all[name]
		blocks = append(blocks, z.blocks...)
		if name == lost {
			continue // its foreign load is lost with it
		}
		foreign += z.foreign
		limit += float64(max(z.allocatable.CPU, 0))
	}
	if limit == 0 {
		return nil
	}
	demand := predictor.Sum(foreign, blocks)
	step, p := worstStep(demand, limit)
	return &api.ZoneLoss{Allocatable: httpapi.AmountOf(fleet.CPU, limit), Probability: p,
		Demand: httpapi.AmountOf(fleet.CPU, demand.Quantile(step, float64(policy.Quantile)/1000))}
}

// pairsOf lists what rules keep together.
func pairsOf(rules []fleet.Rule) map[[2]fleet.WorkloadID]bool {
	out := map[[2]fleet.WorkloadID]bool{}
	for _, r := range rules {
		if r.Kind != fleet.Affinity {
			continue
		}
		for i, a := range r.Workloads {
			for _, b := range r.Workloads[i+1:] {
				out[[2]fleet.WorkloadID{min(a, b), max(a, b)}] = true
			}
		}
	}
	return out
}

// coupled lists the pairs whose loads rise together, of the workloads that use
// most.
func (z *zone) coupled(declared map[[2]fleet.WorkloadID]bool) []api.CoupledPair {
	members := slices.Clone(z.members)
	slices.SortStableFunc(members, func(a, b fleet.WorkloadView) int { return int(b.Usage.CPU - a.Usage.CPU) })
	var series []fleet.Series
	for _, w := range members[:min(len(members), couplingAmong)] {
		for _, s := range w.Series {
			if s.Resource == fleet.CPU {
				series = append(series, s)
			}
		}
	}
	out := []api.CoupledPair{}
	for _, c := range predictor.Couplings(series, couplingLeast, couplingMost) {
		out = append(out, api.CoupledPair{A: string(c.A), B: string(c.B), Correlation: c.Correlation, Declared: declared[[2]fleet.WorkloadID{min(c.A, c.B), max(c.A, c.B)}]})
	}
	return out
}
