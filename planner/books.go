package planner

import (
	"cmp"
	"slices"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/predictor"
)

// load is one workload with the forecast of its cpu demand.
type load struct {
	fleet.WorkloadView
	block predictor.Block
	// dayMean is its mean cpu demand over the last day, millicores.
	dayMean float64
	parts   [len(beside)]part
	lease   *fleet.Lease // its active lease, if it has one
	planned bool         // this pass moves it
	// adjusted: this pass changes it in place.
	adjusted bool
}

// site is one host with what is, and in this pass will be, on it.
type site struct {
	fleet.HostView
	members []*load // whose demand counts here, by id
	demand  predictor.Demand
	dayMean float64
	// current is the cpu usage now, as if moves under way were done.
	current float64
	// booked is the reservation of memory, as if moves under way were done.
	booked int64
	// uses are what is known of the other resources.
	uses [len(beside)]use
	// incoming is what this pass has promised here.
	incoming fleet.Vector
}

// hours is the usual day of the host's workloads, summed; one whose day is not
// known counts with its mean. Nil where none is known.
func (s *site) hours() []int64 {
	var sum []int64
	for _, l := range s.members {
		if len(l.Hours) > 0 && sum == nil {
			sum = make([]int64, len(l.Hours))
		}
	}
	for _, l := range s.members {
		for h := range sum {
			if len(l.Hours) == len(sum) {
				sum[h] += max(l.Hours[h], 0)
			} else {
				sum[h] += int64(l.dayMean)
			}
		}
	}
	if sum == nil && len(s.members) == 0 {
		sum = make([]int64, 24) // an empty host is idle all day
	}
	return sum
}

// books is the fleet as one pass sees and changes it.
type books struct {
	sites     []*site // by id
	byHost    map[fleet.HostID]*site
	loads     []*load // by id
	byID      map[fleet.WorkloadID]*load
	model     predictor.Model
	modelName string
	nowTick   int64
	calendar  predictor.Calendar // what is known of the hours around now
}

// newBooks reads a view. A workload under a lease counts, for DEMAND, where it
// will be, from the grant on: its host is being relieved already, and a pass
// that still counted it there would send another one after it, while the
// destination would look free to the next. An uncertain lease counts on both
// sides, because nobody knows. Reservations are another matter: the books hold
// them on both sides until the source proves its memory released.
func newBooks(view fleet.View, model predictor.Model, par Par) *books {
	b := &books{byHost: map[fleet.HostID]*site{}, byID: map[fleet.WorkloadID]*load{}, model: model, modelName: model.Name(),
		nowTick: fleet.TickOf(view.Now), calendar: calendarOf(view)}
	for _, h := range view.Hosts {
		s := &site{HostView: h, current: known(h.Usage.CPU), dayMean: known(h.Foreign.CPU)}
		b.sites = append(b.sites, s)
		b.byHost[h.ID] = s
	}
	for _, w := range view.Workloads {
		l := &load{WorkloadView: w}
		b.loads = append(b.loads, l)
		b.byID[w.ID] = l
	}
	slices.SortFunc(b.sites, func(x, y *site) int { return cmp.Compare(x.ID, y.ID) })
	slices.SortFunc(b.loads, func(x, y *load) int { return cmp.Compare(x.ID, y.ID) })
	for i := range view.Leases {
		l := b.byID[view.Leases[i].Workload]
		if l != nil && view.Leases[i].Active() {
			l.lease = &view.Leases[i]
		}
	}
	par(len(b.loads), func(i int) {
		b.loads[i].forecast(model, b.nowTick)
		b.loads[i].readParts(b.nowTick)
		b.bend(b.loads[i])
	})
	for _, l := range b.loads {
		b.place(l)
	}
	par(len(b.sites), func(i int) {
		s := b.sites[i]
		blocks := make([]predictor.Block, len(s.members))
		for j, l := range s.members {
			blocks[j] = l.block
		}
		s.demand = predictor.Sum(known(s.Foreign.CPU), blocks)
		b.watch(s)
	})
	return b
}

