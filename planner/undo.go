package planner

import (
	"fmt"

	"github.com/placed-dev/placed/fleet"
)

// undo takes back the adjustments whose reason is gone, whatever the automation says
// now: they are the pass's own doing.
func (p *pass) undo() {
	for _, a := range p.view.Adjustments {
		l := p.books.byID[a.Workload]
		if l == nil || a.State == fleet.AdjustmentEnding {
			continue
		}
		why := p.over(a, l)
		if why == "" {
			continue
		}
		d := fleet.Decision{Outcome: fleet.OutcomeUndo, Workload: a.Workload, From: l.Owner, To: l.Owner, Type: fleet.Preemptive,
			Reason: fmt.Sprintf("%s of %s goes back from %s to %s: %s", a.Kind, a.Workload, a.Kind.Amount(a.Want), a.Kind.Amount(a.Before), why)}
		if obstacle := p.stuck(a, l); obstacle != "" {
			d.Outcome, d.Reason = fleet.OutcomeRefused, d.Reason+"; not now: "+obstacle
			p.record(d)
			continue
		}
		p.record(d)
		p.plan.Undo = append(p.plan.Undo, fleet.AdjustmentEnd{Workload: a.Workload, Kind: a.Kind, Reason: why})
		if given := -a.Change.Memory; given > 0 {
			s := p.books.byHost[l.Owner]
			s.incoming = s.incoming.Add(fleet.Vector{Memory: given}) // what the books will hold
		}
	}
}

// over says why an adjustment is to be taken back, "" while it stands.
func (p *pass) over(a fleet.Adjustment, l *load) string {
	age := p.view.Now.Sub(a.Since)
	s := p.books.byHost[l.Owner]
	switch {
	case a.State == fleet.AdjustmentFailed:
		if age < failedTime {
			return ""
		}
		return "it failed and may be tried again"
	case !p.view.Policy.InPlace.Allows(a.Kind):
		return "the policy no longer lets it be changed in place"
	case s == nil:
		return ""
	case l.Owner != a.Host && !a.Kind.Travels():
		return fmt.Sprintf("it was changed for %s, and the workload has moved to %s", p.books.label(a.Host), s.label())
	case a.State != fleet.AdjustmentApplied || age < standTime:
		return ""
	}
	limit, declared := p.terms(l).Limit(s.Host)
	switch a.Kind {
	case fleet.CPUWeight:
		worst := s.current
		for _, step := range p.steps(s) {
			worst = max(worst, s.demand.Quantile(step, float64(p.strictQuantile())/1000))
		}
		if declared && worst <= limit {
			return fmt.Sprintf("%s is expected to need %s at most, and has %s with its headroom", s.label(), cores(worst), cores(limit))
		}
	case fleet.CPUQuota, fleet.VCPUs:
		if old := float64(millicores(a.Kind, a.Before)); p.wants(l) <= easedAt*old {
			return fmt.Sprintf("it is expected to use %s, less than %s of its old limit", cores(p.wants(l)), percentText(easedAt))
		}
	case fleet.Balloon:
		allocatable := s.Allocatable().Memory
		keep := int64(float64(known(allocatable)) * float64(p.view.Policy.Headroom) / 1000)
		if free := s.Free().Sub(s.incoming).Memory; allocatable != fleet.Unknown && free-(a.Before-a.Want) >= keep {
			return fmt.Sprintf("%s has %s free", s.label(), fleet.FormatAmount(fleet.Memory, free))
		}
	}
	return ""
}

// stuck says why an adjustment cannot be taken back at present.
func (p *pass) stuck(a fleet.Adjustment, l *load) string {
	if l.lease != nil && a.Kind.Travels() && a.State != fleet.AdjustmentFailed {
		return fmt.Sprintf("lease %s (%s) holds it", l.lease.ID, l.lease.State)
	}
	given := -a.Change.Memory
	s := p.books.byHost[l.Owner]
	if given <= 0 || s == nil {
		return ""
	}
	if free := s.Free().Sub(s.incoming).Memory; free != fleet.Unknown && free < given {
		return fmt.Sprintf("the guest gave %s, and %s has %s free: it gets it back when there is room", fleet.FormatAmount(fleet.Memory, given), s.label(), fleet.FormatAmount(fleet.Memory, max(free, 0)))
	}
	return ""
}
