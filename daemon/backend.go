package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/consensus"
	"github.com/placed-dev/placed/controller"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/httpapi"
)

// backend answers the HTTP API from this agent's sight of the fleet.
type backend struct{ d *Daemon }

var _ httpapi.Backend = backend{}

// Meta never blocks.
func (b backend) Meta() api.Meta {
	_, _, contact, known := b.d.leadership()
	return api.Meta{Index: b.d.replica.Applied(), KnownLeader: known, LastContact: contact}
}

// Sync is a linearizable read barrier.
func (b backend) Sync(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return asHTTP(b.d.books.linearizable(ctx))
}

func (b backend) Wait(ctx context.Context, index uint64) error {
	return b.d.replica.WaitApplied(ctx, index+1)
}

// asHTTP sorts an error for the handlers.
func asHTTP(err error) error {
	var notLeader *consensus.ErrNotLeader
	var refusal *fsm.Refusal
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refusal):
		if errors.Is(refusal, fsm.ErrNotFound) {
			return fmt.Errorf("%w: %w", httpapi.ErrNotFound, err)
		}
		return fmt.Errorf("%w: %w", httpapi.ErrConflict, err)
	case errors.As(err, &notLeader), errors.Is(err, consensus.ErrBusy), errors.Is(err, errOutcomeUnknown), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: %w", httpapi.ErrNoLeader, err)
	case !certainlyNotApplied(err):
		return err
	}
	return fmt.Errorf("%w: %w", httpapi.ErrNoLeader, err)
}

func (b backend) Status(ctx context.Context) (api.Status, error) {
	b.d.sight.refresh(ctx)
	view := b.d.sight.view()
	leader, term, _, known := b.d.leadership()
	s := api.Status{
		Cluster: view.Cluster, Host: b.d.ref(b.d.self), Term: term, Index: view.Index,
		Time: time.Now(), LoadTime: view.Now, TimeScale: view.TimeScale,
		Automation: view.Policy.Automation.String(), Paused: view.Policy.Paused,
		Hosts: len(view.Hosts), Workloads: len(view.Workloads), Version: b.d.cfg.Version, Problems: []api.Problem{},
	}
	if known {
		ref := b.d.ref(leader)
		s.Leader = &ref
	}
	for _, h := range view.Hosts {
		alive := h.Liveness == fleet.Alive
		if alive {
			s.HostsAlive++
		}
		if h.Overbooked {
			s.HostsOverbooked++
		}
		if h.Voter {
			s.Voters++
			if alive {
				s.VotersAlive++
			}
		}
	}
	if plan, err := b.d.sight.leaderPlan(ctx); err == nil {
		s.Contentions = len(plan.Plan.Contentions)
	}
	b.d.replica.Read(func(state *fsm.State) {
		for _, l := range state.Migrations() {
			switch {
			case l.State == fleet.Aborted: // its copy is still to be discarded
			case l.Kind == fleet.LeaseStandby:
				s.StandbysActive++
			default:
				s.MigrationsActive++
			}
		}
		s.MigrationsTotal, s.MigrationsFailed = state.Ended()
	})
	s.Problems = append(s.Problems, b.problems(view, known)...)
	for _, p := range s.Problems {
		if p.Code == "drain_overdue" {
			s.DrainsOverdue++
		}
	}
	for _, a := range view.Adjustments {
		if a.State == fleet.AdjustmentFailed {
			s.AdjustmentsFailed++
		} else {
			s.Adjustments++
		}
	}
	rules, broken := b.brokenRules()
	s.Rules, s.RulesBroken = rules, len(broken)
	s.Problems = append(s.Problems, broken...)
	s.CalendarSources, s.CalendarNow = b.calendarNow(view.Now)
	s.Healthy = len(s.Problems) == 0
	return s, nil
}

