package planner

import (
	"fmt"
	"slices"
	"time"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/scorer"
)

// crossing is a threshold that a feature is above, or is foretold to be.
type crossing struct {
	fleet.FeatureThreshold
	value    float64
	foretold bool
}

// crossed finds the thresholds that features are above, in the order of the
// features, and returns for how many passes in a row each has been. What was above
// its limit counts on until it is below the line where it is clear.
func (p *pass) crossed() (found map[*load][]crossing, streaks []fleet.BreachStreak) {
	found = map[*load][]crossing{}
	for _, w := range p.view.Thresholds {
		l := p.books.byID[w.Workload]
		if l == nil {
			continue
		}
		for _, t := range w.Thresholds {
			streak := p.streakOf(l, "threshold "+string(t.Metric))
			line := t.Limit
			if streak.Passes > 1 {
				line = t.Line()
			}
			c := crossing{FeatureThreshold: t, value: known(l.Usage.Get(t.Metric))}
			if c.value <= float64(line) && t.Metric == fleet.CPU {
				// Without a forecast that has earned trust, what is foretold
				// is what is used now.
				c.value, c.foretold = p.wants(l), true
			}
			if c.value <= float64(line) {
				continue
			}
			streaks = append(streaks, streak)
			if streak.Passes >= t.Passes() {
				found[l] = append(found[l], c)
			}
		}
	}
	return found, streaks
}

func (c crossing) text(l *load) string {
	is := "is at"
	if c.foretold {
		is = "is expected to reach"
	}
	return fmt.Sprintf("feature %s of %s %s %s of %s, its threshold is %s", l.ID, l.Instance, is, metricText(c.Metric, c.value), c.Metric, metricText(c.Metric, float64(c.Limit)))
}

func metricText(metric fleet.Resource, value float64) string {
	if metric == fleet.CPU {
		return cores(value)
	}
	return fleet.FormatAmount(metric, int64(value))
}

// thresholds moves the features that are above a threshold, each on its own, to a
// host that gives it more than it has. It returns the streaks for the next pass.
func (p *pass) thresholds() []fleet.BreachStreak {
	found, streaks := p.crossed()
	for _, l := range p.books.loads {
		if all := found[l]; len(all) > 0 && !l.planned {
			p.leaveThreshold(l, all[0])
		}
	}
	return streaks
}

func (p *pass) leaveThreshold(l *load, c crossing) {
	d := fleet.Decision{Outcome: fleet.OutcomeRefused, Workload: l.ID, From: l.Owner, Type: fleet.Threshold}
	if c.foretold {
		d.Type = fleet.Preemptive
	}
	what := c.text(l)
	from := p.books.byHost[l.Owner]
	if ok, why := p.mayLeave(l); !ok {
		d.Reason = what + ", but it must stay: " + why
		p.record(d)
		return
	}
	if from == nil || from.Liveness != fleet.Alive {
		d.Reason = fmt.Sprintf("%s, but its host %s does not answer and cannot send it away: bring its agent back", what, p.books.label(l.Owner))
		p.record(d)
		return
	}
	scores, excluded := p.destinations(l, p.terms(l))
	here := p.roomAt(from, nil, c.Metric)
	margin := float64(p.view.Policy.Headroom) / 1000
	scores = slices.DeleteFunc(scores, func(s fleet.Score) bool {
		there := p.roomAt(p.books.byHost[s.Host], l, c.Metric)
		if there > here+margin {
			return false
		}
		excluded = append(excluded, fleet.Exclusion{Host: s.Host, Workload: l.ID, Reason: fmt.Sprintf("it would have %s free with it, not %s more than the %s where it is",
			percentText(there), scorer.Percent(p.view.Policy.Headroom), percentText(here))})
		return true
	})
	d.Scores, d.Exclusions = scores, excluded
	if len(scores) == 0 {
		d.Reason = fmt.Sprintf("%s, but no host would give it more: %s", what, summary(excluded))
		p.record(d)
		return
	}
	to := p.books.byHost[scores[0].Host]
	cost := p.predict(l, from, to)
	d.To = to.ID
	d.Reason = fmt.Sprintf("%s; it goes to %s without its instance, where %s are free instead of %s; it takes %s", what, to.label(),
		percentText(p.roomAt(to, l, c.Metric)), percentText(here), durationText(cost.Duration))
	p.commit(d, l, from, to, cost, time.Time{})
}

// roomAt is the share of a host that is free: of its memory by the books, of its cpu
// at the strict quantile for every other metric. A workload that would come counts.
func (p *pass) roomAt(s *site, comes *load, metric fleet.Resource) float64 {
	allocatable := s.Allocatable()
	if metric == fleet.Memory {
		free := s.Free().Sub(s.incoming)
		if comes != nil {
			free = free.Sub(comes.Reservation)
		}
		if allocatable.Memory == fleet.Unknown || allocatable.Memory <= 0 {
			return 0
		}
		return float64(free.Memory) / float64(allocatable.Memory)
	}
	if allocatable.CPU == fleet.Unknown || allocatable.CPU <= 0 {
		return 0
	}
	with := *s
	if comes != nil {
		with.demand = s.demand.Add(comes.block)
		with.members = append(slices.Clone(s.members), comes)
	}
	worst := 0.0
	for _, step := range p.steps(&with) {
		worst = max(worst, with.demand.Quantile(step, float64(p.strictQuantile())/1000))
	}
	return 1 - worst/float64(allocatable.CPU)
}
