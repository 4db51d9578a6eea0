package planner

import (
	"fmt"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/predictor"
)

// WhyNot answers why a workload is not on a host, or not moved to it, from a
// view alone: everything that stands in the way, or, if nothing does, how the
// host compares with the others and why no pass sends the workload there. The
// decision is no part of a plan and has no id.
func WhyNot(view fleet.View, model predictor.Model, workload fleet.WorkloadID, host fleet.HostID) fleet.Decision {
	p := newPass(view, model, nil)
	d := fleet.Decision{
		Pass: p.plan.Pass, At: view.Now, Outcome: fleet.OutcomeRefused,
		Workload: workload, To: host, Type: fleet.Requested, InputHash: InputHash(view),
	}
	l, to := p.books.byID[workload], p.books.byHost[host]
	switch {
	case l == nil:
		d.Reason = fmt.Sprintf("the books know no workload %s", workload)
		return d
	case to == nil:
		d.From = l.Owner
		d.Reason = fmt.Sprintf("the books know no host %s", host)
		return d
	}
	d.From = l.Owner
	if ok, why := p.mayMove(l); !ok {
		d.Exclusions = append(d.Exclusions, fleet.Exclusion{Workload: workload, Reason: why})
	}
	scores, excluded := p.destinations(l, p.terms(l))
	d.Scores = scores
	for _, e := range excluded {
		if e.Host == host {
			d.Exclusions = append(d.Exclusions, e)
		}
	}
	if len(d.Exclusions) > 0 {
		d.Reason = fmt.Sprintf("%s cannot go to %s: %s", workload, to.label(), summary(d.Exclusions))
		return d
	}
	d.Outcome = fleet.OutcomeNone
	for i, s := range scores {
		if s.Host == host {
			d.Reason = fmt.Sprintf("%s could go to %s (place %d of %d, score %.3f); %s", workload, to.label(), i+1, len(scores), s.Total, p.idle(l))
		}
	}
	return d
}

// idle says why nothing drives the workload away from where it is.
func (p *pass) idle(l *load) string {
	if ok, why := p.mayLeave(l); !ok {
		return "no pass moves it: " + why
	}
	for _, c := range p.contentions() {
		if c.Host == l.Owner {
			return "its host is contended (" + p.books.contentionText(c, p.view.Policy) + "): see the decisions of the last pass"
		}
	}
	if all, _ := p.crossed(); len(all[l]) > 0 {
		return all[l][0].text(l) + ": see the decisions of the last pass"
	}
	return "no pass moves it, because no contention is predicted where it is"
}