// problems lists what an operator should look at, the worst first.
func (b backend) problems(view fleet.View, leader bool) []api.Problem {
	var out []api.Problem
	if !leader {
		out = append(out, api.Problem{Code: "no_leader", Message: "the cluster has no leader: nothing is planned and no lease is granted",
			Hint: "bring a majority of the voters back; workloads are not affected"})
	}
	out = append(out, b.d.quorumProblems()...)
	workloads := owned(view)
	for _, h := range view.Hosts {
		if h.State == fleet.HostLeft {
			continue
		}
		switch h.Liveness {
		case fleet.Dead, fleet.Suspect:
			out = append(out, api.Problem{Code: "host_" + h.Liveness.String(), Host: string(h.ID), Message: fmt.Sprintf("the agent of %s is %s", h.Name, h.Liveness),
				Hint: "its workloads run on; start `placed agent` there again"})
		case fleet.Stale:
			out = append(out, api.Problem{Code: "host_stale", Host: string(h.ID), Message: fmt.Sprintf("%s does not report its load", h.Name), Hint: "see its agent's log"})
		}
		if h.Overbooked {
			out = append(out, b.overbooked(h)...)
		}
		if n := len(workloads[h.ID]); h.State != fleet.HostActive && overdue(h, drainOf(h, workloads[h.ID], view.Leases), view.Now) {
			out = append(out, api.Problem{Code: "drain_overdue", Host: string(h.ID), Message: fmt.Sprintf("%s was to be empty by %s and has %d workloads left",
				h.Name, h.DrainBy.UTC().Format("15:04:05"), n), Hint: "`placed why WORKLOAD` says of each why it stays; nothing is forced"})
		}
	}
	out = append(out, b.absent(view)...)
	for _, l := range view.Leases {
		if l.State == fleet.Uncertain {
			out = append(out, api.Problem{Code: "lease_uncertain", Workload: string(l.Workload), Message: fmt.Sprintf("nobody knows how lease %s of %s ended", l.ID, l.Workload),
				Hint: "bring both hosts back, or resolve the lease by hand"})
		}
	}
	return out
}

// overbooked says in words how reality exceeds the books of a host.
func (b backend) overbooked(h fleet.HostView) []api.Problem {
	why, verified := "", false
	b.d.replica.Read(func(s *fsm.State) {
		_, why = s.Overbooked(h.ID)
		verified = s.Verified(h.ID)
	})
	switch {
	case why == "" && verified:
		return nil // over since the view was made
	case why == "":
		return []api.Problem{{Code: "unverified", Host: string(h.ID), Message: fmt.Sprintf("%s has not said what it runs since the books were restored", h.Name),
			Hint: "start `placed agent` there; until then nothing is granted toward it"}}
	}
	return []api.Problem{{Code: "overbooked", Host: string(h.ID), Message: fmt.Sprintf("%s is overbooked: %s", h.Name, why),
		Hint: "drain it, or give it back what it lacks; nothing is granted toward it"}}
}

// absent lists workloads that their owner, alive and reporting, does not run.
// Around a move the report lags behind the books, so leased ones are left out.
func (b backend) absent(view fleet.View) (out []api.Problem) {
	leased := map[fleet.WorkloadID]bool{}
	for _, l := range view.Leases {
		leased[l.Workload] = true
	}
	for _, w := range view.Workloads {
		report, received, ok := b.d.reports.Newest(w.Owner)
		if !ok || leased[w.ID] || w.ManagedBy != "" || time.Since(received) > b.d.cfg.staleAfter() {
			continue
		}
		if !slices.ContainsFunc(report.Workloads, func(r controller.WorkloadReport) bool { return r.ID == w.ID }) {
			out = append(out, api.Problem{Code: "workload_absent", Workload: string(w.ID), Host: string(w.Owner),
				Message: fmt.Sprintf("%s does not run on %s, which owns it", w.ID, b.d.ref(w.Owner).Name),
				Hint:    "see that host's agent log; what is left of its state lies under its data directory"})
		}
	}
	return out
}