// place counts the workload's demand where it is or will be.
func (b *books) place(l *load) {
	here, there := b.byHost[l.Owner], (*site)(nil)
	if l.lease != nil && l.lease.Kind != fleet.LeaseStandby && l.lease.Destination != l.Owner && l.lease.HoldsDestination() {
		there = b.byHost[l.lease.Destination]
		switch l.lease.State {
		case fleet.Aborted:
			there = nil // it stays; only its reservation lingers
		case fleet.Uncertain:
		default:
			if here != nil {
				here.current = max(here.current-known(l.Usage.CPU), 0)
				for i := range beside {
					here.uses[i].current -= l.parts[i].now // before what is used is added
				}
			}
			here = nil
		}
		if there != nil {
			there.current += known(l.Usage.CPU)
			for i := range beside {
				there.uses[i].current += l.parts[i].now
			}
		}
	}
	for _, s := range []*site{here, there} {
		if s != nil {
			s.members = append(s.members, l)
			s.dayMean += l.dayMean
			s.booked += int64(known(l.Reservation.Memory))
		}
	}
}

// forecast makes the workload's block. Without any history it is forecast as its
// newest usage, or its reservation before the first sample, and the predictor
// gives it a spread of a quarter.
func (l *load) forecast(model predictor.Model, nowTick int64) {
	for _, s := range l.Series {
		if s.Resource == fleet.CPU && s.FeatureVersion == predictor.FeatureVersion && len(s.Features) == predictor.FeatureCount {
			l.block = predictor.NewBlock(s, model)
			l.dayMean = float64(s.Features[dayMeanFeature])
			return
		}
	}
	level := known(l.Usage.CPU)
	if level == 0 {
		level = known(l.Reservation.CPU)
	}
	features := make([]float32, predictor.FeatureCount)
	for i := predictor.FeatureLags; i < len(features); i++ {
		features[i] = float32(level)
	}
	for i := predictor.FeatureSDs; i < predictor.FeatureEWMA; i++ {
		features[i] = 0
	}
	features[predictor.FeatureWeek+1] = 0
	features[predictor.FeatureDaily], features[predictor.FeatureHourly] = 0, 0
	l.dayMean = level
	l.block = predictor.NewBlock(fleet.Series{
		Workload: l.ID, Resource: fleet.CPU, Tick: nowTick - 1,
		Features: features, FeatureVersion: predictor.FeatureVersion,
	}, model)
}

// dayMeanFeature is the mean of the last 288 ticks, the last of the means.
const dayMeanFeature = predictor.FeatureMaxima - 1

// known reads an amount; what nobody measured counts as nothing here, because
// the line that it would be compared with is unknown as well.
func known(amount int64) float64 {
	if amount == fleet.Unknown {
		return 0
	}
	return float64(max(amount, 0))
}

// shift counts a planned move as done, for the rest of the pass. The
// reservation at the source stays: the books free it only after the move.
func (b *books) shift(l *load, from, to *site) {
	l.planned = true
	from.members = slices.DeleteFunc(slices.Clone(from.members), func(x *load) bool { return x == l })
	from.demand = from.demand.Remove(l.block)
	from.dayMean = max(from.dayMean-l.dayMean, 0)
	from.current = max(from.current-known(l.Usage.CPU), 0)
	from.booked -= int64(known(l.Reservation.Memory))
	to.members = append(slices.Clone(to.members), l)
	slices.SortFunc(to.members, func(x, y *load) int { return cmp.Compare(x.ID, y.ID) })
	to.demand = to.demand.Add(l.block)
	to.dayMean += l.dayMean
	to.current += known(l.Usage.CPU)
	to.booked += int64(known(l.Reservation.Memory))
	to.incoming = to.incoming.Add(l.Reservation)
	b.shiftUses(l, from, to)
}
