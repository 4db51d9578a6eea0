package planner

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/predictor"
	"github.com/placed-dev/placed/scorer"
)

// Ahead lets a pass weigh the whole coming day, not only the breach: among the
// moves that relieve a host whose breach is predicted, it makes those that save
// the most contended workload-minutes of the day, net of what they cost at their
// destination. A host that is short again every afternoon is thus relieved of the
// workload that does not go with the others, once.
type Ahead struct {
	// Scenarios of the coming day per workload in millicores, all of the same
	// length and order: value i of every workload is one joint case. A nil row
	// means that the workload's present usage goes on.
	Scenarios func(fleet.WorkloadID) []float32
	// Minutes that each value stands for, times its probability.
	Minutes []float64
	// MinGain in contended workload-minutes: moves that save less are not made.
	MinGain float64
	// SourceRisk and TargetRisk are the probabilities, at the worst tick within
	// the policy's horizon, of demand above what is allocatable: a source below
	// SourceRisk waits; what a move saves counts less the riskier its
	// destination is, and nothing at TargetRisk.
	SourceRisk, TargetRisk float64
}

// PlanAhead is Plan with another way to relieve hosts; requests, drains, hold,
// bounds and automation are the same.
func PlanAhead(view fleet.View, model predictor.Model, ahead Ahead, par Par) (fleet.Plan, []fleet.BreachStreak) {
	p := newPass(view, model, par)
	p.plan.InputHash = InputHash(view)
	p.plan.Forecasts = p.forecasts()
	contentions := p.contentions()
	streaks := p.streaks(contentions)
	p.plan.Contentions = contentions

	p.requests()
	p.drains()
	p.relieveAhead(ahead, contentions, streaks)
	if len(p.plan.Decisions) == 0 {
		p.nothingToDo()
	}
	for i := range p.plan.Decisions {
		p.plan.Decisions[i].InputHash = p.plan.InputHash
	}
	return p.plan, streaks
}

// dayAhead is the coming day of one host.
type dayAhead struct {
	*site
	demand     []float32 // millicores per scenario value
	contended  float64   // expected workload-minutes
	contention *fleet.Contention
}

// relieveAhead makes the best move of the fleet, and again, until none saves
// enough or the bounds are spent.
func (p *pass) relieveAhead(ahead Ahead, contentions []fleet.Contention, streaks []fleet.BreachStreak) {
	days, rows := p.days(ahead)
	p.eligible(ahead, days, contentions, streaks)
	for {
		best := p.bestAhead(ahead, days, rows)
		if best == nil {
			break
		}
		if !p.commitAhead(*best) {
			return // the bounds are spent; the decision says so
		}
		row := rows[best.load]
		for i, v := range row {
			best.from.demand[i] -= v
			best.to.demand[i] += v
		}
		best.from.contended = expected(ahead, best.from, nil, 0)
		best.to.contended = expected(ahead, best.to, nil, 0)
		if best.from.risk(p) < ahead.SourceRisk {
			best.from.contention = nil
		}
	}
	p.unrelieved(days)
}

// days sums the scenarios up per host.
func (p *pass) days(ahead Ahead) ([]*dayAhead, map[*load][]float32) {
	rows := make(map[*load][]float32, len(p.books.loads))
	for _, l := range p.books.loads {
		row := ahead.Scenarios(l.ID)
		if len(row) != len(ahead.Minutes) {
			row = make([]float32, len(ahead.Minutes))
			for i := range row {
				row[i] = float32(known(l.Usage.CPU))
			}
		}
		rows[l] = row
	}
	out := make([]*dayAhead, len(p.books.sites))
	p.par(len(out), func(i int) {
		d := &dayAhead{site: p.books.sites[i], demand: make([]float32, len(ahead.Minutes))}
		for j := range d.demand {
			d.demand[j] = float32(known(d.Foreign.CPU))
		}
		for _, l := range d.members {
			for j, v := range rows[l] {
				d.demand[j] += v
			}
		}
		d.contended = expected(ahead, d, nil, 0)
		out[i] = d
	})
	return out, rows
}

// expected is the contended workload-minutes of a host's day with a row added
// (sign 1) or taken away (−1): minutes × the share of demand above capacity ×
// the workloads that share it.
func expected(ahead Ahead, d *dayAhead, row []float32, sign float32) float64 {
	allocatable := d.Allocatable().CPU
	if allocatable == fleet.Unknown {
		return 0
	}
	limit, sum := float32(allocatable), 0.0
	for i, v := range d.demand {
		if row != nil {
			v += sign * row[i]
		}
		if v > limit {
			sum += ahead.Minutes[i] * float64((v-limit)/v)
		}
	}
	members := float64(len(d.members))
	if row != nil {
		members += float64(sign)
	}
	return sum * members
}

// risk is the probability of contention at the worst step within the horizon.
func (d *dayAhead) risk(p *pass) float64 { return p.risk(d.site, d.site.demand) }

func (p *pass) risk(s *site, demand predictor.Demand) float64 {
	worst, limit := 0.0, float64(s.Allocatable().CPU)
	for _, step := range p.steps(s) {
		worst = max(worst, demand.Exceeds(step, limit))
	}
	return worst
}

