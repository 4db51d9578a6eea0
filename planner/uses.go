package planner

import (
	"fmt"
	"slices"
	"time"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/predictor"
	"github.com/placed-dev/placed/scorer"
)

// beside are the resources whose use is foreseen like that of cpu, where hosts
// report series of them: memory in use (what is reserved of it is another matter),
// network and disk. Their blocks are made when they are asked for: a block takes
// 14 KiB, and few of ten thousand workloads are ever looked at singly.
var beside = [...]fleet.Resource{fleet.Memory, fleet.Net, fleet.Disk}

func besideAt(r fleet.Resource) int { return slices.Index(beside[:], r) }

// use is the demand on a host of one resource.
type use struct {
	demand predictor.Demand
	// dayMean is the mean over the last day, current what is used now as if moves
	// under way were done; base units.
	dayMean, current float64
	// booked is the reservation of memory, as if moves under way were done.
	booked int64
	// watched: the host has declared the resource, and somebody on it has a series.
	watched bool
}

// part is the demand of one workload of one resource beside cpu.
type part struct {
	series       *fleet.Series // nil = its usage is all that is known
	dayMean, now float64
	// block is kept while destinations are looked for; nil = it is made when asked for.
	block *predictor.Block
}

// keepBlocks makes the blocks of a workload's other resources once for all hosts that
// it is tried on, and forget lets them go.
func (b *books) keepBlocks(l *load) (forget func()) {
	for i := range beside {
		if l.parts[i].series == nil {
			continue
		}
		if block, ok := b.blockOf(l, i); ok {
			l.parts[i].block = &block
		}
	}
	return func() {
		for i := range beside {
			l.parts[i].block = nil
		}
	}
}

// readParts finds the series that a pass may look at: those that are not too old to
// reach beyond now.
func (l *load) readParts(nowTick int64) {
	for i, r := range beside {
		l.parts[i].now = known(l.Usage.Get(r))
		l.parts[i].dayMean = l.parts[i].now
		for k := range l.Series {
			if s := &l.Series[k]; s.Resource == r && predictor.Readable(*s) && s.Tick+predictor.Steps >= nowTick {
				l.parts[i].series, l.parts[i].dayMean = s, float64(s.Features[dayMeanFeature])
			}
		}
	}
}

// blockOf is the workload's demand of a resource beside cpu; false when it has none.
func (b *books) blockOf(l *load, i int) (predictor.Block, bool) {
	var block predictor.Block
	switch p := &l.parts[i]; {
	case p.block != nil:
		return *p.block, true
	case p.series != nil:
		block = predictor.NewBlock(*p.series, b.model)
	case p.now > 0:
		block = predictor.UsageBlock(l.ID, beside[i], b.nowTick-1, p.now)
	default:
		return block, false
	}
	owner := fleet.Host{ID: l.Owner}
	if s := b.byHost[l.Owner]; s != nil {
		owner = s.Host
	}
	return b.calendar.Bend(block, l.Workload, owner, beside[i]), true
}

// lineOf is what a host can serve of a resource, false when nobody declared it.
func lineOf(h fleet.Host, r fleet.Resource) (int64, bool) {
	line := h.OfUse().Allocatable().Get(r)
	return line, line != fleet.Unknown && line > 0
}

// watch sums up what is used of the other resources, where somebody reports a series
// of them and the host has declared what it has.
func (b *books) watch(s *site) {
	for i, r := range beside {
		u := &s.uses[i]
		u.current = max(u.current+known(s.Usage.Get(r)), 0) // it has what is under way
		u.dayMean = known(s.Foreign.Get(r))
		for _, l := range s.members {
			u.dayMean += l.parts[i].dayMean
			u.watched = u.watched || l.parts[i].series != nil
		}
		if _, declared := lineOf(s.Host, r); !declared || !u.watched {
			u.watched = false
			continue
		}
		var blocks []predictor.Block
		for _, l := range s.members {
			if block, ok := b.blockOf(l, i); ok {
				blocks = append(blocks, block)
			}
		}
		u.demand = predictor.Sum(known(s.Foreign.Get(r)), blocks)
	}
}

// of is what is known of a resource of the host.
func (s *site) of(r fleet.Resource) use {
	if i := besideAt(r); i >= 0 {
		u := s.uses[i]
		u.booked = s.booked
		return u
	}
	return use{demand: s.demand, dayMean: s.dayMean, current: s.current}
}

// without is the same without one of the members.
func (b *books) without(u use, l *load, r fleet.Resource) use {
	u.booked -= int64(known(l.Reservation.Memory))
	i := besideAt(r)
	if i < 0 {
		u.demand = u.demand.Remove(l.block)
		u.current = max(u.current-known(l.Usage.CPU), 0)
		u.dayMean = max(u.dayMean-l.dayMean, 0)
		return u
	}
	if block, ok := b.blockOf(l, i); ok && u.watched {
		u.demand = u.demand.Remove(block)
	}
	u.current = max(u.current-l.parts[i].now, 0)
	u.dayMean = max(u.dayMean-l.parts[i].dayMean, 0)
	return u
}

