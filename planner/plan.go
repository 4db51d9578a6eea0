package planner

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/predictor"
)

// Par runs do(0) … do(n-1), in any order and on any number of threads, and
// returns when all are done. Nil means one after the other; the plan is the same.
type Par = func(n int, do func(i int))

func serial(n int, do func(i int)) {
	for i := range n {
		do(i)
	}
}

// Plan decides one pass. It returns the plan and, for the next pass's view, for
// how many passes in a row each breach has been predicted (hold).
//
// Automation and pause are obeyed here: moves that relieve a contention become
// decisions with Outcome observe unless the policy says auto. What an operator
// asked for by hand, a move or a drain, is carried out at every level; while the
// fleet is paused nothing is.
func Plan(view fleet.View, model predictor.Model, par Par) (fleet.Plan, []fleet.BreachStreak) {
	p := newPass(view, model, par)
	p.name()
	return p.run(p.relieve)
}

// name adds to the plan what it was made of.
func (p *pass) name() {
	p.plan.InputHash = InputHash(p.view)
	p.plan.Forecasts = p.forecasts()
}

// run goes through the aims of a pass in their order; relieve is what it does
// against contention.
func (p *pass) run(relieve func([]fleet.Contention, []fleet.BreachStreak)) (fleet.Plan, []fleet.BreachStreak) {
	contentions := p.contentions()
	streaks := p.streaks(contentions)
	p.plan.Contentions = contentions

	p.requests()
	p.drains()
	p.undo()
	relieve(p.inPlace(contentions, streaks))
	streaks = append(streaks, p.standbys(contentions)...)
	streaks = append(streaks, p.squeezed()...)
	streaks = append(streaks, p.thresholds()...)
	p.consolidate()
	if len(p.plan.Decisions) == 0 {
		p.nothingToDo()
	}
	for i := range p.plan.Decisions {
		p.plan.Decisions[i].InputHash = p.plan.InputHash
	}
	return p.plan, streaks
}

// pass is the working state of one pass.
type pass struct {
	view   fleet.View
	par    Par
	books  *books
	bounds bounds
	around surroundings
	due    map[fleet.HostID]maintenance
	// standing are the adjustments in place, those of this pass included.
	standing map[adjustmentKey]fleet.Adjustment
	plan     fleet.Plan
}

func newPass(view fleet.View, model predictor.Model, par Par) *pass {
	if par == nil {
		par = serial
	}
	b := newBooks(view, model, par)
	p := &pass{
		view: view, par: par,
		books:  b,
		bounds: newBounds(view),
		around: newSurroundings(view, b),

		standing: standing(view),
		plan: fleet.Plan{
			// Index and load time name the pass: a pass that sees the same
			// books at the same time is the same pass.
			Pass: fmt.Sprintf("p%d-%d", view.Index, view.Now.UnixMilli()),
			At:   view.Now, Index: view.Index,
		},
	}
	p.due = p.upkeep()
	return p
}

// A decision lists at most so many hosts in order and so many exclusions: it
// must fit into one entry of the log with room to spare, in a fleet of any size.
// WhyNot answers for the hosts left out.
const (
	maxScores     = 16
	maxExclusions = 64
)

// record stores a decision under the next id and returns it.
func (p *pass) record(d fleet.Decision) *fleet.Decision {
	d.Scores = d.Scores[:min(len(d.Scores), maxScores)]
	if left := len(d.Exclusions) - maxExclusions; left > 0 {
		rest := summary(d.Exclusions[maxExclusions:])
		d.Exclusions = append(d.Exclusions[:maxExclusions:maxExclusions], fleet.Exclusion{Reason: fmt.Sprintf("%d more: %s", left, rest)})
	}
	d.Pass, d.At = p.plan.Pass, p.view.Now
	d.ID = fmt.Sprintf("%s.%d", p.plan.Pass, len(p.plan.Decisions)+1)
	p.plan.Decisions = append(p.plan.Decisions, d)
	return &p.plan.Decisions[len(p.plan.Decisions)-1]
}

func (p *pass) forecasts() []fleet.Forecast {
	levels := []float64{0.05, 0.25, 0.5, 0.75, 0.9, 0.95}
	if q := float64(p.view.Policy.Quantile) / 1000; !slices.Contains(levels, q) {
		levels = append(levels, q)
		slices.Sort(levels)
	}
	out := make([][]fleet.Forecast, len(p.books.sites))
	p.par(len(out), func(i int) {
		s := p.books.sites[i]
		out[i] = append([]fleet.Forecast{p.foreseen(s, fleet.CPU, s.demand, levels)}, p.usesForeseen(s, levels)...)
	})
	return slices.Concat(out...)
}