func (b backend) Health(context.Context) api.Health {
	_, _, _, known := b.d.leadership()
	h := api.Health{Alive: true, Ready: known && b.d.replica.Applied() > 0, Host: b.d.ref(b.d.self), Version: b.d.cfg.Version, Problems: []api.Problem{}}
	if !known {
		h.Problems = append(h.Problems, api.Problem{Code: "no_leader", Message: "this agent knows no leader"})
	}
	return h
}

func (b backend) Hosts(ctx context.Context) ([]api.Host, error) {
	b.d.sight.refresh(ctx)
	view := b.d.sight.view()
	leader, _, _, _ := b.d.leadership()
	workloads := owned(view)
	out := make([]api.Host, 0, len(view.Hosts))
	for _, h := range view.Hosts {
		host := httpapi.HostOf(h, h.ID == leader, workloads[h.ID])
		if report, _, ok := b.d.reports.Newest(h.ID); ok {
			host.ContendedS = report.Contended
		}
		if h.State == fleet.HostDraining || h.State == fleet.HostMaintenance {
			host.Drain = drainOf(h, workloads[h.ID], view.Leases)
			host.DrainBy, host.DrainOverdue = h.DrainBy, overdue(h, host.Drain, view.Now)
		}
		out = append(out, host)
	}
	return out, nil
}

// overdue says that a host that is emptied has missed its deadline.
func overdue(h fleet.HostView, drain string, now time.Time) bool {
	return !h.DrainBy.IsZero() && now.After(h.DrainBy) && drain != "drained"
}

// drainOf: drained only by the host's own fresh report, newer than every move.
func drainOf(h fleet.HostView, workloads []string, leases []fleet.Lease) string {
	switch {
	case h.Liveness != fleet.Alive:
		return "drain-unknown"
	case len(workloads) > 0 || slices.ContainsFunc(leases, func(l fleet.Lease) bool { return l.Source == h.ID }):
		return "draining"
	}
	return "drained"
}

func (b backend) Workloads(ctx context.Context) ([]api.Workload, error) {
	b.d.sight.refresh(ctx)
	view := b.d.sight.view()
	leases := map[fleet.WorkloadID]fleet.LeaseID{}
	for _, l := range view.Leases {
		leases[l.Workload] = l.ID
	}
	out := make([]api.Workload, 0, len(view.Workloads))
	for _, w := range view.Workloads {
		out = append(out, httpapi.WorkloadOf(w, leases[w.ID]))
	}
	return out, nil
}

func (b backend) Leases(context.Context) ([]api.Lease, error) {
	out := []api.Lease{}
	b.d.replica.Read(func(s *fsm.State) {
		for _, l := range s.AllLeases() {
			out = append(out, httpapi.LeaseOf(l))
		}
	})
	return out, nil
}

func (b backend) Migrations(ctx context.Context, limit int) ([]api.Migration, error) {
	b.d.sight.refresh(ctx)
	return b.migrations("", limit), nil
}

