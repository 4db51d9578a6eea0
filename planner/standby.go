package planner

import (
	"fmt"
	"time"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/precopy"
	"github.com/placed-dev/placed/scorer"
)

// A predicted move that may still wait can be copied ahead: a standby keeps a copy of
// the workload up to date at the destination, and the move is made when the breach is
// near or there, by a cutover alone. A prediction that does not come true then costs
// bandwidth and room, and nobody an interruption.

const (
	// waitsAtLeast (load time): a move that must be made sooner is made at once.
	waitsAtLeast = 2 * fleet.Tick
	// inTime (load time) before its leave-by a standby is promoted: the pass of the
	// next tick may come too late.
	inTime = fleet.Tick
	// unwantedPasses, of one tick each and in a row, without a contention of its
	// source or with a destination that no longer has room end a standby: half an
	// hour, so that a forecast near the line does not copy a workload over and over.
	unwantedPasses = int64(30 * time.Minute / fleet.Tick)
	// unwanted names the count in the view.
	unwanted = "standby unwanted"
)

// copyOf is what the source of a standby says of its copy; nil until it is complete.
func copyOf(view fleet.View, id fleet.LeaseID) *fleet.Standby {
	for i := range view.Standbys {
		if view.Standbys[i].Lease == id {
			return &view.Standbys[i]
		}
	}
	return nil
}

// stands says that the workload has a standby that may be promoted.
func (p *pass) stands(l *load) bool {
	return l.lease != nil && l.lease.Kind == fleet.LeaseStandby && l.lease.State <= fleet.Transferring && p.books.byHost[l.lease.Destination] != nil
}

// standingOn is the workload of a host that a pass has copied ahead, nil without
// one. There is at most one: its host is being relieved.
func (p *pass) standingOn(s *site) *load {
	for _, l := range s.members {
		if l.Owner == s.ID && p.stands(l) && automatic(l.lease.Type) {
			return l
		}
	}
	return nil
}

// mayWait says that the move is copied ahead and made later.
func (p *pass) mayWait(l *load, c fleet.Contention, t timing) bool {
	return p.bounds.standbys < p.view.Policy.Standbys && l.Copies && !c.Now && t.kind == fleet.Preemptive &&
		t.leaveBy.Sub(p.view.Now) >= p.loadTime(t.cost.Duration)+waitsAtLeast
}

// copyAhead begins a standby instead of a move, within the same bounds.
func (p *pass) copyAhead(d fleet.Decision, l *load, from, to *site, t timing, breach time.Time) bool {
	if why := p.bounds.spent(d.Type); why != "" {
		d.Outcome, d.Reason = fleet.OutcomeRefused, d.Reason+"; not now: "+why
		p.record(d)
		return false
	}
	p.bounds.keep(from.ID, to.ID)
	to.incoming = to.incoming.Add(l.Reservation)
	l.planned = true
	d.Reason += fmt.Sprintf("; the move may wait: a copy is kept up to date on %s until then (standbys)", to.label())
	d.Outcome, d.Reason = p.allowed(d, from)
	copied := d.Outcome == fleet.OutcomeMove
	if copied {
		d.Outcome = fleet.OutcomeStandby
	}
	recorded := p.record(d)
	if copied {
		p.plan.Standbys = append(p.plan.Standbys, move(recorded, l, t.cost, breach))
	}
	return true
}

