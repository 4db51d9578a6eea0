package planner

import (
	"slices"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/predictor"
	"github.com/placed-dev/placed/scorer"
)

// strictQuantile, in thousandths, judges what a move leaves behind, at both ends.
// It leaves half of the probability that calls a host contended (90 % → 95 %):
// the gap is the hysteresis that ends a chain of moves. A wider gap refuses
// nearly every destination in a fleet whose hosts are all well used; so does more
// than 95 %, where a day of errors has little left to say, unless the policy
// itself asks for it. There the cool-down alone ends the chain.
func (p *pass) strictQuantile() int64 {
	q := p.view.Policy.Quantile
	return min((1000+q)/2, max(q, certain))
}

// certain, in thousandths, is as sure as a pass wants to be of a destination.
const certain = 950

// terms under which a destination is judged.
func (p *pass) terms(l *load) scorer.Terms {
	return scorer.Terms{
		Source:   l.Owner,
		Now:      p.view.Now,
		Quantile: p.strictQuantile(),
		Headroom: p.view.Policy.Headroom,
	}
}

// destinations ranks every host for the workload and excludes the rest.
func (p *pass) destinations(l *load, terms scorer.Terms) ([]fleet.Score, []fleet.Exclusion) {
	candidates := make([]scorer.Candidate, len(p.books.sites))
	from := p.books.byHost[l.Owner]
	defer p.books.keepBlocks(l)()
	p.par(len(candidates), func(i int) {
		s := p.books.sites[i]
		c := scorer.Candidate{Host: s.HostView, Incoming: s.incoming}
		p.surround(&c, l, s)
		if ok, _ := scorer.Admits(l.Workload, c, terms); ok {
			p.fillCandidate(&c, l, from, s, terms)
			if len(l.Hours) > 0 {
				c.Hours = s.hours()
			}
		}
		candidates[i] = c
	})
	ranked, excluded := scorer.Rank(l.WorkloadView, candidates, terms)
	ranked = slices.DeleteFunc(ranked, func(r fleet.Score) bool {
		why := p.bounds.full(l.Owner, r.Host)
		if why == "" && !terms.Advisory {
			why = p.unsheltered(l, p.books.byHost[r.Host])
		}
		if why == "" && !terms.Advisory {
			why = p.crowded(l, p.books.byHost[r.Host], terms)
		}
		if why != "" {
			excluded = append(excluded, fleet.Exclusion{Host: r.Host, Workload: l.ID, Reason: why})
		}
		return why != ""
	})
	return ranked, excluded
}

// fillCandidate forecasts the host with the workload on it. Demand that is below
// its mean of the last day is raised to it: a host that is looked at in a dip
// would otherwise take what it cannot keep.
func (p *pass) fillCandidate(c *scorer.Candidate, l *load, from, to *site, terms scorer.Terms) {
	with := to.demand.Join(l.block)
	mean := to.dayMean + l.dayMean
	raise := func(step int) float64 { return max(mean-with.Centre(step), 0) }
	level := float64(terms.Quantile) / 1000
	c.After = fleet.Forecast{
		Of: string(to.ID), Resource: fleet.CPU, Tick: with.Tick(), Model: p.books.modelName,
		Quantiles: []float64{level}, Steps: make([][]float64, predictor.Steps),
	}
	peak, amounts := 1, make([]float64, predictor.Steps)
	for step := range predictor.Steps {
		c.After.Steps[step] = amounts[step : step+1 : step+1]
		if with.Centre(step+1)+raise(step+1) > with.Centre(peak)+raise(peak) {
			peak = step + 1
		}
	}
	if limit, declared := terms.Limit(to.Host); declared && !terms.Advisory && with.Exceeds(peak, limit-raise(peak)) > 1-level {
		// The likeliest step alone refuses the host. Most hosts of a busy
		// fleet end here, which spares sorting the scenarios of the others.
		c.After.Steps[peak-1][0] = with.Quantile(peak, level) + raise(peak)
		if c.After.Steps[peak-1][0] > limit {
			return
		}
	}
	allocatable := to.Allocatable().CPU
	for step := 1; step <= predictor.Steps; step++ {
		c.After.Steps[step-1][0] = with.Quantile(step, level) + raise(step)
		if allocatable != fleet.Unknown {
			c.Risk = max(c.Risk, with.Exceeds(step, float64(allocatable)-raise(step)))
		}
	}
	if from != nil {
		c.Transfer = p.predict(l, from, to).Duration
	}
}