// migrations joins what the books know of every move with what its source says.
func (b backend) migrations(workload fleet.WorkloadID, limit int) []api.Migration {
	progress := map[fleet.LeaseID]fleet.Progress{}
	for _, p := range b.d.reports.Migrations() {
		progress[p.Lease] = p
	}
	for _, p := range b.d.migrator.Progress() { // this host's own are newest
		if p.Source == b.d.self {
			progress[p.Lease] = p
		}
	}
	var out []api.Migration
	now := time.Now()
	b.d.replica.Read(func(s *fsm.State) {
		seen := map[fleet.LeaseID]bool{}
		for _, l := range s.AllLeases() {
			if l.Kind == fleet.LeaseStandby && !l.Active() {
				continue // it came to nothing and cost nobody a moment
			}
			if l.Kind == fleet.LeasePlacement || workload != "" && l.Workload != workload {
				continue
			}
			seen[l.ID] = true
			p, known := progress[l.ID]
			if !known {
				p = fleet.Progress{Lease: l.ID, Workload: l.Workload, Source: l.Source, Destination: l.Destination, Type: l.Type, Started: l.GrantedAt}
			}
			outcome, recorded := s.Outcome(l.ID)
			out = append(out, joinMigration(s, l, p, outcome, recorded, now))
		}
		for _, o := range s.Outcomes() {
			if !seen[o.Lease] && (workload == "" || o.Workload == workload) {
				l := fleet.Lease{ID: o.Lease, Kind: fleet.LeaseMigration, Workload: o.Workload, Source: o.Source, Destination: o.Destination,
					Type: o.Type, State: o.State, Decision: o.Decision, Reason: o.Reason}
				out = append(out, joinMigration(s, l, fleet.Progress{Lease: o.Lease, Workload: o.Workload, Source: o.Source, Destination: o.Destination, Type: o.Type}, o, true, now))
			}
		}
	})
	slices.SortStableFunc(out, func(x, y api.Migration) int { return y.Started.Compare(x.Started) })
	if limit > 0 && len(out) > limit {
		out = out[:limit]
	}
	return out
}

func joinMigration(s *fsm.State, l fleet.Lease, p fleet.Progress, o fsm.MigrationOutcome, recorded bool, now time.Time) api.Migration {
	if p.Phase == "" || l.State == fleet.Released || l.State == fleet.Aborted {
		p.Phase = phaseOf(l.State)
	}
	if p.Ended.IsZero() && !l.Active() && recorded {
		p.Ended = p.Started.Add(o.Duration)
	}
	m := httpapi.MigrationOf(p, now)
	m.Reason, m.Decision = l.Reason, l.Decision
	if m.TotalBytes == 0 {
		m.TotalBytes = l.Reservation.Memory // the state is what it reserves
	}
	if d, ok := s.Decision(l.Decision); ok {
		m.LeaveBy = d.LeaveBy
		if d.Contention != nil {
			m.PredictedBreach = d.Contention.Breach
		}
	}
	if !recorded {
		return m
	}
	m.Tracker, m.Bytes = cmp.Or(o.Tracker, m.Tracker), cmp.Or(o.Wire, m.Bytes)
	m.RoundCount = max(int(o.Rounds), m.RoundCount)
	m.CommittedIndex, m.ContentionCame, m.Error = o.CommittedIndex, o.ContentionCame, o.Error
	m.DurationMS = float64(o.Duration) / float64(time.Millisecond)
	m.DowntimeMS = float64(o.Downtime) / float64(time.Millisecond)
	if !o.Breach.IsZero() {
		m.PredictedBreach = o.Breach
		if o.CommittedIndex > 0 {
			lead := o.LeadTime.Seconds()
			m.LeadTimeS = &lead
		}
	}
	return m
}

// phaseOf shows the lease's state as a phase when its source says nothing.
func phaseOf(s fleet.LeaseState) fleet.MigrationPhase {
	switch s {
	case fleet.Granted:
		return fleet.PhaseOffered
	case fleet.Transferring, fleet.Uncertain:
		return fleet.PhaseCopying
	case fleet.Prepared:
		return fleet.PhasePrepared
	case fleet.Committed:
		return fleet.PhaseCommitted
	case fleet.Activated:
		return fleet.PhaseActivated
	case fleet.Released:
		return fleet.PhaseDone
	}
	return fleet.PhaseAborted
}

func (b backend) Decisions(_ context.Context, workload string, limit int) ([]api.Decision, error) {
	return b.decisions(fleet.WorkloadID(workload), limit), nil
}