// contentions lists, by host and resource, what is or will be short: cpu, network
// and disk by forecast, memory by what is reserved and, where more may be booked than
// there is, by the forecast of what is used.
func (p *pass) contentions() []fleet.Contention {
	found := make([][]fleet.Contention, len(p.books.sites))
	tick := fleet.TickOf(p.view.Now)
	p.par(len(found), func(i int) {
		s := p.books.sites[i]
		if s.State == fleet.HostLeft {
			return
		}
		if c, ok := p.books.calendar.Contention(s.Host, fleet.CPU, s.demand, tick, s.current, p.view.Policy); ok {
			found[i] = append(found[i], c)
		}
		allocatable := s.Allocatable().Memory
		overbooked := allocatable != fleet.Unknown && s.booked > allocatable
		if overbooked {
			found[i] = append(found[i], fleet.Contention{
				Host: s.ID, Zone: s.Zone, Resource: fleet.Memory, Probability: 1, Now: true,
				Breach: fleet.TickStart(tick), Demand: float64(s.booked), Allocatable: allocatable,
			})
		}
		found[i] = append(found[i], p.usesShort(s, overbooked)...)
	})
	return slices.Concat(found...)
}

// streaks counts a breach on from the pass before; one that is not predicted
// this time is forgotten.
func (p *pass) streaks(contentions []fleet.Contention) []fleet.BreachStreak {
	type key struct {
		host     fleet.HostID
		resource fleet.Resource
	}
	before := map[key]fleet.BreachStreak{}
	for _, b := range p.view.Breaches {
		if b.Workload == "" {
			before[key{b.Host, b.Resource}] = b
		}
	}
	var out []fleet.BreachStreak
	for _, c := range contentions {
		was := before[key{c.Host, c.Resource}]
		now := fleet.BreachStreak{Host: c.Host, Resource: c.Resource, Passes: was.Passes + 1}
		if p.above(c) >= p.view.Policy.Headroom {
			now.Clear = was.Clear + 1
		}
		out = append(out, now)
	}
	return out
}

// nothingToDo names the host that comes closest, so that an operator sees what
// the planner watches.
func (p *pass) nothingToDo() {
	d := fleet.Decision{Outcome: fleet.OutcomeNone, Reason: "nothing to do: no host has reported yet"}
	var best closeness
	var closest *site
	for _, s := range p.books.sites {
		if c, ok := p.closeness(s); ok && (closest == nil || c.share > best.share) {
			closest, best = s, c
		}
	}
	if closest != nil {
		d.From = closest.ID
		d.Reason = fmt.Sprintf("nothing to do: no host is expected to need more than it has within %s; closest is %s with %s of %s (%.0f %%) in %s at the %s quantile",
			loadText(p.view.Policy.Horizon), closest.label(), cores(best.demand), cores(best.allocatable), 100*best.share,
			loadText(time.Duration(best.step)*fleet.Tick), quantileText(p.view.Policy))
	}
	if n := len(p.view.Adjustments); n > 0 {
		d.Reason += fmt.Sprintf("; %d workloads stay changed in place until the reason is gone", n)
	}
	p.record(d)
}

type closeness struct {
	step                       int
	demand, allocatable, share float64
}

// closeness is the worst step of a host: demand at the quantile by allocatable.
func (p *pass) closeness(s *site) (closeness, bool) {
	allocatable := s.Allocatable().CPU
	if allocatable == fleet.Unknown || allocatable <= 0 || s.State == fleet.HostLeft {
		return closeness{}, false
	}
	best := closeness{allocatable: float64(allocatable)}
	for _, step := range p.steps(s) {
		if d := s.demand.Quantile(step, quantile(p.view.Policy)); best.step == 0 || d > best.demand {
			best.step, best.demand = step, d
		}
	}
	best.share = best.demand / best.allocatable
	return best, best.step != 0
}

// steps lists the steps of a host's demand that lie within the horizon, from
// the running tick on: the same that predictor.Contention looks at.
func (p *pass) steps(s *site) []int { return p.stepsOf(s, s.demand) }

// stepsOf are those of the host's demand of any resource.
func (p *pass) stepsOf(s *site, demand predictor.Demand) []int {
	tick := fleet.TickOf(p.view.Now)
	var out []int
	for step := 1; step <= predictor.Steps; step++ {
		lead := demand.Tick() + int64(step) - tick
		if len(s.members) == 0 {
			lead = int64(step)
		}
		if lead >= 0 && lead*int64(fleet.Tick) <= int64(p.view.Policy.Horizon) {
			out = append(out, step)
		}
	}
	return out
}

// urgency orders contentions: what is short now, then what comes first, then
// what is likelier.
func urgency(a, b fleet.Contention) int {
	if a.Now != b.Now {
		if a.Now {
			return -1
		}
		return 1
	}
	return cmp.Or(a.Breach.Compare(b.Breach), cmp.Compare(b.Probability, a.Probability),
		cmp.Compare(a.Host, b.Host), cmp.Compare(a.Resource, b.Resource))
}
