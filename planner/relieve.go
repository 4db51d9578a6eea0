package planner

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/precopy"
	"github.com/placed-dev/placed/scorer"
)

// maxTried bounds how many candidates of one host are tried for a destination:
// they are in order of merit, and where the best eight find no room the others
// would relieve little.
const maxTried = 8

// relieve works through the contentions, the most urgent first. At most one
// workload leaves a host per pass: the next pass sees what it did.
func (p *pass) relieve(contentions []fleet.Contention, streaks []fleet.BreachStreak) {
	order := make([]int, len(contentions))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return urgency(contentions[a], contentions[b]) })
	relieved := map[fleet.HostID]bool{}
	for _, i := range order {
		c := contentions[i]
		s := p.books.byHost[c.Host]
		d := fleet.Decision{Outcome: fleet.OutcomeRefused, From: c.Host, Contention: &contentions[i], Type: fleet.Preemptive}
		if c.Now {
			d.Type = fleet.Threshold
		}
		what := p.books.contentionText(c, p.view.Policy)
		switch {
		case streaks[i].Passes < p.view.Policy.HoldPasses:
			d.Reason = fmt.Sprintf("%s; predicted for %s, a move needs all of them in a row (hold_passes)", what,
				streakText(streaks[i].Passes, p.view.Policy.HoldPasses))
			p.record(d)
		case p.noise(s, c, streaks[i]) != "":
			d.Reason = what + "; " + p.noise(s, c, streaks[i])
			p.record(d)
		case s.Liveness != fleet.Alive:
			d.Reason = fmt.Sprintf("%s; the host is %s and cannot send a workload away: bring its agent back", what, s.Liveness)
			p.record(d)
		case s.State == fleet.HostDraining || s.State == fleet.HostMaintenance:
			d.Reason = fmt.Sprintf("%s; the host is %s, so all of its workloads leave anyway", what, s.State)
			p.record(d)
		case p.emptied(c.Host) != "":
			d.Reason = what + "; " + p.emptied(c.Host)
			p.record(d)
		case relieved[c.Host]:
			d.Reason = what + "; a workload leaves this host already in this pass: the next one sees the effect"
			p.record(d)
		case p.standingOn(s) != nil:
			relieved[c.Host] = p.tend(p.standingOn(s), s, c, d, what)
		default:
			relieved[c.Host] = p.relieveOne(s, c, d, what)
		}
	}
}

// What may be noise must hold for longer, in passes of one tick each: two days
// within the headroom above the line, because what a host suffers from at every
// hour, twice, is no noise; an hour within twice the headroom, unless demand is
// foretold to rise to it: noise is foretold to pass.
const (
	patience      = int64(48 * time.Hour / fleet.Tick)
	shortPatience = int64(time.Hour / fleet.Tick)
)

// noise says why a shortage in use may be noise and is only watched, "" when it is
// to be acted upon. With stationary load near the line, usage and forecast cross it
// now and then by a few percent. The headroom measures that, since it is how far
// below the line a host stands that was relieved.
func (p *pass) noise(s *site, c fleet.Contention, streak fleet.BreachStreak) string {
	headroom := p.view.Policy.Headroom
	switch above := p.above(c); {
	case p.books.isBooked(c) || streak.Passes >= patience:
	case above < headroom && streak.Passes < patience:
		return fmt.Sprintf("that is less than %s (headroom) above the line and may be noise: it is watched for two days (%s)",
			scorer.Percent(headroom), streakText(streak.Passes, patience))
	case above < 2*headroom && streak.Clear < shortPatience && !p.rises(s, c):
		return fmt.Sprintf("that is less than %s (twice the headroom) above the line and may be noise: it is watched for an hour (%s)",
			scorer.Percent(2*headroom), streakText(streak.Clear, shortPatience))
	}
	return ""
}

// rises says whether the host's demand is foretold to grow by more than the
// headroom.
func (p *pass) rises(s *site, c fleet.Contention) bool {
	highest, u := 0.0, s.of(c.Resource)
	for _, step := range p.stepsOf(s, u.demand) {
		highest = max(highest, u.demand.Centre(step))
	}
	return (highest-u.current)*1000 >= float64(p.view.Policy.Headroom)*float64(c.Allocatable)
}