func (b backend) decisions(workload fleet.WorkloadID, limit int) []api.Decision {
	out := []api.Decision{}
	b.d.replica.Read(func(s *fsm.State) {
		for _, d := range s.Decisions(0) {
			if workload == "" || d.Workload == workload {
				out = append(out, httpapi.DecisionOf(d))
			}
		}
	})
	slices.SortStableFunc(out, func(x, y api.Decision) int { return y.At.Compare(x.At) })
	if limit > 0 && len(out) > limit {
		out = out[:limit]
	}
	return out
}

func (b backend) Forecasts(ctx context.Context, host string) ([]api.HostForecast, error) {
	answer, err := b.d.sight.leaderPlan(ctx)
	if err != nil {
		return nil, asHTTP(err)
	}
	hosts := map[string]fleet.Host{}
	var quantile float64
	b.d.replica.Read(func(s *fsm.State) {
		for _, h := range s.Hosts() {
			hosts[string(h.ID)] = h
		}
		quantile = float64(s.Policy().Quantile) / 1000
	})
	leaveBy := map[string]time.Time{}
	for _, d := range answer.Plan.Decisions {
		if d.Contention != nil && !d.LeaveBy.IsZero() {
			leaveBy[string(d.Contention.Host)+"/"+string(d.Contention.Resource)] = d.LeaveBy
		}
	}
	out := []api.HostForecast{}
	for _, f := range answer.Plan.Forecasts {
		h, ok := hosts[f.Of]
		if !ok || host != "" && host != f.Of {
			continue
		}
		shown := httpapi.ForecastOf(f, h.OfUse().Allocatable().Get(f.Resource), quantile)
		shown.Effects = b.effects(f, h)
		if f.Resource == fleet.CPU {
			shown.Ahead = answer.Ahead[h.ID]
			shown.History = []api.Point{}
			for _, p := range answer.Demand[h.ID] {
				shown.History = append(shown.History, api.Point{T: fleet.TickStart(p.Tick), V: p.Value / 1000})
			}
		} else {
			ticks, amounts := b.d.reports.HostUse(h.ID, f.Resource)
			for i, tick := range ticks {
				shown.History = append(shown.History, api.Point{T: fleet.TickStart(tick), V: httpapi.AmountOf(f.Resource, amounts[i])})
			}
		}
		for i := range answer.Plan.Contentions {
			if c := &answer.Plan.Contentions[i]; string(c.Host) == f.Of && c.Resource == f.Resource {
				shown.Contention, shown.LeaveBy = httpapi.ContentionOf(c), leaveBy[f.Of+"/"+string(f.Resource)]
			}
		}
		out = append(out, shown)
	}
	return out, nil
}

func (b backend) Why(ctx context.Context, workload string) (api.Why, error) {
	b.d.sight.refresh(ctx)
	view := b.d.sight.view()
	id := fleet.WorkloadID(workload)
	i := slices.IndexFunc(view.Workloads, func(w fleet.WorkloadView) bool { return w.ID == id })
	if i < 0 {
		return api.Why{}, httpapi.WithHint(fmt.Errorf("workload %s: %w", workload, httpapi.ErrNotFound), "`placed instance list` shows the workloads")
	}
	w := view.Workloads[i]
	answer := api.Why{Migrations: b.migrations(id, 8), Decisions: b.decisions(id, 8)}
	leaseID := fleet.LeaseID("")
	for _, l := range view.Leases {
		if l.Workload == id {
			shown := httpapi.LeaseOf(l)
			answer.Lease, leaseID = &shown, l.ID
		}
	}
	answer.Workload = httpapi.WorkloadOf(w, leaseID)
	answer.Forecasts = []api.WorkloadForecast{}
	if seen, err := b.d.foresight(ctx, foresightRequest{Workload: id}); err == nil && seen.Forecasts != nil {
		answer.Forecasts = seen.Forecasts // without them the rest is still worth showing
	}
	b.d.replica.Read(func(s *fsm.State) { answer.Category = categoryOf(s, id) })
	owner := b.d.ref(w.Owner).Name
	switch {
	case answer.Lease != nil:
		answer.Summary = fmt.Sprintf("%s is on %s and moving to %s (%s): %s", w.ID, owner, b.d.ref(fleet.HostID(answer.Lease.Destination)).Name, answer.Lease.State, answer.Lease.Reason)
	case len(answer.Migrations) > 0 && answer.Migrations[0].CommittedIndex > 0:
		m := answer.Migrations[0]
		answer.Summary = fmt.Sprintf("%s is on %s since it moved there from %s: %s", w.ID, owner, b.d.ref(fleet.HostID(m.From)).Name, m.Reason)
	case len(answer.Decisions) > 0:
		answer.Summary = fmt.Sprintf("%s is on %s; the newest decision about it: %s", w.ID, owner, answer.Decisions[0].Reason)
	default:
		answer.Summary = fmt.Sprintf("%s is on %s, where it was started; no pass has had a reason to move it", w.ID, owner)
	}
	for _, a := range view.Adjustments {
		if a.Workload == id && a.State != fleet.AdjustmentFailed {
			answer.Summary += fmt.Sprintf("; %s is changed in place: %s instead of %s", a.Kind, a.Kind.Amount(a.Want), a.Kind.Amount(a.Before))
		}
	}
	return answer, nil
}

