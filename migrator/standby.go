package migrator

import (
	"context"
	"fmt"
	"time"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/precopy"
)

// A standby is a move that stops before its freeze: the same session, offer and
// rounds, under the same token, until the books say that its lease has become a
// migration. Then one round brings the copy up to date and the cutover follows. At
// the destination nothing differs at all: it takes pages until the last word.

const (
	// keptRounds of a move are shown; a standby may have thousands.
	keptRounds = 64
	// judgedRounds, the newest, say how often a standby's copy must be refreshed:
	// what a workload wrote an hour ago says little.
	judgedRounds = 8
)

// waits says that the lease may not end in a cutover yet.
func (d *source) waits() bool { return d.s.lease.Kind == fleet.LeaseStandby }

// standBy keeps the copy at the destination up to date until the lease is promoted,
// and lets the rounds begin anew then: the first of them sends what was written
// since the last refresh, and no freeze would have to send more.
func (d *source) standBy(ctx context.Context, c *copier) error {
	d.s.log.Info("the copy is complete and kept up to date until the standby is promoted", "lease", string(d.s.lease.ID))
	for {
		c.rounds = c.rounds[max(0, len(c.rounds)-judgedRounds):]
		wait := d.refresh(c)
		d.m.board.change(d.progress, func(p *fleet.Progress) { p.Phase, p.Refresh = fleet.PhaseStandby, wait })
		if err := d.rest(ctx, c, d.m.cfg.Now().Add(wait)); err != nil {
			return err
		}
		if !d.waits() {
			break
		}
		if err := d.round(ctx, c); err != nil {
			return err
		}
	}
	d.s.log.Info("the standby is promoted", "lease", string(d.s.lease.ID), "rounds", c.count)
	d.m.board.change(d.progress, func(p *fleet.Progress) { p.Phase, p.Type = fleet.PhaseCopying, d.s.lease.Type })
	c.rounds = nil
	return nil
}

// refresh is the time until the next round: as long as the target downtime allows,
// within the bounds, and long enough to leave the link to others.
func (d *source) refresh(c *copier) time.Duration {
	link := precopy.Observed(c.rounds, d.physics(c))
	want := precopy.Estimate(c.rounds).Interval(link, d.m.cfg.TargetDowntime)
	want = min(max(want, d.m.cfg.StandbyShortest), d.m.cfg.StandbyLongest)
	return max(want, time.Duration(d.m.cfg.StandbyRest-1)*c.rounds[len(c.rounds)-1].Took)
}

// rest waits until then, or until the lease is promoted or may no longer be copied
// under. It keeps the connection from looking dead.
func (d *source) rest(ctx context.Context, c *copier, until time.Time) error {
	for d.waits() {
		if err := d.mayCopy(ctx, c); err != nil {
			return err
		}
		left := until.Sub(d.m.cfg.Now())
		if left <= 0 || !d.waits() {
			return nil
		}
		if err := c.link.ping(); err != nil {
			return err
		}
		if err := d.listen(ctx, c, min(left, d.m.cfg.Idle/4, max(c.hold.left(), time.Millisecond))); err != nil {
			return err
		}
	}
	return nil
}

// listen waits for the first news of anybody, or until the time is over.
func (d *source) listen(ctx context.Context, c *copier, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case f, ok := <-c.link.in:
		if !ok {
			return fmt.Errorf("connection to the other end lost: %w", c.link.err)
		}
		d.s.frame(ctx, f, true)
	case n := <-d.s.notes:
		d.s.note(n)
	case l := <-d.s.letters:
		d.hear(l)
	case <-timer.C:
	case <-d.m.soft.Done():
	case <-ctx.Done():
	}
	return nil
}

// settleKind counts a promoted standby among the moves.
func (m *Migrator) settleKind(s *session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s.standby = s.lease.Kind == fleet.LeaseStandby
}
