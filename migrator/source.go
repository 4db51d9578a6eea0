package migrator

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/placed-dev/placed/cutover"
	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

// source is the end that runs the workload when a move begins.
type source struct {
	s       *session
	m       *Migrator
	machine cutover.Source
	drv     driver.Driver
	src     driver.Source
	dst     fleet.Host
	copier  *copier // nil after a restart
	// progress is nil for a move of an earlier life.
	progress *fleet.Progress
	frozen   time.Time
}

// move is one migration from here, from the checks to the settled lease.
func (m *Migrator) move(s *session, lease fleet.Lease, v *move) error {
	ctx := m.hard
	d, found, err := m.prepareMove(ctx, s, lease)
	if err != nil {
		return err
	}
	if h, ok := m.handover(s.rec); ok {
		return m.handMove(d, found, h, v)
	}
	defer d.close()
	d.progress = m.board.begin(lease, found.Spec.Size)
	s.onDecided = func() { v.finish(d.outcome()) }
	moving, cancel := context.WithCancel(ctx)
	defer s.join(cancel)
	s.watch(moving)

	first := cutover.Event{Kind: cutover.Cut}
	if err := d.copy(moving, found.Spec); err != nil {
		s.reason = err.Error()
		first = cutover.Event{Kind: cutover.Abandon}
	}
	if err := s.run(moving, d, first); err != nil && !d.decided() {
		err = fmt.Errorf("outcome of lease %s is open, the workload's last word here is %q: %w", lease.ID, s.rec.Word, err)
		d.end(fleet.PhaseFrozen, err)
		return err
	}
	return d.outcome()
}

// prepareMove checks everything that can be checked before the lease begins, puts
// the token on disk and begins the lease.
func (m *Migrator) prepareMove(ctx context.Context, s *session, lease fleet.Lease) (*source, driver.Found, error) {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Effect)
	defer cancel()
	found, drv, err := m.find(ctx, lease.Workload)
	if err != nil {
		return nil, found, err
	}
	if _, hands := drv.(driver.Handover); hands && lease.Kind == fleet.LeaseStandby {
		return nil, found, fmt.Errorf("driver %s hands workload %s over in one go, it cannot keep a copy of it up to date elsewhere: move it instead", drv.Name(), lease.Workload)
	}
	if found.State != driver.Running {
		return nil, found, fmt.Errorf("workload %s is %s here, only a running one can move", lease.Workload, found.State)
	}
	blockers, err := drv.Inspect(ctx, lease.Workload)
	if err != nil {
		return nil, found, err
	}
	if len(blockers) > 0 {
		return nil, found, blocked(lease.Workload, blockers)
	}
	if old, ok := m.tokens.Get(lease.Workload); ok && old.Token == lease.Token && old.Word != cutover.None {
		return nil, found, fmt.Errorf("this host has already said %q under token %s: %w", old.Word, lease.Token, ErrStaleToken)
	}
	dst, ok := m.cfg.Books.Host(lease.Destination)
	if !ok {
		return nil, found, fmt.Errorf("destination host %s is not in the books", lease.Destination)
	}
	s.lease = lease
	s.rec = Record{Workload: lease.Workload, Token: lease.Token, Source: true, Lease: lease.ID,
		Peer: lease.Destination, Driver: drv.Name()}
	if err := m.tokens.Put(s.rec); err != nil {
		return nil, found, err
	}
	// Begin may be refused for good; then no byte was moved and nothing is
	// owed. After an unknown outcome the abandoned machine proposes Abort.
	if err := m.cfg.Books.Begin(ctx, lease); errors.Is(err, ErrRefused) {
		s.rec.Word = cutover.Aborted
		return nil, found, errors.Join(err, m.tokens.Put(s.rec))
	} else if err != nil {
		s.reason = err.Error()
	}
	s.lease.State = fleet.Transferring
	return &source{s: s, m: m, machine: cutover.NewSource(), drv: drv, dst: dst}, found, nil
}

func blocked(id fleet.WorkloadID, blockers []driver.Blocker) error {
	var texts []string
	for _, b := range blockers {
		text := b.Reason
		if b.Remedy != "" {
			text += " (" + b.Remedy + ")"
		}
		texts = append(texts, text)
	}
	return fmt.Errorf("workload %s cannot move: %s", id, strings.Join(texts, "; "))
}

func (d *source) step(e cutover.Event) []cutover.Action {
	var actions []cutover.Action
	before := d.machine.Stage
	d.machine, actions = d.machine.Step(e)
	if d.machine.Stage != before {
		d.phase()
	}
	if d.copier != nil && d.machine.Stage >= cutover.Given {
		d.copier.stopRenewing() // whatever is left of the lease, it is not ours to keep alive
	}
	if d.progress != nil && d.machine.Stage == cutover.Proposed && d.machine.Lease == fleet.Committed {
		d.m.board.change(d.progress, func(p *fleet.Progress) { p.Phase = fleet.PhaseCommitted })
	}
	return actions
}

// phase shows the machine's stage; the end of a move is shown by end.
func (d *source) phase() {
	if d.progress == nil {
		return
	}
	phases := map[cutover.Stage]fleet.MigrationPhase{cutover.Cutting: fleet.PhaseHolding,
		cutover.Proposed: fleet.PhasePrepared, cutover.Gone: fleet.PhaseActivated}
	if phase, ok := phases[d.machine.Stage]; ok {
		d.m.board.change(d.progress, func(p *fleet.Progress) { p.Phase = phase })
	}
}

func (d *source) decided() bool { return d.machine.Decided() }

func (d *source) settled() bool { return d.machine.Settled() }