func (b backend) WhyNot(ctx context.Context, workload, host string) (api.WhyNot, error) {
	request := whyNotRequest{Workload: fleet.WorkloadID(workload), Host: fleet.HostID(host)}
	d, err := b.d.controller.WhyNot(request.Workload, request.Host)
	if err != nil {
		d, err = callLeader[whyNotRequest, fleet.Decision](ctx, b.d.books, callWhyNot, request)
	}
	if err != nil {
		return api.WhyNot{}, asHTTP(err)
	}
	answer := api.WhyNot{Workload: workload, Host: host, Summary: d.Reason, Exclusions: []api.Exclusion{}}
	for _, e := range d.Exclusions {
		if e.Host == request.Host || e.Host == "" {
			answer.Exclusions = append(answer.Exclusions, httpapi.ExclusionsOf([]fleet.Exclusion{e})...)
		}
	}
	for _, s := range d.Scores {
		shown := httpapi.ScoreOf(s)
		if s.Host == request.Host {
			answer.Score = &shown
		} else if s.Host == d.From {
			answer.Owner = &shown
		}
	}
	answer.Feasible = len(answer.Exclusions) == 0 && d.Outcome != fleet.OutcomeRefused
	return answer, nil
}

func (b backend) Policy(context.Context) (api.Policy, error) {
	var p fleet.Policy
	b.d.replica.Read(func(s *fsm.State) { p = s.Policy() })
	return httpapi.PolicyOf(p), nil
}

// propose commits one operation on behalf of an operator.
func (b backend) propose(ctx context.Context, w httpapi.Write, op fsm.Operation, message string) (api.Accepted, error) {
	result, err := b.d.books.ProposeAs(ctx, "api:"+w.ID, op)
	if err == nil && result.Ops[0].Err != nil {
		err = result.Ops[0].Err
	}
	if err != nil {
		return api.Accepted{}, asHTTP(err)
	}
	return api.Accepted{Index: result.Index, Message: message}, nil
}

func (b backend) SetPolicy(ctx context.Context, w httpapi.Write, policy api.Policy) (api.Accepted, error) {
	p, err := httpapi.FleetPolicy(policy)
	if err != nil {
		return api.Accepted{}, fmt.Errorf("%w: %w", httpapi.ErrInvalid, err)
	}
	return b.propose(ctx, w, fsm.SetPolicy{Policy: p, By: w.By}, "policy set: automation "+p.Automation.String())
}

