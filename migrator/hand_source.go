package migrator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/placed-dev/placed/cutover"
	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

// handSource is the source's end of a move that the hypervisor carries out.
type handSource struct {
	*source // progress, outcome and traffic of every source
	machine cutover.HandSource
	drv     driver.Handover
	spec    driver.Spec
	moving  context.Context    // the session's
	stopJob context.CancelFunc // nil: no job of this life
	endKeep context.CancelFunc // of the renewals
}

func newHandSource(m *Migrator, s *session, h driver.Handover) *handSource {
	return &handSource{source: &source{s: s, m: m}, machine: cutover.NewHandSource(), drv: h}
}

// handMove is one migration by the hypervisor, from the offer to the settled
// lease; what can be checked beforehand has been.
func (m *Migrator) handMove(base *source, found driver.Found, h driver.Handover, v *move) error {
	s := base.s
	s.rec.Digest = handDigest(s.rec.Token)
	d := &handSource{source: base, machine: cutover.NewHandSource(), drv: h, spec: found.Spec}
	defer d.close()
	d.progress = m.board.begin(s.lease, found.Spec.Size)
	s.onDecided = func() { v.finish(d.outcome()) }
	moving, cancel := context.WithCancel(m.hard)
	defer s.join(cancel)
	d.moving = moving
	s.watch(moving)

	first := cutover.Event{Kind: cutover.Cut}
	if err := d.offer(moving); err != nil {
		// Nothing was handed to the hypervisor: the workload runs as it ran.
		s.reason = err.Error()
		first = cutover.Event{Kind: cutover.Observed, Copy: cutover.Running}
	}
	if err := s.run(moving, d, first); err != nil && !d.decided() {
		err = fmt.Errorf("outcome of lease %s is open, the workload's last word here is %q: %w", s.lease.ID, s.rec.Word, err)
		d.end(fleet.PhaseFrozen, err)
		return err
	}
	return d.outcome()
}

// offer renews the lease, keeps renewing it, and asks the destination in.
func (d *handSource) offer(ctx context.Context) error {
	if d.s.reason != "" {
		return fmt.Errorf("begin: %s", d.s.reason)
	}
	hold := newHolder(d.m.cfg.TTL, d.m.cfg.Now)
	d.s.renewOnce(ctx, hold, d.s.lease)
	if hold.left() <= 0 {
		return errors.New("the lease could not be renewed at the leader")
	}
	renewing, cancel := context.WithCancel(ctx)
	d.endKeep = cancel
	d.s.renew(renewing, hold, d.s.lease)
	return d.connectHand(ctx)
}

func (d *handSource) connectHand(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, d.m.cfg.Handshake)
	defer cancel()
	l, err := d.dial(ctx)
	if err != nil {
		return err
	}
	// The destination asks its hypervisor before it answers: that takes longer
	// than a handshake, and an agent that wants to stop does not wait for it.
	stop := context.AfterFunc(d.m.soft, func() { _ = l.conn.Close() })
	_, err = d.negotiate(l, offer{Spec: d.spec, Size: d.spec.Size, Tracker: "hypervisor"}, d.m.cfg.Handshake+d.m.cfg.Effect)
	stop()
	if err != nil {
		return err
	}
	l.listen(0)
	d.m.board.change(d.progress, func(p *fleet.Progress) { p.Tracker, p.Total = "hypervisor", d.spec.Size })
	return nil
}

func (d *handSource) step(e cutover.Event) []cutover.Action {
	var actions []cutover.Action
	d.machine, actions = d.machine.Step(e)
	if d.machine.Stage >= cutover.Given && d.endKeep != nil {
		d.endKeep() // whatever is left of the lease, it is not ours to keep alive
	}
	// What the base shows and answers follows this machine.
	before := d.source.machine.Stage
	d.source.machine = d.machine.Source
	if d.machine.Stage != before {
		d.phase()
	}
	return actions
}

func (d *handSource) decided() bool { return d.machine.Decided() }

func (d *handSource) settled() bool { return d.machine.Settled() }

func (d *handSource) observe(ctx context.Context) (cutover.Copy, error) {
	return d.m.observeHand(ctx, d.drv, d.s.rec)
}

// again: while nothing was said, what is seen decides, as ever.
func (d *handSource) again(c cutover.Copy) cutover.Event {
	if d.machine.Stage == cutover.Copying || d.s.rec.Word == cutover.None {
		d.machine.Stage, d.machine.Word = cutover.Copying, cutover.None
		return cutover.Event{Kind: cutover.Observed, Copy: c}
	}
	return cutover.Event{Kind: cutover.Restart, Word: d.s.rec.Word, Copy: c}
}