// outcome is what Migrate returns once the move is decided.
func (d *source) outcome() error {
	if d.machine.Stage == cutover.Gone {
		d.end(fleet.PhaseDone, nil)
		return nil
	}
	reason := d.s.reason
	if reason == "" {
		reason = "the destination refused it or the lease was aborted"
	}
	err := fmt.Errorf("workload %s stays on host %s: %s", d.s.rec.Workload, d.m.cfg.Host, reason)
	d.end(fleet.PhaseAborted, err)
	return err
}

func (d *source) end(phase fleet.MigrationPhase, err error) {
	if d.progress == nil {
		return
	}
	d.m.board.change(d.progress, func(p *fleet.Progress) {
		if !p.Ended.IsZero() {
			return
		}
		p.Phase, p.Ended = phase, d.m.cfg.Now()
		if err != nil {
			p.Error = err.Error()
		}
	})
}

// wait: inside the frozen window every wait is short; afterwards the pace is
// recovery's.
func (d *source) wait(tries int) time.Duration {
	switch {
	case d.machine.Stage == cutover.Cutting:
		return d.m.cfg.CutoverWait
	case d.machine.Stage == cutover.Proposed && tries < 8:
		return d.m.cfg.AskAfter
	}
	return d.m.cfg.RecoverEvery << min(tries/8, 3)
}

func (d *source) observe(ctx context.Context) (cutover.Copy, error) {
	return d.m.observe(ctx, d.s.rec)
}

// again: a source that lives on knows that it has proposed nothing yet; one that
// has restarted does not.
func (d *source) again(c cutover.Copy) cutover.Event {
	if d.machine.Stage != cutover.Cutting {
		d.letGo() // whatever failed, the next attempt opens it anew
	}
	if d.machine.Stage == cutover.Cutting && c == cutover.Frozen {
		return cutover.Event{Kind: cutover.Abandon}
	}
	return cutover.Event{Kind: cutover.Restart, Word: d.s.rec.Word, Copy: c}
}

func (d *source) perform(ctx context.Context, k cutover.ActionKind) error {
	id := d.s.rec.Workload
	switch k {
	case cutover.HoldTraffic:
		return d.m.cfg.Traffic.Hold(ctx, id)
	case cutover.Freeze:
		if err := d.open(ctx); err != nil {
			return err
		}
		if err := d.fresh(ctx); err != nil {
			return err
		}
		d.frozen = d.m.cfg.Now()
		return d.src.Freeze(ctx)
	case cutover.CopyRest:
		return d.copyRest(ctx)
	case cutover.Thaw:
		return d.thaw(ctx)
	case cutover.Discard:
		return d.discard(ctx)
	case cutover.ResumeTraffic:
		d.traffic("resume", d.m.cfg.Traffic.Resume(ctx, id))
	case cutover.SwitchTraffic:
		d.switchTraffic(ctx)
	default:
		return fmt.Errorf("the source cannot %s", k)
	}
	return nil
}

// traffic failures do not hold up the protocol: the proxies follow the books
// anyway, only later.
func (d *source) traffic(what string, err error) {
	if err != nil {
		d.s.log.Warn("traffic "+what+" failed: clients follow when the proxies' tables are next written", "lease", string(d.s.rec.Lease), "error", err)
	}
}

func (d *source) switchTraffic(ctx context.Context) {
	if d.dst.ID == "" {
		d.dst, _ = d.m.cfg.Books.Host(d.s.rec.Peer)
	}
	downtime, err := d.m.cfg.Traffic.Switch(ctx, d.s.rec.Workload, d.dst)
	d.traffic("switch", err)
	if d.progress == nil {
		return
	}
	if err != nil {
		downtime = d.m.cfg.Now().Sub(d.frozen)
	}
	d.m.board.change(d.progress, func(p *fleet.Progress) { p.Downtime = downtime })
	d.m.learnCutover(d.copier, d.m.cfg.Now())
}

// open reopens the workload where an earlier life or an error has let it go.
func (d *source) open(ctx context.Context) error {
	if d.src != nil {
		return nil
	}
	var err error
	d.src, err = d.drv.Source(ctx, d.s.rec.Workload)
	return err
}

// thaw lets the workload run again, from its saved state if the agent was
// stopped on purpose meanwhile.
func (d *source) thaw(ctx context.Context) error {
	found, err := d.m.look(ctx, d.s.rec)
	if err != nil {
		return err
	}
	if found.State == driver.Stopped {
		_, err := d.drv.Start(ctx, found.Spec, found.Token)
		return err
	}
	if err := d.open(ctx); err != nil {
		return err
	}
	return d.src.Thaw(ctx)
}

// discard ends the copy here. What runs is never touched: the machine does not
// ask for it, and if it did, something else would be wrong.
func (d *source) discard(ctx context.Context) error {
	found, err := d.m.look(ctx, d.s.rec)
	switch {
	case errors.Is(err, driver.ErrNotFound):
		return nil
	case err != nil:
		return err
	case found.State == driver.Running:
		return fmt.Errorf("workload %s runs here, only a frozen one may be discarded", d.s.rec.Workload)
	case found.State == driver.Frozen && d.open(ctx) == nil:
		return d.src.Discard(ctx)
	}
	// Saved, or its process has died.
	return d.drv.Stop(ctx, d.s.rec.Workload)
}

func (d *source) close() {
	if d.copier != nil {
		d.copier.close()
	}
	d.letGo()
}

func (d *source) letGo() {
	if d.src == nil {
		return
	}
	if err := d.src.Close(); err != nil {
		d.s.log.Debug("closing the workload's state", "error", err)
	}
	d.src = nil
}