// above is how far above the line the demand is, in thousandths of the line.
func (p *pass) above(c fleet.Contention) int64 {
	if c.Allocatable <= 0 {
		return 1000
	}
	return int64(1000 * (c.Demand - float64(c.Allocatable)) / float64(c.Allocatable))
}

// relieveOne looks for the best workload that can leave in time and has a place
// to go. It records one decision, and reports whether something leaves.
func (p *pass) relieveOne(s *site, c fleet.Contention, d fleet.Decision, what string) bool {
	ranked, excluded := p.candidates(s, c)
	d.Exclusions = excluded
	verdict := ""               // why the best candidate stays
	var hosts []fleet.Exclusion // the hosts that refused it
	if len(ranked) == 0 {
		d.Reason = what + "; none of its workloads may leave: " + summary(excluded)
		p.record(d)
		return false
	}
	for i, r := range ranked {
		if i == maxTried {
			break
		}
		scores, refused := p.destinations(r.load, p.terms(r.load))
		why := ""
		var to *site
		var t timing
		if len(scores) == 0 {
			why = "no host has room for it: " + summary(refused)
		} else {
			to = p.books.byHost[scores[0].Host]
			t = p.timing(r.load, s, to, c)
			why = t.refusal
		}
		if why != "" {
			d.Exclusions = append(d.Exclusions, fleet.Exclusion{Workload: r.ID, Reason: why})
			if i == 0 {
				verdict = fmt.Sprintf("%s: %s", r.ID, why)
				hosts = refused
			}
			continue
		}
		d.Workload, d.To, d.Type, d.LeaveBy = r.ID, to.ID, t.kind, t.leaveBy
		d.CandidateScore, d.Scores = r.parts, scores
		for _, other := range ranked[i+1:] {
			why := fmt.Sprintf("%s relieves the host better: score %.3f against %.3f", r.ID, r.total, other.total)
			if other.total == r.total {
				why = fmt.Sprintf("%s relieves the host as well and comes first by id", r.ID)
			}
			d.Exclusions = append(d.Exclusions, fleet.Exclusion{Workload: other.ID, Reason: why})
		}
		d.Exclusions = append(d.Exclusions, refused...)
		d.Reason = fmt.Sprintf("%s; moving %s to %s removes %s of the shortage%s", what, r.ID, to.label(), percentText(r.removed), t.text)
		if p.mayWait(r.load, c, t) {
			return p.copyAhead(d, r.load, s, to, t, c.Breach)
		}
		return p.commit(d, r.load, s, to, t.cost, c.Breach)
	}
	for _, r := range ranked[min(maxTried, len(ranked)):] {
		d.Exclusions = append(d.Exclusions, fleet.Exclusion{Workload: r.ID, Reason: fmt.Sprintf("not tried: the best %d found no place", maxTried)})
	}
	d.Exclusions = append(d.Exclusions, hosts...)
	d.Workload = ranked[0].ID
	d.CandidateScore = ranked[0].parts
	d.Reason = fmt.Sprintf("%s; no move helps: %s", what, verdict)
	p.record(d)
	return false
}

// timing is when a move must begin, and what that makes of it.
type timing struct {
	cost    precopy.Prediction
	kind    fleet.MigrationType
	leaveBy time.Time
	refusal string
	text    string
}

// timing compares the predicted end of the move with the breach.
//
//	leave-by = breach − predicted duration × time scale − margin
//
// In time, the move is preemptive. Too late, it is refused, with two exceptions
// in which late relief is still better than none and the type is threshold: the
// host is contended already, or the breach is expected to last beyond the end of
// the move to the end of the horizon.
func (p *pass) timing(l *load, from, to *site, c fleet.Contention) timing {
	t := timing{cost: p.predict(l, from, to), kind: fleet.Threshold}
	took := p.loadTime(t.cost.Duration)
	if c.Now {
		t.text = fmt.Sprintf("; it takes %s", durationText(t.cost.Duration))
		return t
	}
	t.leaveBy = c.Breach.Add(-took - p.view.Policy.Margin)
	if !p.view.Now.After(t.leaveBy) {
		t.kind = fleet.Preemptive
		t.text = fmt.Sprintf("; it takes %s and must leave by %s", durationText(t.cost.Duration), clockText(t.leaveBy))
		return t
	}
	late := fmt.Sprintf("too late: it takes %s (%s of load time) and would have had to leave by %s", durationText(t.cost.Duration),
		loadText(took), clockText(t.leaveBy))
	if !p.lasts(from, c, p.view.Now.Add(took)) {
		t.refusal = late
		return t
	}
	t.text = "; " + late + ", but the shortage is expected to last"
	return t
}

