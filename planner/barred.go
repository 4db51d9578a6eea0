package planner

import (
	"fmt"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/scorer"
)

// surroundings is what a pass knows beside hosts and loads: rules, ways between
// hosts, the calendar, experience. A workload under a lease counts on both hosts.
type surroundings struct {
	rules      []boundRule
	ruled      map[fleet.WorkloadID][]int
	index      map[fleet.HostID]int
	ways       scorer.Ways
	noMoves    []fleet.CalendarEntry
	experience map[[2]string]fleet.Experience
}

func newSurroundings(view fleet.View, b *books) surroundings {
	s := surroundings{ruled: map[fleet.WorkloadID][]int{}, index: map[fleet.HostID]int{}, ways: scorer.NewWays(view.Links)}
	for i, site := range b.sites {
		s.index[site.ID] = i
	}
	for _, e := range view.Calendar {
		if e.Kind == fleet.NoMoves && e.At(view.Now) {
			s.noMoves = append(s.noMoves, e)
		}
	}
	for _, e := range view.Experiences {
		if s.experience == nil {
			s.experience = map[[2]string]fleet.Experience{}
		}
		s.experience[[2]string{string(e.Host), e.Category}] = e
	}
	for i, rule := range view.Rules {
		bound := boundRule{Rule: rule, count: map[int]int{}, hosts: map[int]bool{}}
		for _, id := range rule.Hosts {
			if h, ok := s.index[id]; ok {
				bound.hosts[h] = true
			}
		}
		for _, l := range b.loads {
			if !rule.Applies(l.Workload) {
				continue
			}
			s.ruled[l.ID] = append(s.ruled[l.ID], i)
			bound.total++
			if h, ok := s.index[l.Owner]; ok {
				bound.count[h]++
			}
			if l.lease != nil && l.lease.HoldsDestination() && l.lease.Destination != l.Owner {
				if h, ok := s.index[l.lease.Destination]; ok {
					bound.count[h]++
				}
			}
		}
		s.rules = append(s.rules, bound)
	}
	return s
}

// shift counts a planned move on its destination too: until it is done, the
// workload is on both hosts.
func (s *surroundings) shift(l *load, to *site) {
	for _, i := range s.ruled[l.ID] {
		s.rules[i].count[s.index[to.ID]]++
	}
}

// surround fills what the surroundings say about a workload on a host.
func (p *pass) surround(c *scorer.Candidate, l *load, to *site) {
	s := &p.around
	var from *fleet.Host
	source := -1
	if site := p.books.byHost[l.Owner]; site != nil {
		from, source = &site.Host, s.index[l.Owner]
		c.Way, _ = s.ways.Between(*from, to.Host)
	}
	if l.Owner == to.ID {
		return
	}
	if m, due := p.due[to.ID]; due && !p.requested(l.ID) {
		c.Barred = fmt.Sprintf("it is emptied for %s from %s on", m.entry, clockText(m.entry.From))
		return
	}
	if why, shut := s.closed(to.Host); shut && !p.requested(l.ID) {
		c.Barred = why
		return
	}
	if ok, why := scorer.Compatible(l.WorkloadView, from, to.HostView, s.ways); !ok {
		c.Barred = why
		return
	}
	at := s.index[to.ID]
	for _, i := range s.ruled[l.ID] {
		switch rule := &s.rules[i]; {
		case !rule.worsens(source, at):
		case rule.Hard:
			c.Barred = "it would break the hard " + rule.Rule.String()
			return
		default:
			c.SoftRules++
		}
	}
	if s.experience != nil {
		c.Experience = s.experience[[2]string{string(to.ID), l.Category}]
	}
}

// frozen says that the calendar forbids the automation to move the workload.
func (p *pass) frozen(l *load) (string, bool) {
	owner := fleet.Host{ID: l.Owner}
	if s := p.books.byHost[l.Owner]; s != nil {
		owner = s.Host
	}
	for _, e := range p.around.noMoves {
		if e.OnWorkload(l.Workload, owner) {
			return fmt.Sprintf("the calendar forbids moves until %s: %s", clockText(e.Until), e), true
		}
	}
	return "", false
}
