package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/planner"
	"github.com/placed-dev/placed/predictor"
)

// Books is the controller's access to the replicated state.
type Books interface {
	// View returns the books as this host has applied them.
	View() fleet.View
	// Read gives the state for queries beyond a View; it must not be kept.
	Read(func(*fsm.State))
	// Propose commits operations in one entry and returns their results.
	Propose(ctx context.Context, ops ...fsm.Operation) (fsm.Result, error)
}

// Agents are the other hosts' agents.
type Agents interface {
	// Migrate tells the source to carry out a lease. It returns once the
	// source has taken it on, not when the move is done. Repeating is safe.
	Migrate(ctx context.Context, source fleet.Host, lease fleet.Lease) error
}

// Config of a Controller. Every field without a default is required.
type Config struct {
	Books   Books
	Agents  Agents
	Reports *Reports
	// Liveness is what gossip says of every host right now.
	Liveness func() map[fleet.HostID]fleet.Liveness
	Model    predictor.Model
	// Foresights bend the forecasts of Model, and say where none may be acted
	// upon; nil = Model alone.
	Foresights *Foresights
	Clock      fleet.LoadClock
	// Pass is the time between two passes, StaleAfter the age at which a
	// host's report no longer counts; machine time.
	Pass       time.Duration
	StaleAfter time.Duration
	// LeaseTTL defaults to LeaseTTL.
	LeaseTTL time.Duration
	// Now is the machine's clock; it must carry a monotonic reading.
	Now    func() time.Time
	Logger hclog.Logger
}

// Controller runs the leader's passes. One exists per agent; Run is called once
// per term.
type Controller struct {
	cfg Config
	log hclog.Logger

	pass turn // one pass at a time, scheduled or requested

	mu       sync.Mutex // guards everything below
	clock    *leaseClock
	latest   fleet.Plan
	view     fleet.View
	streaks  []fleet.BreachStreak
	tick     int64 // load tick of the streaks
	recorder *recorder
	felt     *experiences
	sent     map[fleet.LeaseID]time.Time // last dispatch
}

// ErrNotLeader: this agent runs no passes now.
var ErrNotLeader = errors.New("this agent is not the leader")

// redispatchAfter is when a lease that its source has not begun is sent again:
// the source may have restarted or the call may have been lost.
const redispatchAfter = 3 * time.Second

// New returns a controller that waits for its first term.
func New(cfg Config) *Controller {
	if cfg.LeaseTTL == 0 {
		cfg.LeaseTTL = LeaseTTL
	}
	return &Controller{cfg: cfg, log: cfg.Logger.Named("controller"), pass: newTurn(), felt: newExperiences()}
}