// eligible marks the hosts that are to be relieved.
func (p *pass) eligible(ahead Ahead, days []*dayAhead, contentions []fleet.Contention, streaks []fleet.BreachStreak) {
	for i := range contentions {
		c := &contentions[i]
		at := slices.IndexFunc(days, func(d *dayAhead) bool { return d.ID == c.Host })
		if c.Resource != fleet.CPU || streaks[i].Passes < p.view.Policy.HoldPasses || !c.Now && c.Probability < ahead.SourceRisk ||
			days[at].Liveness != fleet.Alive || days[at].State != fleet.HostActive {
			continue
		}
		days[at].contention = c
	}
}

// proposal is a move with what it saves.
type proposal struct {
	load       *load
	from, to   *dayAhead
	saved, put float64 // contended workload-minutes taken off the source, put on the target
	risk       float64 // of the target, with the workload
	value      float64 // what is saved on balance, discounted by the risk
}

// bestAhead finds the move with the greatest net saving that every filter
// allows, nil when none saves enough. Ties go to the first workload and host by
// id.
func (p *pass) bestAhead(ahead Ahead, days []*dayAhead, rows map[*load][]float32) *proposal {
	best := make([]*proposal, len(days))
	p.par(len(days), func(i int) {
		from := days[i]
		if from.contention == nil || from.contended < ahead.MinGain {
			return
		}
		for _, l := range from.members {
			if ok, _ := p.mayLeave(l); !ok || l.Owner != from.ID {
				continue
			}
			saved := from.contended - expected(ahead, from, rows[l], -1)
			if found := p.placeAhead(ahead, days, from, l, rows[l], saved, best[i]); found != nil {
				best[i] = found
			}
		}
	})
	return slices.MaxFunc(append(best, nil), func(a, b *proposal) int {
		switch {
		case a == nil || b == nil:
			return cmp.Compare(flag(a != nil), flag(b != nil))
		}
		return cmp.Or(cmp.Compare(a.value, b.value), -cmp.Compare(a.load.ID, b.load.ID))
	})
}

// placeAhead finds the best destination of one workload that beats the best
// proposal so far.
func (p *pass) placeAhead(ahead Ahead, days []*dayAhead, from *dayAhead, l *load, row []float32, saved float64, best *proposal) *proposal {
	least := ahead.MinGain
	if best != nil {
		least = max(least, best.value)
	}
	var found *proposal
	for _, to := range days {
		if to == from || saved <= least {
			continue
		}
		put := expected(ahead, to, row, 1) - to.contended
		if saved-put <= least {
			continue
		}
		if p.bounds.used(from.ID, to.ID) {
			continue
		}
		if ok, _ := scorer.Admits(l.Workload, scorer.Candidate{Host: to.HostView, Incoming: to.incoming}, p.terms(l)); !ok {
			continue
		}
		risk := p.risk(to.site, to.site.demand.Add(l.block))
		if value := (saved - put) * (1 - risk/ahead.TargetRisk); value > least {
			found, least = &proposal{load: l, from: from, to: to, saved: saved, put: put, risk: risk, value: value}, value
		}
	}
	return found
}

// commitAhead explains the move and takes it through the bounds.
func (p *pass) commitAhead(m proposal) bool {
	c := *m.from.contention
	cost := p.predict(m.load, m.from.site, m.to.site)
	d := fleet.Decision{
		Outcome: fleet.OutcomeRefused, Workload: m.load.ID, From: m.from.ID, To: m.to.ID, Type: fleet.Preemptive, Contention: &c,
		CandidateScore: []fleet.ScorePart{{Name: "contended minutes saved", Value: m.saved}, {Name: "contended minutes put on the destination", Value: -m.put}},
		Scores: []fleet.Score{{Host: m.to.ID, Total: m.saved - m.put - m.risk, Parts: []fleet.ScorePart{
			{Name: "contended minutes saved", Value: m.saved}, {Name: "contended minutes put here", Value: -m.put}, {Name: "risk of contention", Value: -m.risk}}}},
		Reason: fmt.Sprintf("%s; moving %s to %s saves %.0f contended workload-minutes of the coming day (risk there %s); it takes %s",
			p.books.contentionText(c, p.view.Policy), m.load.ID, m.to.label(), m.saved-m.put, percentText(m.risk), durationText(cost.Duration)),
	}
	if c.Now {
		d.Type = fleet.Threshold
	} else {
		d.LeaveBy = c.Breach.Add(-p.loadTime(cost.Duration) - p.view.Policy.Margin)
	}
	return p.commit(d, m.load, m.from.site, m.to.site, cost, c.Breach)
}

// unrelieved records why the hosts that are still short keep their workloads.
func (p *pass) unrelieved(days []*dayAhead) {
	for _, d := range days {
		if d.contention == nil {
			continue
		}
		c := *d.contention
		p.record(fleet.Decision{Outcome: fleet.OutcomeRefused, From: d.ID, Type: fleet.Preemptive, Contention: &c,
			Reason: fmt.Sprintf("%s; %.0f contended workload-minutes are expected there in the coming day, and no allowed move saves enough of them",
				p.books.contentionText(c, p.view.Policy), d.contended)})
	}
}