// lasts says whether the breach is still there at the end of the horizon, and
// the move done by then.
func (p *pass) lasts(s *site, c fleet.Contention, done time.Time) bool {
	demand := s.of(c.Resource).demand
	steps := p.stepsOf(s, demand)
	if len(steps) == 0 {
		return false
	}
	last := steps[len(steps)-1]
	end := fleet.TickStart(demand.Tick() + int64(last))
	return !done.After(end) && demand.Quantile(last, quantile(p.view.Policy)) > float64(c.Allocatable)
}

// loadTime is how much load time passes during a machine duration.
func (p *pass) loadTime(d time.Duration) time.Duration {
	scale := p.view.TimeScale
	if scale <= 0 {
		scale = 1
	}
	scaled := float64(d) * scale
	const longest = 100 * 365 * 24 * time.Hour // a hopeless move must not wrap round
	if scaled > float64(longest) {
		return longest
	}
	return time.Duration(scaled)
}

// commit turns a decision into a move if the bounds and the automation allow it,
// and records it either way. It reports whether the workload counts as leaving:
// what is only observed counts too, so that a pass that may not act explains the
// same moves as one that may.
func (p *pass) commit(d fleet.Decision, l *load, from, to *site, cost precopy.Prediction, breach time.Time) bool {
	if why := p.bounds.spent(d.Type); why != "" {
		d.Outcome, d.Reason = fleet.OutcomeRefused, d.Reason+"; not now: "+why
		p.record(d)
		return false
	}
	p.bounds.take(from.ID, to.ID)
	p.books.shift(l, from, to)
	p.around.shift(l, to)
	d.Outcome, d.Reason = p.allowed(d, from)
	recorded := p.record(d)
	if d.Outcome == fleet.OutcomeMove {
		p.plan.Moves = append(p.plan.Moves, move(recorded, l, cost, breach))
	}
	return true
}

// move is what a decision asks for.
func move(d *fleet.Decision, l *load, cost precopy.Prediction, breach time.Time) fleet.Move {
	return fleet.Move{
		Workload: l.ID, From: d.From, To: d.To, Type: d.Type, Reservation: l.Reservation,
		Decision: d.ID, Reason: d.Reason,
		PredictedDuration: cost.Duration, PredictedDowntime: cost.Downtime,
		Breach: breach, LeaveBy: d.LeaveBy,
	}
}

// allowed says what becomes of a decision that the bounds allow: pause and automation
// may leave it at an explanation.
func (p *pass) allowed(d fleet.Decision, from *site) (fleet.Outcome, string) {
	switch {
	case p.view.Policy.Paused:
		return fleet.OutcomeObserve, d.Reason + "; the fleet is paused: resume it to let this happen"
	case p.automatic(d.Type, from.ID) && p.view.Policy.Automation == fleet.Observe:
		return fleet.OutcomeObserve, d.Reason + "; automation is observe, so nothing is moved"
	case p.automatic(d.Type, from.ID) && p.view.Policy.Automation == fleet.Recommend:
		return fleet.OutcomeObserve, d.Reason + "; automation is recommend: apply it to let it happen"
	}
	return fleet.OutcomeMove, d.Reason
}

// summary names the most frequent reasons of a list, for a sentence.
func summary(excluded []fleet.Exclusion) string {
	if len(excluded) == 0 {
		return "there is none"
	}
	count := map[string]int{}
	var reasons []string
	for _, e := range excluded {
		if count[e.Reason] == 0 {
			reasons = append(reasons, e.Reason)
		}
		count[e.Reason]++
	}
	slices.SortFunc(reasons, func(a, b string) int { return cmp.Or(cmp.Compare(count[b], count[a]), cmp.Compare(a, b)) })
	text := ""
	for i, reason := range reasons {
		if i == 3 {
			return text + fmt.Sprintf(", and %d more reasons", len(reasons)-i)
		}
		if i > 0 {
			text += ", "
		}
		text += reason
		if count[reason] > 1 {
			text += fmt.Sprintf(" (×%d)", count[reason])
		}
	}
	return text
}