// tend looks after the standby of a contended host: it is promoted when the breach is
// near, and waits until then. It reports whether the workload leaves.
func (p *pass) tend(l *load, from *site, c fleet.Contention, d fleet.Decision, what string) bool {
	to := p.books.byHost[l.lease.Destination]
	d.Workload, d.To = l.ID, to.ID
	if l.planned {
		d.Reason = fmt.Sprintf("%s; the standby of %s is given up in this pass: the next one sees the effect", what, l.ID)
		p.record(d)
		return false
	}
	if why := p.hopeless(l, to); why != "" {
		p.giveUp(d, l, what+"; "+why)
		return false
	}
	cost := p.remaining(l, from, to)
	if !c.Now {
		d.LeaveBy = c.Breach.Add(-p.loadTime(cost.Duration) - p.view.Policy.Margin)
		if p.view.Now.Before(d.LeaveBy.Add(-inTime)) {
			d.Reason = fmt.Sprintf("%s; %s is copied to %s (%s) and moves there when it must leave, by %s", what, l.ID, to.label(), p.freshness(l), clockText(d.LeaveBy))
			p.record(d)
			return false
		}
		d.Type = fleet.Preemptive
		if p.view.Now.After(d.LeaveBy) {
			d.Type = fleet.Threshold
		}
	}
	if why, frozen := p.frozen(l); frozen {
		d.Reason = fmt.Sprintf("%s; %s must stay for now: %s", what, l.ID, why)
		p.record(d)
		return false
	}
	if why := p.misfit(l, from, to, p.terms(l)); why != "" {
		p.giveUp(d, l, fmt.Sprintf("%s; %s cannot take %s any more: %s", what, to.label(), l.ID, why))
		return false
	}
	return p.promote(d, l, from, to, cost, what, c.Breach)
}

// promote makes the move that a standby was begun for.
func (p *pass) promote(d fleet.Decision, l *load, from, to *site, cost precopy.Prediction, what string, breach time.Time) bool {
	d.Reason = fmt.Sprintf("%s; %s moves to its standby on %s (%s); it takes %s", what, l.ID, to.label(), p.freshness(l), durationText(cost.Duration))
	own := copyOf(p.view, l.lease.ID) == nil // it counts as a move already
	if own {
		p.bounds.count(from.ID, to.ID, -1)
	}
	why := p.bounds.spent(d.Type)
	if why == "" {
		why = p.bounds.full(from.ID, to.ID)
	}
	if why != "" {
		if own {
			p.bounds.count(from.ID, to.ID, 1)
		}
		d.Outcome, d.Reason = fleet.OutcomeRefused, d.Reason+"; not now: "+why
		p.record(d)
		return false
	}
	p.bounds.take(from.ID, to.ID)
	p.books.shift(l, from, to)
	to.incoming = to.incoming.Sub(l.Reservation) // the standby holds it already
	p.around.shift(l, to)
	d.Outcome, d.Reason = p.allowed(d, from)
	recorded := p.record(d)
	if d.Outcome == fleet.OutcomeMove {
		m := move(recorded, l, cost, breach)
		m.Lease = l.lease.ID
		p.plan.Moves = append(p.plan.Moves, m)
	}
	return true
}

// giveUp ends a standby; the workload may be planned for anew when its copy is
// discarded.
func (p *pass) giveUp(d fleet.Decision, l *load, why string) {
	l.planned = true
	d.Outcome, d.From, d.To, d.Workload = fleet.OutcomeCancel, l.Owner, l.lease.Destination, l.ID
	d.Reason = why + fmt.Sprintf("; the copy of %s on %s is given up", l.ID, p.books.label(d.To))
	p.record(d)
	p.plan.Cancel = append(p.plan.Cancel, fleet.StandbyEnd{Lease: l.lease.ID, Workload: l.ID, Reason: why})
}

// standbys gives up what is no longer wanted. It returns the counts for the next pass.
func (p *pass) standbys(contentions []fleet.Contention) []fleet.BreachStreak {
	contended := map[fleet.HostID]bool{}
	for _, c := range contentions {
		contended[c.Host] = true
	}
	var out []fleet.BreachStreak
	for _, l := range p.books.loads {
		if !p.stands(l) || l.planned || !automatic(l.lease.Type) {
			continue
		}
		from, to := p.books.byHost[l.Owner], p.books.byHost[l.lease.Destination]
		d := fleet.Decision{Type: l.lease.Type}
		if why := p.hopeless(l, to); why != "" {
			p.giveUp(d, l, why)
			continue
		}
		why := ""
		if !contended[l.Owner] {
			why = fmt.Sprintf("no shortage is predicted for %s any more", p.books.label(l.Owner))
		} else if misfit := p.misfit(l, from, to, p.terms(l)); misfit != "" {
			why = fmt.Sprintf("%s cannot take %s any more: %s", to.label(), l.ID, misfit)
		}
		if why == "" {
			continue
		}
		streak := p.streakOf(l, unwanted)
		if streak.Passes >= unwantedPasses {
			p.giveUp(d, l, why)
			continue
		}
		out = append(out, streak)
	}
	return out
}

