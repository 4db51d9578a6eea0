package planner

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/scorer"
)

// requests plans what was asked for by hand. Hold, cool-down and automation do
// not apply, because an operator has decided; what the books, the hosts and
// other managers forbid stays forbidden.
func (p *pass) requests() {
	for _, r := range p.view.Requests {
		p.request(r)
	}
}

func (p *pass) request(r fleet.Request) {
	d := fleet.Decision{Outcome: fleet.OutcomeRefused, Workload: r.Workload, To: r.DestinationHost, Type: r.Type}
	asked := "a move of " + string(r.Workload) + " was asked for"
	if r.By != "" {
		asked += " by " + r.By
	}
	if r.Reason != "" {
		asked += " (" + r.Reason + ")"
	}
	l := p.books.byID[r.Workload]
	switch {
	case l == nil:
		d.Reason = asked + ", but the books know no such workload"
	case r.Source != "" && r.Source != l.Owner:
		d.From = l.Owner
		d.Reason = fmt.Sprintf("%s from %s, but it runs on %s", asked, p.books.label(r.Source), p.books.label(l.Owner))
	case r.DestinationHost != "" && p.books.byHost[r.DestinationHost] == nil:
		d.From = l.Owner
		d.Reason = fmt.Sprintf("%s to host %s, which the books do not know", asked, r.DestinationHost)
	case r.DestinationHost != "" && r.DestinationHost == l.Owner:
		d.From = l.Owner
		d.Reason = fmt.Sprintf("%s to %s, and it runs there already", asked, p.books.label(l.Owner))
	default:
		p.leave(l, d, asked, r.DestinationHost, r.DestinationZone, time.Time{})
		return
	}
	p.record(d)
}

// drains plans the way out of hosts that an operator drains or maintains, and of
// those whose maintenance is near, the largest workloads first: small ones fit
// into what is left.
func (p *pass) drains() {
	for _, s := range p.books.sites {
		kind, why := fleet.Drain, fmt.Sprintf("%s is %s", s.label(), s.State)
		var breach time.Time
		var leaveBy time.Time
		switch s.State {
		case fleet.HostDraining:
		case fleet.HostMaintenance:
			kind = fleet.Maintenance
		case fleet.HostActive:
			m, due := p.due[s.ID]
			if !due {
				continue
			}
			kind, why, breach, leaveBy = fleet.Maintenance, m.text(s, p.view.Now), m.entry.From, m.leaveBy
		default:
			continue
		}
		if !s.DrainBy.IsZero() && s.State != fleet.HostActive {
			leaveBy = s.DrainBy.Add(-p.leaving(s) - p.view.Policy.Margin)
			why += p.deadline(s, leaveBy)
		}
		begun := len(p.plan.Decisions)
		leaving := slices.DeleteFunc(slices.Clone(s.members), func(l *load) bool { return l.Owner != s.ID })
		slices.SortFunc(leaving, func(a, b *load) int {
			return cmp.Or(cmp.Compare(b.Reservation.Memory, a.Reservation.Memory), cmp.Compare(a.ID, b.ID))
		})
		for _, l := range leaving {
			d := fleet.Decision{Outcome: fleet.OutcomeRefused, Workload: l.ID, Type: kind, LeaveBy: leaveBy}
			p.leave(l, d, why, "", "", breach)
		}
		p.overdue(s, kind, p.plan.Decisions[begun:])
	}
}

// automatic says whether the planner itself had the idea, so that the policy's
// automation and the calendar's no-moves bind it. Emptying a host ahead of a
// maintenance is its idea; draining a host whose state an operator has set is not.
func (p *pass) automatic(t fleet.MigrationType, from fleet.HostID) bool {
	if s := p.books.byHost[from]; t == fleet.Maintenance && s != nil {
		return s.State == fleet.HostActive
	}
	return automatic(t)
}

// leave plans one move that an operator wants, or says why it cannot be. breach
// is when the host will be gone, zero where nothing is known of it.
func (p *pass) leave(l *load, d fleet.Decision, why string, host fleet.HostID, zone string, breach time.Time) {
	d.From = l.Owner
	from := p.books.byHost[l.Owner]
	if p.stands(l) && !l.planned {
		p.leaveStanding(l, d, why, host, zone, breach)
		return
	}
	if ok, reason := p.mayMove(l); !ok {
		d.Reason = fmt.Sprintf("%s, but %s must stay: %s", why, l.ID, reason)
		p.record(d)
		return
	}
	if reason, frozen := p.frozen(l); frozen && d.Type != fleet.Requested {
		d.Reason = fmt.Sprintf("%s, but %s must stay for now: %s", why, l.ID, reason)
		p.record(d)
		return
	}
	if from == nil || from.Liveness != fleet.Alive {
		d.Reason = fmt.Sprintf("%s, but its host %s does not answer and cannot send it away: bring its agent back", why, p.books.label(l.Owner))
		p.record(d)
		return
	}
	if spent := p.bounds.spent(d.Type); spent != "" {
		d.Reason = fmt.Sprintf("%s; not now: %s", why, spent)
		p.record(d)
		return
	}
	terms := p.terms(l)
	terms.Host, terms.Zone, terms.Advisory = host, zone, host != ""
	scores, excluded := p.destinations(l, terms)
	if len(scores) == 0 && (d.Type == fleet.Drain || d.Type == fleet.Maintenance) {
		// The host is to be emptied: the least bad place will have to do.
		terms.Advisory = true
		scores, excluded = p.destinations(l, terms)
	}
	d.Scores, d.Exclusions = scores, excluded
	if len(scores) == 0 {
		relevant := excluded
		if host != "" {
			relevant = slices.DeleteFunc(slices.Clone(excluded), func(e fleet.Exclusion) bool { return e.Host != host })
		}
		d.Reason = fmt.Sprintf("%s, but no host can take %s: %s", why, l.ID, summary(relevant))
		p.record(d)
		return
	}
	to := p.books.byHost[scores[0].Host]
	cost := p.predict(l, from, to)
	d.To = to.ID
	d.Reason = fmt.Sprintf("%s: %s goes to %s; it takes %s", why, l.ID, to.label(), durationText(cost.Duration))
	if terms.Advisory {
		c := scorer.Candidate{Host: to.HostView, Incoming: to.incoming}
		p.fillCandidate(&c, l, from, to, terms)
		if warning := scorer.Warning(c, terms); warning != "" {
			d.Reason += "; against the forecast: " + warning
		}
		if warning := p.crowded(l, to, terms); warning != "" {
			d.Reason += "; against the forecast: " + warning
		}
		if warning := p.unsheltered(l, to); warning != "" {
			d.Reason += "; against the reserve: " + warning
		}
	}
	p.commit(d, l, from, to, cost, breach)
}