func (b backend) Move(ctx context.Context, w httpapi.Write, request api.MoveRequest) (api.Accepted, error) {
	r := fleet.Request{Workload: fleet.WorkloadID(request.Workload), DestinationHost: fleet.HostID(request.DestinationHost),
		DestinationZone: request.DestinationZone, Type: fleet.Requested, Reason: request.Reason, By: w.By, At: b.d.clock.At(time.Now())}
	found := false
	b.d.replica.Read(func(s *fsm.State) { _, found = s.Workload(r.Workload) })
	if !found {
		return api.Accepted{}, httpapi.WithHint(fmt.Errorf("workload %s: %w", request.Workload, httpapi.ErrNotFound), "`placed instance list` shows the workloads")
	}
	answer, err := callLeader[fleet.Request, moveAnswer](ctx, b.d.books, callMove, r)
	switch {
	case err != nil:
		return api.Accepted{}, asHTTP(err)
	case answer.Lease == nil:
		return api.Accepted{}, httpapi.WithHint(fmt.Errorf("%w: %s", httpapi.ErrConflict, answer.Decision.Reason), "`placed why-not` explains a single host")
	}
	to := b.d.ref(answer.Lease.Destination).Name
	return api.Accepted{Index: answer.Lease.Token.Index, Message: fmt.Sprintf("lease %s granted: %s moves to %s", answer.Lease.ID, answer.Lease.Workload, to)}, nil
}

func (b backend) Resolve(ctx context.Context, w httpapi.Write, request api.ResolveRequest) (api.Accepted, error) {
	owner := "its source"
	if request.Commit {
		owner = "its destination"
	}
	return b.propose(ctx, w, fsm.Resolve{Lease: fleet.LeaseID(request.Lease), Commit: request.Commit, By: w.By, Reason: request.Reason},
		fmt.Sprintf("lease %s resolved: the workload belongs to %s", request.Lease, owner))
}

func (b backend) Drain(ctx context.Context, w httpapi.Write, host string, request api.DrainRequest) (api.Accepted, error) {
	state, word := fleet.HostActive, "undrained"
	switch {
	case request.Drain && request.Maintenance:
		state, word = fleet.HostMaintenance, "draining for maintenance"
	case request.Drain:
		state, word = fleet.HostDraining, "draining"
	}
	op := fsm.SetHostState{Host: fleet.HostID(host), State: state, By: w.By, Reason: request.Reason}
	if request.DeadlineS > 0 {
		op.DrainBy = b.d.clock.At(time.Now()).Add(time.Duration(request.DeadlineS * float64(time.Second)))
		word += ", to be empty by " + op.DrainBy.UTC().Format("2006-01-02 15:04:05") + " (load time); what is left then is reported, nothing is forced"
	}
	return b.propose(ctx, w, op, fmt.Sprintf("%s is %s", b.d.ref(fleet.HostID(host)).Name, word))
}

func (b backend) Events(_ context.Context, after api.Cursor, limit int) (httpapi.EventPage, error) {
	page := httpapi.EventPage{Changed: b.d.replica.Changed()}
	b.d.replica.Read(func(s *fsm.State) {
		events := s.EventsSince(after.Index, after.Seq)
		page.Truncated = after.Index > 0 && s.OldestEvent() > after.Index
		for _, e := range events {
			if limit > 0 && len(page.Events) == limit {
				break
			}
			page.Events = append(page.Events, httpapi.EventOf(e))
		}
	})
	if limit > 0 && len(page.Events) == limit {
		// There may be more already: the caller must not wait.
		ready := make(chan struct{})
		close(ready)
		page.Changed = ready
	}
	return page, nil
}

// ref names a host for people.
func (d *Daemon) ref(id fleet.HostID) api.HostRef {
	h, ok := d.books.host(id)
	if !ok {
		if id == d.self {
			return api.HostRef{ID: string(id), Name: d.cfg.Host.Name, Address: d.cfg.Host.Address, API: d.cfg.Host.API}
		}
		return api.HostRef{ID: string(id), Name: string(id)}
	}
	return api.HostRef{ID: string(h.ID), Name: h.Name, Address: h.Address, API: h.API}
}
