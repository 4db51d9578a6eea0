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
// moves that relieve a host whose contention is likely, it makes those that save
// the most contended workload-minutes of the day, net of what they cost at their
// destination. A host that is short again every afternoon is thus relieved of the
// workload that does not go with the others, once.
//
// The coming hour is weighed by the forecasts, what lies beyond by scenarios.
type Ahead struct {
	// Scenarios of the day beyond the coming hour per workload in millicores,
	// all of the same length and order: value i of every workload is one joint
	// case. A nil row means that the workload's present usage goes on.
	Scenarios func(fleet.WorkloadID) []float32
	// Minutes that each value stands for, times its probability.
	Minutes []float64
	// MinGain in contended workload-minutes: moves that save less are not made.
	MinGain float64
	// SourceRisk and TargetRisk are probabilities of contention at any tick
	// within the policy's horizon: a source below SourceRisk waits; what a move
	// saves counts less the riskier its destination is, and nothing at
	// TargetRisk. A destination is contended when KeepFree of it is used.
	SourceRisk, TargetRisk float64
	// KeepFree is the share of a destination that should stay free: what a move
	// uses of it counts keepFreeWeight as much as what is contended. A forecast
	// of a day is rough, and the best of many destinations is the one that it
	// errs about most.
	KeepFree float64
	// Brief leaves out of the plan what only people read: the hosts' forecasts
	// and the hash of the view.
	Brief bool
}

// keepFreeWeight was chosen with the other settings of scenarios/closed-loop.hcl,
// on the week before the evaluated one.
const keepFreeWeight = 0.3

// PlanAhead is Plan with another way to relieve hosts; requests, drains, hold,
// bounds and automation are the same.
func PlanAhead(view fleet.View, model predictor.Model, ahead Ahead, par Par) (fleet.Plan, []fleet.BreachStreak) {
	p := newPass(view, model, par)
	if !ahead.Brief {
		p.name()
	}
	return p.run(func(contentions []fleet.Contention, streaks []fleet.BreachStreak) {
		p.relieveAhead(ahead, contentions, streaks)
	})
}

// dayAhead is the coming day of one host.
type dayAhead struct {
	*site
	demand     []float32 // millicores per scenario value
	contended  float64   // expected workload-minutes
	pressed    float64   // the same, with KeepFree counted as far as it counts
	contention *fleet.Contention
	moved      bool // a workload leaves already
}

func (p *pass) measure(ahead Ahead, d *dayAhead) {
	d.contended = p.expected(ahead, d, nil, nil, 0, 0)
	d.pressed = p.pressure(ahead, d, nil, nil, 0)
}

// pressure is expected with the share that should stay free counted as far as
// it counts.
func (p *pass) pressure(ahead Ahead, d *dayAhead, l *load, row []float32, sign float32) float64 {
	full := p.expected(ahead, d, l, row, sign, 0)
	if ahead.KeepFree == 0 {
		return full
	}
	return full + keepFreeWeight*(p.expected(ahead, d, l, row, sign, ahead.KeepFree)-full)
}

// relieveAhead makes the best move of the fleet, and again, until none saves
// enough or the bounds are spent.
func (p *pass) relieveAhead(ahead Ahead, contentions []fleet.Contention, streaks []fleet.BreachStreak) {
	sources := p.sources(ahead, contentions, streaks)
	if len(sources) == 0 {
		return
	}
	days, rows := p.days(ahead)
	for _, d := range days {
		d.contention = sources[d.site]
	}
	for {
		best := p.bestAhead(ahead, days, rows)
		if best == nil {
			break
		}
		if !p.commitAhead(*best) {
			best.from.moved = true // its decision says that the bounds are spent
			break
		}
		row := rows[best.load]
		for i, v := range row {
			best.from.demand[i] -= v
			best.to.demand[i] += v
		}
		p.measure(ahead, best.from)
		p.measure(ahead, best.to)
		if p.risk(best.from.site) < ahead.SourceRisk {
			best.from.contention = nil
		} else {
			best.from.moved = true
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
		p.measure(ahead, d)
		out[i] = d
	})
	return out, rows
}

// expected is the contended workload-minutes of a host's day with a workload
// added (sign 1) or taken away (−1): minutes × the share of demand above capacity
// × the workloads that share it. A share keepFree of the host counts as not there.
func (p *pass) expected(ahead Ahead, d *dayAhead, l *load, row []float32, sign float32, keepFree float64) float64 {
	allocatable := d.Allocatable().CPU
	if allocatable == fleet.Unknown {
		return 0
	}
	line := float64(allocatable) * (1 - keepFree)
	limit, sum := float32(line), 0.0
	for i, v := range d.demand {
		if row != nil {
			v += sign * row[i]
		}
		if v > limit {
			sum += ahead.Minutes[i] * float64((v-limit)/v)
		}
	}
	members, block := float64(len(d.members)), predictor.Block{}
	if l != nil {
		members, block = members+float64(sign), l.block
	}
	if first, last := p.hour(d.site, l); last > 0 {
		sum += fleet.Tick.Minutes() * d.site.demand.Shortfall(first, last, line, block, int64(sign))
	}
	return sum * members
}

