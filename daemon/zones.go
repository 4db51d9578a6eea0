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
	name    string
	members []fleet.WorkloadView
	owners  []fleet.Host // of members
	uses    map[fleet.Resource]*zoneUse
}

// zoneUse is one resource of a zone, of the hosts that have declared what they have
// of it, in base units.
type zoneUse struct {
	resource fleet.Resource
	hosts    map[fleet.HostID]bool // the active ones
	limit    float64               // what these can serve
	now      float64
	foreign  float64 // of no workload
	blocks   []predictor.Block
	measured bool // somebody reports a series
	trends   []predictor.Trend
	days     int
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
			u := z.uses[r]
			if u == nil || u.limit <= 0 || !u.used() {
				continue
			}
			f := d.forecastZone(z, u, z.declaredGrowth(calendar, r, view.Now))
			if u.measured || r == fleet.CPU {
				u.hour(&f, view.Policy)
			}
			if r == fleet.CPU {
				f.Loss = lossOf(name, all, view.Policy)
				f.Coupled = z.coupled(declared)
			}
			out = append(out, f)
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
			z = &zone{name: h.Zone, uses: map[fleet.Resource]*zoneUse{}}
			all[h.Zone] = z
		}
		of[h.ID], hosts[h.ID] = z, h.Host
		for _, r := range forecastResources {
			if limit, declared := lineOf(h.Host, r); declared {
				z.use(r).add(h, limit)
			}
		}
	}
	d.books.Read(func(s *fsm.State) {
		for _, w := range view.Workloads {
			z := of[w.Owner]
			if z == nil {
				continue
			}
			z.members, z.owners = append(z.members, w), append(z.owners, hosts[w.Owner])
			have, _ := s.Profile(w.ID)
			var p predictor.Profile
			if p.UnmarshalBinary(have.Blob) != nil {
				p = predictor.Profile{} // none yet, or of a newer version
			}
			for _, r := range forecastResources {
				if _, declared := lineOf(hosts[w.Owner], r); declared {
					z.use(r).host(w, p)
				}
			}
		}
	})
	return all
}

// lineOf is what use of a resource is held against on a host, false when nobody
// declared it.
func lineOf(h fleet.Host, r fleet.Resource) (float64, bool) {
	limit := h.OfUse().Allocatable().Get(r)
	return float64(limit), limit != fleet.Unknown && limit > 0
}

func (z *zone) use(r fleet.Resource) *zoneUse {
	if z.uses[r] == nil {
		z.uses[r] = &zoneUse{resource: r, hosts: map[fleet.HostID]bool{}}
	}
	return z.uses[r]
}

func (u *zoneUse) add(h fleet.HostView, limit float64) {
	if h.State == fleet.HostActive {
		u.hosts[h.ID] = true
		u.limit += limit
	}
	u.now += float64(max(h.Usage.Get(u.resource), 0))
	u.foreign += float64(max(h.Foreign.Get(u.resource), 0))
}

// host counts a workload of one of the hosts.
func (u *zoneUse) host(w fleet.WorkloadView, p predictor.Profile) {
	series := slices.ContainsFunc(w.Series, func(s fleet.Series) bool { return s.Resource == u.resource && predictor.Readable(s) })
	u.measured = u.measured || series
	if series || u.resource == fleet.CPU || w.Usage.Get(u.resource) > 0 {
		u.blocks = append(u.blocks, controller.BlockOf(w, u.resource, 0))
	}
	for _, known := range p.Resources {
		if known.Resource == u.resource {
			u.trends = append(u.trends, known.Trend)
			if known.Trend.Known() {
				u.days = max(u.days, p.Days)
			}
		}
	}
}

// used says whether there is anything to say of the resource: of network and disk only
// what somebody measures.
func (u *zoneUse) used() bool {
	return u.resource == fleet.CPU || u.resource == fleet.Memory || u.measured || len(u.trends) > 0 || u.now > 0
}

// growthKnown says whether most of what is used has been seen for long enough.
func (u *zoneUse) growthKnown() bool {
	known, level := 0.0, 0.0
	for _, t := range u.trends {
		level += t.Level
		if t.Known() {
			known += t.Level
		}
	}
	return known > 0 && 2*known >= level
}

// forecastZone says how full the zone is and when it will be.
func (d *Daemon) forecastZone(z *zone, u *zoneUse, declared func(days float64) float64) api.ZoneForecast {
	r := u.resource
	amount := func(v float64) float64 { return httpapi.AmountOf(r, v) }
	peak := max(u.now, d.jointPeak(u))
	if r == fleet.Memory {
		// It hardly falls, so peaks meet; voters remember two days of it.
		sum := 0.0
		for _, t := range u.trends {
			sum += t.Level
		}
		peak = max(peak, sum)
	}
	f := api.ZoneForecast{
		Zone: z.name, Resource: string(r), Unit: httpapi.UnitOf(r), Hosts: len(u.hosts), Allocatable: amount(u.limit),
		Now: amount(u.now), Peak: amount(peak), Levels: []float64{}, Hour: []float64{}, Coupled: []api.CoupledPair{},
		HistoryNeeded: predictor.TrendDays, HistoryDays: u.days, Declared: declared(float64(fleet.Month / (24 * time.Hour))),
	}
	// What an operator has declared needs no history.
	if f.GrowthKnown = u.growthKnown() || f.Declared != 1; f.GrowthKnown {
		full := predictor.FullAfter(peak, u.trends, u.limit, declared)
		f.Growth = amount(full.Growth)
		f.DaysEarly, f.DaysToFull, f.DaysLate = finiteDays(full.Early), finiteDays(full.Median), finiteDays(full.Late)
	}
	return f
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
func (d *Daemon) jointPeak(u *zoneUse) float64 {
	sums := map[int64]float64{}
	newest := int64(0)
	for id := range u.hosts {
		ticks, values := d.reports.HostDemand(id)
		if u.resource != fleet.CPU {
			ticks, values = d.reports.HostUse(id, u.resource)
		}
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
func (u *zoneUse) hour(f *api.ZoneForecast, policy fleet.Policy) {
	demand := predictor.Sum(u.foreign, u.blocks)
	step, p := worstStep(demand, u.limit)
	f.Probability, f.Levels, f.Excess = p, zoneLevels, httpapi.AmountOf(u.resource, demand.Excess(step, u.limit))
	for _, level := range zoneLevels {
		f.Hour = append(f.Hour, httpapi.AmountOf(u.resource, demand.Quantile(step, level)))
	}
	for k := 1; k <= predictor.Steps && f.Breach.IsZero(); k++ {
		if demand.Exceeds(k, u.limit) > 1-float64(policy.Quantile)/1000 {
			f.Breach = fleet.TickStart(demand.Tick() + int64(k))
		}
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
		u := all[name].uses[fleet.CPU]
		if u == nil {
			continue
		}
		blocks = append(blocks, u.blocks...)
		if name == lost {
			continue // its foreign load is lost with it
		}
		foreign += u.foreign
		limit += u.limit
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
