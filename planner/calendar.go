package planner

import (
	"fmt"
	"slices"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/predictor"
)

// calendarReach is how far around now a pass looks into the calendar: back to the
// tick that the oldest usable report ends with, ahead as far as it forecasts.
const calendarReach = predictor.Steps * fleet.Tick

// calendarOf narrows the calendar once to what the pass can meet: it is asked for
// every workload, host and step.
func calendarOf(view fleet.View) predictor.Calendar {
	if len(view.Calendar) == 0 {
		return predictor.Calendar{}
	}
	return predictor.NewCalendar(view.Calendar).Within(view.Now.Add(-calendarReach), view.Now.Add(2*calendarReach))
}

// bend lets known events change the forecast of a workload.
func (b *books) bend(l *load) {
	owner := fleet.Host{ID: l.Owner}
	if s := b.byHost[l.Owner]; s != nil {
		owner = s.Host
	}
	l.block = b.calendar.Bend(l.block, l.Workload, owner, fleet.CPU)
}

// closed says that the calendar lets nothing go to a host now. Like a pin, that
// does not bind what an operator requests.
func (s *surroundings) closed(to fleet.Host) (string, bool) {
	for _, e := range s.noMoves {
		if e.OnHost(to) {
			return fmt.Sprintf("the calendar forbids moves there until %s: %s", clockText(e.Until), e), true
		}
	}
	return "", false
}

// requested says whether an operator asked for a move of the workload.
func (p *pass) requested(id fleet.WorkloadID) bool {
	return slices.ContainsFunc(p.view.Requests, func(r fleet.Request) bool { return r.Workload == id })
}