func (d *handSource) perform(ctx context.Context, k cutover.ActionKind) error {
	id, token := d.s.rec.Workload, d.s.rec.Token
	switch k {
	case cutover.HandOver:
		d.job(d.drv.Send)
		return nil
	case cutover.Adopt:
		d.job(d.drv.Await)
		return nil
	case cutover.Cancel:
		d.cancelJob()
		return nil
	case cutover.Finish:
		return d.drv.Finish(ctx, id, token)
	case cutover.Thaw:
		return d.drv.Keep(ctx, id, token)
	case cutover.ResumeTraffic:
		if err := d.drv.Keep(ctx, id, token); err != nil && !errors.Is(err, driver.ErrNotFound) {
			return err
		}
		d.traffic("resume", d.m.cfg.Traffic.Resume(ctx, id))
		return nil
	case cutover.SwitchTraffic:
		d.switchTraffic(ctx)
		return d.drv.Leave(ctx, id, token)
	case cutover.Discard:
		return d.drv.Leave(ctx, id, token)
	}
	return fmt.Errorf("the source cannot %s", k)
}

// job runs the hypervisor's part and lets the machine know what is seen when it
// is over. A stopping agent aborts it; the error is for the reader alone.
func (d *handSource) job(run func(context.Context, fleet.WorkloadID, driver.Way) error) {
	ctx, cancel := context.WithCancel(d.moving)
	d.stopJob = cancel
	stop := context.AfterFunc(d.m.soft, cancel)
	if d.dst.ID == "" {
		d.dst, _ = d.m.cfg.Books.Host(d.s.rec.Peer)
	}
	way := d.way()
	d.s.spawn(func() {
		defer stop()
		defer cancel()
		began := d.m.cfg.Now()
		err := run(ctx, d.s.rec.Workload, way)
		d.s.log.Info("the hypervisor's part is over", "lease", string(d.s.rec.Lease), "took", d.m.cfg.Now().Sub(began).String(), "result", fmt.Sprint(err))
		d.report(err)
	})
}

// report observes until no job is left and hands the result to the session.
func (d *handSource) report(cause error) {
	for d.moving.Err() == nil {
		look, cancel := context.WithTimeout(d.moving, d.m.cfg.Effect)
		c, err := d.observe(look)
		cancel()
		if err == nil && c != cutover.Sending {
			d.s.notify(d.moving, note{event: cutover.Event{Kind: cutover.Observed, Copy: c}, reason: reasonOf(cause)})
			return
		}
		if err != nil {
			d.s.log.Warn("cannot see what became of the move here", "lease", string(d.s.rec.Lease), "error", err)
		}
		pause(d.moving, 100*time.Millisecond)
	}
}

func reasonOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func (d *handSource) cancelJob() {
	if d.stopJob != nil {
		d.stopJob()
		return
	}
	d.s.spawn(func() { d.report(nil) })
}

func (d *handSource) way() driver.Way {
	way := driver.Way{Token: d.s.rec.Token, To: d.s.rec.Peer}
	way.Address, _, _ = net.SplitHostPort(d.dst.Address) // only a driver set up for it needs it
	dst, id := d.dst, d.s.rec.Workload
	way.Enter = func(ctx context.Context, channel string) (net.Conn, error) {
		return d.m.openTunnel(ctx, dst, tunnel{Workload: id, Token: way.Token, Channel: channel})
	}
	if d.progress != nil {
		way.Progress = d.jobProgress
	}
	return way
}

// maxNotes bounds what is kept of what drivers say during one move.
const maxNotes = 16

// jobProgress is called by the driver while the job runs; only the board is
// touched here, which has a lock of its own.
func (d *handSource) jobProgress(j driver.Progress) {
	now := d.m.cfg.Now()
	d.m.board.change(d.progress, func(p *fleet.Progress) {
		if j.Note != "" && len(p.Notes) < maxNotes {
			p.Notes = append(p.Notes, j.Note)
		}
		p.Phase, p.Wire = fleet.PhaseCopying, j.Sent
		if j.Stopped {
			p.Phase = fleet.PhaseFrozen
		}
		if j.Pass > len(p.Rounds) {
			took := now.Sub(p.Started)
			for _, r := range p.Rounds {
				took -= r.Took
			}
			sent := j.Sent
			for _, r := range p.Rounds {
				sent -= r.Wire
			}
			p.Rounds = append(p.Rounds, fleet.Checkpoint{Round: j.Pass, Dirty: j.Remaining, Wire: max(sent, 0), Took: took, WriteRate: j.DirtyRate})
		}
	})
}

func (d *handSource) close() {
	if d.stopJob != nil {
		d.stopJob()
	}
	if d.endKeep != nil {
		d.endKeep()
	}
}