// leaveStanding is leave for a workload that has a standby: it moves there, or the
// standby is given up first.
func (p *pass) leaveStanding(l *load, d fleet.Decision, why string, host fleet.HostID, zone string, breach time.Time) {
	from, to := p.books.byHost[l.Owner], p.books.byHost[l.lease.Destination]
	terms := p.terms(l)
	terms.Advisory = true // as for a drain: the copy is there already
	obstacle := p.hopeless(l, to)
	switch {
	case obstacle != "" && d.Type != fleet.Requested:
	case host != "" && host != to.ID, zone != "" && zone != to.Zone:
		obstacle = fmt.Sprintf("its standby is on %s, which is not where it shall go", to.label())
	default:
		obstacle = p.misfit(l, from, to, terms)
	}
	if obstacle != "" {
		p.giveUp(d, l, fmt.Sprintf("%s; not before its standby has ended: %s", why, obstacle))
		return
	}
	if from == nil || from.Liveness != fleet.Alive {
		d.Reason = fmt.Sprintf("%s, but its host %s does not answer and cannot send it away: bring its agent back", why, p.books.label(l.Owner))
		p.record(d)
		return
	}
	if reason, frozen := p.frozen(l); frozen && d.Type != fleet.Requested {
		d.Reason = fmt.Sprintf("%s, but %s must stay for now: %s", why, l.ID, reason)
		p.record(d)
		return
	}
	d.To = to.ID
	p.promote(d, l, from, to, p.remaining(l, from, to), why, breach)
}

// hopeless says why a standby is of no use any more, whatever is predicted.
func (p *pass) hopeless(l *load, to *site) string {
	movable, why := l.Movable()
	switch {
	case automatic(l.lease.Type) && p.view.Policy.Standbys == 0:
		return "the policy allows no standbys any more"
	case automatic(l.lease.Type) && p.view.Policy.Automation != fleet.Auto:
		return fmt.Sprintf("automation is %s, so nothing would be moved", p.view.Policy.Automation)
	case !movable:
		return why
	case to.State != fleet.HostActive:
		return fmt.Sprintf("%s is %s", to.label(), to.State)
	case to.Liveness == fleet.Dead:
		return fmt.Sprintf("%s is dead", to.label())
	}
	return ""
}

// misfit says why the destination of a standby would not be chosen for it, "" if it
// might. The room that the standby holds there is its own.
func (p *pass) misfit(l *load, from, to *site, terms scorer.Terms) string {
	c := scorer.Candidate{Host: to.HostView, Incoming: to.incoming.Sub(l.Reservation)}
	p.surround(&c, l, to)
	if ok, why := scorer.Admits(l.Workload, c, terms); !ok {
		return why
	}
	if terms.Advisory {
		return ""
	}
	p.fillCandidate(&c, l, from, to, terms)
	if why := scorer.Warning(c, terms); why != "" {
		return why
	}
	return p.crowded(l, to, terms)
}

// remaining is what the move to a standby still takes: one refresh and what is written
// meanwhile, if the copy is complete.
func (p *pass) remaining(l *load, from, to *site) precopy.Prediction {
	s := copyOf(p.view, l.lease.ID)
	if s == nil {
		return p.predict(l, from, to)
	}
	down := s.Took + defaultCutover
	return precopy.Prediction{Duration: s.Took + down, Downtime: down, Converges: true}
}

// freshness describes the copy.
func (p *pass) freshness(l *load) string {
	if s := copyOf(p.view, l.lease.ID); s != nil {
		return "complete, brought up to date every " + durationText(s.Refresh)
	}
	return "not complete yet"
}
