package daemon

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/controller"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
)

// sight is what an agent can show of the fleet: the books from its own replica,
// what is observed from the reports it hears, and the leader's newest plan.
type sight struct {
	d *Daemon

	mu                sync.Mutex // guards all below
	plan              planAnswer
	fetched, borrowed time.Time // plan, what hosts can run
}

// planFresh is how long a plan fetched from the leader serves requests: several
// people looking at one page must not ask the leader several times a pass.
const planFresh = 500 * time.Millisecond

// view joins books and observation as a pass would see them.
func (s *sight) view() fleet.View {
	view := s.d.books.View()
	now := time.Now()
	view.Now = s.d.clock.At(now)
	view.TimeScale = max(s.d.clock.Scale, 1)
	liveness := s.d.liveness()
	for i := range view.Hosts {
		l, known := liveness[view.Hosts[i].ID]
		if !known {
			l = fleet.Dead
		}
		view.Hosts[i].Liveness = l
	}
	s.d.reports.Fill(&view, now, s.d.cfg.staleAfter())
	return view
}

// leaderPlan returns the newest plan, from this host when it leads, else from the
// leader. When the leader cannot be asked it returns the last one it had.
func (s *sight) leaderPlan(ctx context.Context) (planAnswer, error) {
	here, err := s.d.planHere()
	if err == nil {
		return here, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.fetched) < planFresh {
		return s.plan, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	var q planQuestion
	if s.d.node != nil {
		q.Have = s.plan.Plan.Pass
	}
	answer, err := callLeader[planQuestion, planAnswer](ctx, s.d.books, callPlan, q)
	if err != nil {
		if s.plan.Plan.Pass != "" {
			return s.plan, nil
		}
		return planAnswer{}, err
	}
	s.fetched = time.Now()
	if answer.Same {
		return s.plan, nil
	}
	s.plan = answer
	if s.d.node == nil {
		// A host without the log hears no reports: it borrows the leader's.
		for _, r := range answer.Reports {
			s.d.reports.Add(r.Report, time.Now().Add(-time.Duration(r.AgeMS)*time.Millisecond))
		}
	}
	return answer, nil
}

// refresh makes the observed part of a view current on a host that hears no
// reports itself. When the leader cannot be asked, what is known is shown.
func (s *sight) refresh(ctx context.Context) {
	if s.d.node != nil {
		return
	}
	if _, err := s.leaderPlan(ctx); err != nil {
		s.d.log.Debug("the leader's reports cannot be fetched", "error", err)
	}
}

// planHere succeeds on the leader.
func (d *Daemon) planHere() (planAnswer, error) {
	plan, ok := d.controller.Latest()
	if !ok {
		return planAnswer{}, controller.ErrNotLeader
	}
	answer := planAnswer{Plan: plan, Demand: map[fleet.HostID][]demandPoint{}, Ahead: map[fleet.HostID][]api.ContentionAhead{}}
	var hosts []fleet.Host
	d.replica.Read(func(s *fsm.State) { hosts = s.Hosts() })
	for _, h := range hosts {
		ticks, values := d.reports.HostDemand(h.ID)
		points := make([]demandPoint, len(ticks))
		for i := range ticks {
			points[i] = demandPoint{Tick: ticks[i], Value: values[i]}
		}
		answer.Demand[h.ID] = points
		if ahead := warningsOf(d.warnings, h.ID); ahead != nil {
			answer.Ahead[h.ID] = ahead
		}
		report, received, ok := d.reports.Newest(h.ID)
		if !ok {
			continue
		}
		report.Workloads = slices.Clone(report.Workloads)
		for i := range report.Workloads {
			report.Workloads[i].Series = nil
		}
		answer.Reports = append(answer.Reports, hostReport{Report: report, AgeMS: time.Since(received).Milliseconds()})
	}
	return answer, nil
}

// liveness is what gossip says, with this host itself alive.
func (d *Daemon) liveness() map[fleet.HostID]fleet.Liveness {
	out := map[fleet.HostID]fleet.Liveness{}
	for _, m := range d.gossip.Members() {
		out[m.ID] = m.State
	}
	out[d.self] = fleet.Alive
	return out
}

// owned groups the workloads of a view by their owner, sorted.
func owned(view fleet.View) map[fleet.HostID][]string {
	out := map[fleet.HostID][]string{}
	for _, w := range view.Workloads {
		out[w.Owner] = append(out[w.Owner], string(w.ID))
	}
	for id := range maps.Keys(out) {
		slices.Sort(out[id])
	}
	return out
}
