package planner

import (
	"fmt"
	"strings"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// leaving is the load time that the workloads of a host need to leave it, one after
// the other.
func (p *pass) leaving(s *site) time.Duration {
	takes := time.Duration(0)
	for _, l := range s.members {
		if l.Owner == s.ID {
			takes += p.loadTime(p.predict(l, s, nil).Duration)
		}
	}
	return takes
}

// deadline is what a decision about a host that is emptied says of its deadline.
func (p *pass) deadline(s *site, leaveBy time.Time) string {
	switch {
	case !p.view.Now.Before(s.DrainBy):
		return fmt.Sprintf(", and was to be empty by %s", clockText(s.DrainBy))
	case p.view.Now.After(leaveBy):
		return fmt.Sprintf(", to be empty by %s, which is too early for all to be gone: they take %s", clockText(s.DrainBy), loadText(p.leaving(s)))
	}
	return fmt.Sprintf(", to be empty by %s", clockText(s.DrainBy))
}

// maxNamed bounds the workloads that are named in one sentence.
const maxNamed = 8

// overdue says of a host that missed its deadline what is left on it and why, from
// the decisions of this pass about its workloads. Nothing is forced.
func (p *pass) overdue(s *site, kind fleet.MigrationType, about []fleet.Decision) {
	if s.DrainBy.IsZero() || s.State == fleet.HostActive || p.view.Now.Before(s.DrainBy) || len(about) == 0 {
		return
	}
	var left []string
	for _, d := range about[:min(len(about), maxNamed)] {
		text := fmt.Sprintf("%s (%s)", d.Workload, reasonAlone(d.Reason))
		if d.Outcome == fleet.OutcomeMove {
			text = fmt.Sprintf("%s (it begins to leave now, for %s)", d.Workload, p.books.label(d.To))
		}
		left = append(left, text)
	}
	if more := len(about) - len(left); more > 0 {
		left = append(left, fmt.Sprintf("and %d more", more))
	}
	p.record(fleet.Decision{Outcome: fleet.OutcomeRefused, From: s.ID, Type: kind, LeaveBy: s.DrainBy,
		Reason: fmt.Sprintf("%s is %s and was to be empty by %s; %d workloads are left: %s; nothing is forced, and they go on leaving as they can: make room, "+
			"unpin or stop what cannot leave, or undrain the host", s.label(), s.State, clockText(s.DrainBy), len(about), strings.Join(left, ", "))})
}

// reasonAlone is a decision's reason without what all decisions about a drain begin
// with.
func reasonAlone(reason string) string {
	for _, cut := range []string{", but ", "; not now: "} {
		if _, after, ok := strings.Cut(reason, cut); ok {
			return after
		}
	}
	return reason
}