// Run runs the passes of one term, until ctx ends with the leadership.
func (c *Controller) Run(ctx context.Context) error {
	c.mu.Lock()
	c.clock = newLeaseClock(c.cfg.Now(), c.cfg.LeaseTTL)
	c.recorder = newRecorder()
	c.sent = map[fleet.LeaseID]time.Time{}
	c.streaks = nil
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.clock = nil
		c.mu.Unlock()
	}()

	ticker := time.NewTicker(c.cfg.Pass)
	defer ticker.Stop()
	for {
		if err := c.runPass(ctx); err != nil && ctx.Err() == nil {
			c.log.Warn("pass failed; the next one tries again", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// Renew notes that the holder of a lease is alive. It fails where no passes run,
// so that the holder looks for the leader.
func (c *Controller) Renew(id fleet.LeaseID) error {
	c.mu.Lock()
	clock := c.clock
	c.mu.Unlock()
	if clock == nil {
		return ErrNotLeader
	}
	return clock.renew(id, c.cfg.Now())
}

// Latest returns the newest plan of this term and whether there is one.
func (c *Controller) Latest() (fleet.Plan, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.latest, c.clock != nil && c.latest.Pass != ""
}

// WhyNot recomputes from the newest view why a workload would not move to a host.
func (c *Controller) WhyNot(workload fleet.WorkloadID, host fleet.HostID) (fleet.Decision, error) {
	c.mu.Lock()
	view, leading := c.view, c.clock != nil
	c.mu.Unlock()
	if !leading {
		return fleet.Decision{}, ErrNotLeader
	}
	return planner.WhyNot(view, c.cfg.Model, workload, host), nil
}

// Move runs a pass at once for an operator's request and returns what it
// decided, with the lease when one was granted.
func (c *Controller) Move(ctx context.Context, request fleet.Request) (fleet.Decision, *fleet.Lease, error) {
	if !c.Leading() {
		return fleet.Decision{}, nil, ErrNotLeader
	}
	if err := c.pass.take(ctx); err != nil {
		return fleet.Decision{}, nil, fmt.Errorf("move %s: %w", request.Workload, err)
	}
	defer c.pass.give()
	view := c.buildView()
	view.Requests = []fleet.Request{request}
	plan, _ := planner.Plan(view, c.cfg.Model, nil)
	for _, d := range plan.Decisions {
		if d.Workload != request.Workload || d.Type != fleet.Requested {
			continue
		}
		i := slices.IndexFunc(plan.Moves, func(m fleet.Move) bool { return m.Decision == d.ID })
		if i < 0 {
			// A standby in the way is given up; it is asked again for the move.
			ended := slices.DeleteFunc(plan.Cancel, func(e fleet.StandbyEnd) bool { return e.Workload != request.Workload })
			if _, err := c.standbys(ctx, fleet.Plan{Cancel: ended}); err != nil {
				return d, nil, err
			}
			_, err := c.cfg.Books.Propose(ctx, fsm.RecordDecisions{Decisions: []fleet.Decision{d}})
			return d, nil, err
		}
		leases, err := c.grant(ctx, []fleet.Move{plan.Moves[i]}, []fleet.Decision{d})
		if err != nil {
			return d, nil, err
		}
		c.dispatch(ctx, leases)
		if len(leases) == 0 {
			return d, nil, fmt.Errorf("move %s: the books refused the lease", request.Workload)
		}
		return d, &leases[0], nil
	}
	return fleet.Decision{}, nil, fmt.Errorf("move %s: the pass made no decision about it", request.Workload)
}

// Leading says whether this agent runs passes now.
func (c *Controller) Leading() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clock != nil
}

// runPass is one run of the loop: view, plan, lease, dispatch, remember.
func (c *Controller) runPass(ctx context.Context) error {
	if err := c.pass.take(ctx); err != nil {
		return err
	}
	defer c.pass.give()
	ctx, cancel := context.WithTimeout(ctx, max(10*c.cfg.Pass, 10*time.Second))
	defer cancel()

	if err := c.expireLeases(ctx); err != nil {
		return err
	}
	view := c.buildView()
	plan, streaks := planner.Plan(view, c.cfg.Model, nil)
	if c.cfg.Foresights != nil {
		c.cfg.Foresights.name(plan.Forecasts)
	}
	c.mu.Lock()
	c.view, c.latest = view, plan
	if tick := fleet.TickOf(view.Now); tick != c.tick {
		c.streaks, c.tick = streaks, tick
	} else {
		c.streaks = sameTick(c.streaks, streaks)
	}
	record := c.recorder.choose(plan.Decisions)
	c.mu.Unlock()

	leases, err := c.grant(ctx, plan.Moves, record)
	if err != nil {
		return fmt.Errorf("pass %s: %w", plan.Pass, err)
	}
	standbys, err := c.standbys(ctx, plan)
	if err != nil {
		return fmt.Errorf("pass %s: %w", plan.Pass, err)
	}
	leases = append(leases, standbys...)
	if err := c.adjust(ctx, plan); err != nil {
		return fmt.Errorf("pass %s: %w", plan.Pass, err)
	}
	c.dispatch(ctx, append(leases, c.waiting()...))
	return c.judge(ctx, view.Now)
}

// sameTick carries streaks through a further pass of one tick: passes that see
// the same measurements do not confirm each other, so a streak does not grow.
func sameTick(before, now []fleet.BreachStreak) []fleet.BreachStreak {
	out := slices.Clone(now)
	for i := range out {
		for _, old := range before {
			if old.Host == out[i].Host && old.Resource == out[i].Resource && old.Workload == out[i].Workload && old.What == out[i].What {
				out[i].Passes, out[i].Clear = old.Passes, min(out[i].Clear, old.Clear)
			}
		}
	}
	return out
}

// buildView joins the books with what is observed.
func (c *Controller) buildView() fleet.View {
	now := c.cfg.Now()
	view := c.cfg.Books.View()
	view.Now = c.cfg.Clock.At(now)
	view.TimeScale = c.cfg.Clock.Scale
	if view.TimeScale == 0 {
		view.TimeScale = 1
	}
	view.Grants = slices.DeleteFunc(slices.Clone(view.Grants), func(t time.Time) bool {
		return view.Now.Sub(t) >= time.Hour
	})
	liveness := c.cfg.Liveness()
	for i := range view.Hosts {
		l, known := liveness[view.Hosts[i].ID]
		if !known {
			l = fleet.Dead // not in gossip: nobody has heard of it
		}
		view.Hosts[i].Liveness = l
	}
	c.cfg.Reports.Fill(&view, now, c.cfg.StaleAfter)
	c.cfg.Books.Read(func(s *fsm.State) {
		for i := range view.Workloads {
			p, ok := s.Profile(view.Workloads[i].ID)
			if ok && p.Category != string(predictor.CategoryUnknown) {
				view.Workloads[i].Category = p.Category
			}
			if ok {
				view.Workloads[i].Hours = usualDay(p.Blob)
			}
		}
	})
	view.Experiences = c.felt.observe(view, c.cfg.Reports)
	if c.cfg.Foresights != nil {
		c.cfg.Foresights.Fill(&view)
	}
	c.cfg.Reports.Forget(func(id fleet.WorkloadID) bool {
		_, ok := slices.BinarySearchFunc(view.Workloads, id, func(w fleet.WorkloadView, id fleet.WorkloadID) int {
			return compareIDs(w.ID, id)
		})
		return ok
	})
	c.mu.Lock()
	view.Breaches = c.streaks
	c.mu.Unlock()
	return view
}

func compareIDs(a, b fleet.WorkloadID) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// grant commits the decisions and asks for one lease per move, in one entry. A
// refused lease is not an error: the books know better than the plan.
func (c *Controller) grant(ctx context.Context, moves []fleet.Move, decisions []fleet.Decision) ([]fleet.Lease, error) {
	var ops []fsm.Operation
	if len(decisions) > 0 {
		ops = append(ops, fsm.RecordDecisions{Decisions: decisions})
	}
	for _, m := range moves {
		if m.Lease != "" {
			ops = append(ops, fsm.Promote{Lease: m.Lease, Type: m.Type, Decision: m.Decision, Reason: clip(m.Reason)})
			continue
		}
		ops = append(ops, fsm.Grant{Workload: m.Workload, Destination: m.To, Kind: fleet.LeaseMigration,
			Type: m.Type, Decision: m.Decision, Reason: clip(m.Reason)})
	}
	if len(ops) == 0 {
		return nil, nil
	}
	result, err := c.cfg.Books.Propose(ctx, ops...)
	if err != nil {
		return nil, fmt.Errorf("asking the books for %d leases: %w", len(moves), err)
	}
	var leases []fleet.Lease
	for i, m := range moves {
		op := result.Ops[len(result.Ops)-len(moves)+i]
		switch {
		case op.Err != nil:
			c.log.Warn("lease refused", "workload", m.Workload, "host", m.To, "reason", op.Err)
		case op.Lease != nil && m.Lease != "":
			c.log.Info("standby promoted", "lease", op.Lease.ID, "workload", m.Workload, "from", m.From, "to", m.To, "type", m.Type, "reason", m.Reason)
			leases = append(leases, *op.Lease)
		case op.Lease != nil:
			c.log.Info("lease granted", "lease", op.Lease.ID, "workload", m.Workload, "from", m.From, "to", m.To, "type", m.Type, "reason", m.Reason)
			leases = append(leases, *op.Lease)
		}
	}
	return leases, nil
}

// maxReason bounds the reason of a lease; the decision beside it has it whole.
const maxReason = 900

func clip(s string) string {
	if len(s) <= maxReason {
		return s
	}
	return strings.ToValidUTF8(s[:maxReason], "") + "…"
}

// waiting returns granted leases that their source has not begun for a while.
func (c *Controller) waiting() []fleet.Lease {
	now := c.cfg.Now()
	var migrations []fleet.Lease
	c.cfg.Books.Read(func(s *fsm.State) { migrations = s.Migrations() })
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []fleet.Lease
	active := map[fleet.LeaseID]bool{}
	for _, l := range migrations {
		active[l.ID] = true
		if l.State != fleet.Granted {
			continue
		}
		last, sent := c.sent[l.ID]
		if !sent {
			// Granted by an earlier leader or just now: count from here.
			c.sent[l.ID] = now
		} else if now.Sub(last) > redispatchAfter {
			out = append(out, l)
		}
	}
	maps.DeleteFunc(c.sent, func(id fleet.LeaseID, _ time.Time) bool { return !active[id] })
	return out
}

// dispatch tells the sources to go, all at once, and waits for their answers. A
// source that cannot be reached is told again later; until then, or until the
// lease expires, nothing moves.
func (c *Controller) dispatch(ctx context.Context, leases []fleet.Lease) {
	if len(leases) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var group errgroup.Group
	for _, l := range leases {
		source, ok := c.host(l.Source)
		if !ok || l.State != fleet.Granted {
			continue // a promoted standby is under way: its source follows the books
		}
		c.mu.Lock()
		if c.sent != nil {
			c.sent[l.ID] = c.cfg.Now()
		}
		c.mu.Unlock()
		group.Go(func() error {
			if err := c.cfg.Agents.Migrate(ctx, source, l); err != nil {
				c.log.Warn("the source did not take on the migration; it is asked again", "lease", l.ID, "workload", l.Workload, "host", source.Name, "error", err)
			}
			return nil
		})
	}
	_ = group.Wait() // errors are logged where they happen
}

func (c *Controller) host(id fleet.HostID) (host fleet.Host, ok bool) {
	c.cfg.Books.Read(func(s *fsm.State) { host, ok = s.Host(id) })
	return host, ok
}

// expireLeases proposes the end of leases whose holder has fallen silent. Past
// granted the books turn that into uncertain: nothing is freed by a time-out.
func (c *Controller) expireLeases(ctx context.Context) error {
	var leases []fleet.Lease
	c.cfg.Books.Read(func(s *fsm.State) { leases = s.Leases() })
	c.mu.Lock()
	clock := c.clock
	c.mu.Unlock()
	if clock == nil {
		return ErrNotLeader
	}
	for _, id := range clock.expired(leases, c.cfg.Now()) {
		c.log.Warn("lease expired: its holder has not renewed it", "lease", id)
		result, err := c.cfg.Books.Propose(ctx, fsm.Expire{Lease: id})
		if err != nil {
			return fmt.Errorf("expiring lease %s: %w", id, err)
		}
		if refusal := result.Ops[0].Err; refusal != nil {
			c.log.Info("the lease had moved on", "lease", id, "reason", refusal)
		}
	}
	return nil
}
