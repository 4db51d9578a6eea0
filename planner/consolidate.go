package planner

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/scorer"
)

// maxEmptied bounds how many hosts of one pass are tried, the emptiest first.
const maxEmptied = 8

// consolidate empties one host, if policy says so and the pass has nothing else to
// do: the host with the least booked whose workloads all find a place on hosts that
// are in use. It is emptied as a whole or left alone, over as many passes as the
// bounds take; it is the emptiest host then and goes first again.
//
// What is packed too tightly at night would have to be unpacked in the morning. So
// a destination keeps twice the headroom, at the strict quantile and at the peak of
// its usual day, and a workload whose day is not known stays.
func (p *pass) consolidate() {
	if !p.view.Policy.Consolidate || len(p.plan.Contentions) > 0 || len(p.plan.Decisions) > 0 {
		return
	}
	var hosts []*site
	for _, s := range p.books.sites {
		if s.State == fleet.HostActive && s.Liveness == fleet.Alive && len(s.members) > 0 {
			hosts = append(hosts, s)
		}
	}
	slices.SortStableFunc(hosts, func(a, b *site) int {
		return cmp.Or(cmp.Compare(a.booked, b.booked), cmp.Compare(a.dayMean, b.dayMean))
	})
	for _, from := range hosts[:min(len(hosts), maxEmptied)] {
		if goes := p.emptying(from); len(goes) > 0 {
			p.empty(from, goes)
			return
		}
	}
}

// departure is where one workload of a host goes.
type departure struct {
	load   *load
	to     *site
	scores []fleet.Score
}

// emptying finds a place for every workload of a host, the largest first, each
// counting on the room that those before it leave; nil when one has none. What it
// tries is undone.
func (p *pass) emptying(from *site) []departure {
	undo := p.remember()
	defer undo()
	leaving := slices.Clone(from.members)
	slices.SortFunc(leaving, func(a, b *load) int {
		return cmp.Or(cmp.Compare(b.Reservation.Memory, a.Reservation.Memory), cmp.Compare(a.ID, b.ID))
	})
	var out []departure
	for _, l := range leaving {
		if ok, _ := p.mayLeave(l); !ok || l.Owner != from.ID || len(l.Hours) == 0 {
			return nil
		}
		terms := p.terms(l)
		terms.Headroom = min(2*terms.Headroom, 900)
		scores, _ := p.destinations(l, terms)
		scores = slices.DeleteFunc(scores, func(s fleet.Score) bool {
			to := p.books.byHost[s.Host]
			return len(to.members) == 0 || !fitsTheDay(l, to, terms)
		})
		if len(scores) == 0 {
			return nil
		}
		to := p.books.byHost[scores[0].Host]
		out = append(out, departure{l, to, scores})
		p.books.shift(l, from, to)
		p.around.shift(l, to)
	}
	return out
}

// fitsTheDay says whether the usual day of the host has room for that of the
// workload at every hour. A host without declared cpu has none to compare with.
func fitsTheDay(l *load, to *site, terms scorer.Terms) bool {
	limit, declared := terms.Limit(to.Host)
	if !declared || slices.ContainsFunc(to.members, func(m *load) bool { return len(m.Hours) != len(l.Hours) }) {
		return false
	}
	for h, v := range to.hours() {
		if float64(v+l.Hours[h]) > limit {
			return false
		}
	}
	return true
}

// empty commits the moves as far as the bounds go.
func (p *pass) empty(from *site, goes []departure) {
	memory := from.booked
	for i, g := range goes {
		cost := p.predict(g.load, from, g.to)
		d := fleet.Decision{Outcome: fleet.OutcomeRefused, Workload: g.load.ID, From: from.ID, To: g.to.ID, Type: fleet.Consolidate, Scores: g.scores,
			Reason: fmt.Sprintf("nothing is contended, and %s with %s booked can be emptied: workload %d of %d, %s, goes to %s; it takes %s", from.label(),
				fleet.FormatAmount(fleet.Memory, memory), i+1, len(goes), g.load.ID, g.to.label(), durationText(cost.Duration))}
		if why := p.bounds.full(from.ID, g.to.ID); why != "" {
			d.Reason += "; not now: " + why
			p.record(d)
			return
		}
		if !p.commit(d, g.load, from, g.to, cost, time.Time{}) {
			return
		}
	}
}

// remember returns what puts the working state of the pass back as it is now.
func (p *pass) remember() (undo func()) {
	sites := make([]site, len(p.books.sites))
	for i, s := range p.books.sites {
		sites[i] = *s
	}
	planned := make([]bool, len(p.books.loads))
	for i, l := range p.books.loads {
		planned[i] = l.planned
	}
	counts := make([]map[int]int, len(p.around.rules))
	for i := range p.around.rules {
		counts[i] = maps.Clone(p.around.rules[i].count)
	}
	return func() {
		for i, s := range p.books.sites {
			*s = sites[i]
		}
		for i, l := range p.books.loads {
			l.planned = planned[i]
		}
		for i := range p.around.rules {
			p.around.rules[i].count = counts[i]
		}
	}
}