// with is the same with one member more.
func (b *books) with(u use, l *load, i int) use {
	if block, ok := b.blockOf(l, i); ok {
		u.demand = u.demand.Add(block)
	}
	u.current += l.parts[i].now
	u.dayMean += l.parts[i].dayMean
	return u
}

// shiftUses counts a planned move as done.
func (b *books) shiftUses(l *load, from, to *site) {
	for i, r := range beside {
		if l.parts[i].series == nil && !from.uses[i].watched && !to.uses[i].watched {
			continue
		}
		from.uses[i] = b.without(from.uses[i], l, r)
		to.uses[i] = b.with(to.uses[i], l, i)
	}
}

// usesShort lists the shortages of a host that are foreseen, or are there, of the
// other resources. Memory can only be short where more of it may be booked than there
// is: elsewhere the reservations see to it. Of one resource there is one shortage, so
// memory that is overbooked comes before memory that is used.
func (p *pass) usesShort(s *site, overbooked bool) (out []fleet.Contention) {
	for i, r := range beside {
		if !s.uses[i].watched || r == fleet.Memory && (overbooked || s.OfUse().Allocatable().Memory >= s.Allocatable().Memory) {
			continue
		}
		u := s.of(r)
		if c, ok := p.books.calendar.Contention(s.OfUse(), r, u.demand, p.books.nowTick, u.current, p.view.Policy); ok {
			out = append(out, c)
		}
	}
	return out
}

// isBooked says whether a contention is one of reservations: it is held against what
// may be booked, where use is held against what there is.
func (b *books) isBooked(c fleet.Contention) bool {
	s := b.byHost[c.Host]
	return c.Resource == fleet.Memory && (s == nil || c.Allocatable >= s.Allocatable().Memory)
}

// crowded says why a host could not serve a workload's memory, network or disk, by
// the terms of its cpu: at the quantile, with the headroom free, at every step, and
// with demand below its mean of the last day taken to return to it; nor may what is
// used now be too much already. "" when it can, or when nobody has measured or declared
// anything.
func (p *pass) crowded(l *load, to *site, terms scorer.Terms) string {
	for i, r := range beside {
		line, declared := lineOf(to.Host, r)
		if !declared || l.parts[i].series == nil && !to.uses[i].watched || r == fleet.Memory && line >= to.Allocatable().Memory {
			continue
		}
		limit := float64(line) * float64(1000-terms.Headroom) / 1000
		block, _ := p.books.blockOf(l, i) // without one nothing is added
		after := to.uses[i].demand.Join(block)
		mean := to.uses[i].dayMean + l.parts[i].dayMean
		worst, at := to.uses[i].current+l.parts[i].now, 0
		for step := 1; step <= predictor.Steps; step++ {
			raise := max(mean-after.Centre(step), 0)
			if q := after.Quantile(step, float64(terms.Quantile)/1000) + raise; q > worst {
				worst, at = q, step
			}
		}
		if worst > limit {
			when := fmt.Sprintf("in %d min (%s quantile)", at*int(fleet.Tick/time.Minute), scorer.Percent(terms.Quantile))
			if at == 0 {
				when = "now"
			}
			return fmt.Sprintf("%s demand with it would reach %s %s; %s keep %s headroom", r, amountText(r, worst), when, amountText(r, limit), scorer.Percent(terms.Headroom))
		}
	}
	return ""
}

// usesForeseen are the forecasts of a host's other resources.
func (p *pass) usesForeseen(s *site, levels []float64) (out []fleet.Forecast) {
	for i, r := range beside {
		if s.uses[i].watched {
			out = append(out, p.foreseen(s, r, s.uses[i].demand, levels))
		}
	}
	return out
}

// foreseen is the forecast of one resource of a host, with how probably and by how
// much it crosses what the host can serve.
func (p *pass) foreseen(s *site, r fleet.Resource, demand predictor.Demand, levels []float64) fleet.Forecast {
	f := demand.Forecast(string(s.ID), r, levels, p.books.modelName)
	if _, declared := lineOf(s.Host, r); !declared {
		return f
	}
	f.Over, f.Excess = make([]float64, len(f.Steps)), make([]float64, len(f.Steps))
	for k := range f.Steps {
		limit := float64(p.books.calendar.Allocatable(s.OfUse(), r, f.Tick+int64(k)+1))
		f.Over[k], f.Excess[k] = demand.Exceeds(k+1, limit), demand.Excess(k+1, limit)
	}
	return f
}