// hour is the range of steps within the policy's horizon, 0 without any.
func (p *pass) hour(s *site, l *load) (first, last int) {
	if len(s.members) == 0 && l == nil {
		return 0, 0
	}
	steps := p.steps(s)
	if len(steps) == 0 {
		return 0, 0
	}
	return steps[0], steps[len(steps)-1]
}

// risk is the probability of contention at any step within the horizon.
func (p *pass) risk(s *site) float64 { return p.riskOf(s, s.demand, 0) }

// riskOf is the same of another demand, as if a share of the host were not there.
func (p *pass) riskOf(s *site, demand predictor.Demand, keepFree float64) float64 {
	allocatable, steps := s.Allocatable().CPU, p.steps(s)
	if allocatable == fleet.Unknown || len(steps) == 0 {
		return 0
	}
	return demand.PeakExceeds(steps[0], steps[len(steps)-1], float64(allocatable)*(1-keepFree))
}

// sources are the hosts that are to be relieved; it is recorded why the others
// wait. What is short of memory is relieved as in every pass: no day of load will
// change that.
func (p *pass) sources(ahead Ahead, contentions []fleet.Contention, streaks []fleet.BreachStreak) map[*site]*fleet.Contention {
	out := map[*site]*fleet.Contention{}
	for i := range contentions {
		c := &contentions[i]
		if c.Resource != fleet.CPU {
			p.relieve(contentions[i:i+1], streaks[i:i+1])
			continue
		}
		d := p.books.byHost[c.Host]
		why := ""
		switch risk := p.risk(d); {
		case streaks[i].Passes < p.view.Policy.HoldPasses:
			why = fmt.Sprintf("predicted for %s, a move needs all of them in a row (hold_passes)", streakText(streaks[i].Passes, p.view.Policy.HoldPasses))
		case d.Liveness != fleet.Alive:
			why = fmt.Sprintf("the host is %s and cannot send a workload away: bring its agent back", d.Liveness)
		case d.State != fleet.HostActive:
			why = fmt.Sprintf("the host is %s, so all of its workloads leave anyway", d.State)
		case p.emptied(c.Host) != "":
			why = p.emptied(c.Host)
		case risk < ahead.SourceRisk:
			why = fmt.Sprintf("contention within %s is as likely as %s, a move needs %s", loadText(p.view.Policy.Horizon), percentText(risk), percentText(ahead.SourceRisk))
		default:
			out[d] = c
			continue
		}
		p.record(fleet.Decision{Outcome: fleet.OutcomeRefused, From: c.Host, Type: fleet.Preemptive, Contention: c,
			Reason: p.books.contentionText(*c, p.view.Policy) + "; " + why})
	}
	return out
}

// proposal is a move with what it saves.
type proposal struct {
	load       *load
	from, to   *dayAhead
	saved, put float64 // contended workload-minutes taken off the source, put on the target
	risk       float64 // of the target, with the workload
	value      float64 // what is saved on balance, discounted by the risk
}

// bestAhead finds the move with the greatest net saving that every filter allows, nil when none saves enough. Ties go to the first workload and host by
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
			saved := from.contended - p.expected(ahead, from, l, rows[l], -1, 0)
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
		if p.bounds.full(from.ID, to.ID) != "" {
			continue
		}
		c := scorer.Candidate{Host: to.HostView, Incoming: to.incoming}
		p.surround(&c, l, to.site)
		if ok, _ := scorer.Admits(l.Workload, c, p.terms(l)); !ok {
			continue
		}
		put := p.pressure(ahead, to, l, row, 1) - to.pressed
		if saved-put <= least {
			continue
		}
		risk := p.riskOf(to.site, to.site.demand.Add(l.block), ahead.KeepFree)
		if value := (saved - put) * (1 - risk/ahead.TargetRisk); value > least && p.unsheltered(l, to.site) == "" && p.crowded(l, to.site, p.terms(l)) == "" {
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
	if !c.Now {
		d.LeaveBy = c.Breach.Add(-p.loadTime(cost.Duration) - p.view.Policy.Margin)
	}
	if c.Now || p.view.Now.After(d.LeaveBy) {
		// Too late for the breach, but not for the rest of the day.
		d.Type = fleet.Threshold
	}
	return p.commit(d, m.load, m.from.site, m.to.site, cost, c.Breach)
}

// unrelieved records why the hosts that are still short keep their workloads.
func (p *pass) unrelieved(days []*dayAhead) {
	for _, d := range days {
		if d.contention == nil || d.moved {
			continue // a host that something leaves has its decision
		}
		c := *d.contention
		p.record(fleet.Decision{Outcome: fleet.OutcomeRefused, From: d.ID, Type: fleet.Preemptive, Contention: &c,
			Reason: fmt.Sprintf("%s; %.0f contended workload-minutes are expected there in the coming day, and no allowed move saves enough of them",
				p.books.contentionText(c, p.view.Policy), d.contended)})
	}
}
