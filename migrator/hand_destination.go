package migrator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/placed-dev/placed/cutover"
	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

// handDestination is the destination's end of a move that the hypervisor carries
// out.
type handDestination struct {
	s       *session
	m       *Migrator
	machine cutover.HandDestination
	drv     driver.Handover
	spec    driver.Spec // of the offer; not known after a restart
	token   fleet.Token
	found   driver.Found // once activated by this session
	open    bool         // the entrance was made by this session
}

func newHandDestination(m *Migrator, s *session, h driver.Handover) *handDestination {
	return &handDestination{s: s, m: m, machine: cutover.NewHandDestination(), drv: h, token: s.rec.Token}
}

// serveHand carries an admitted offer to its end.
func (m *Migrator) serveHand(ctx context.Context, s *session, o offer, h driver.Handover) error {
	s.rec.Digest = handDigest(s.rec.Token)
	d := newHandDestination(m, s, h)
	defer d.close()
	d.spec = o.Spec
	// The move lives as long as the agent; the caller's context is the
	// connection's, which may end before.
	moving, cancel := context.WithCancel(m.hard)
	defer s.join(cancel)
	link := s.link
	stop := context.AfterFunc(ctx, func() { _ = link.conn.Close() })
	defer stop()
	s.take(moving, d, cutover.Event{Kind: cutover.Admit})
	if s.rec.Word != cutover.Admitted || !d.open {
		err := errors.Join(errors.New(s.reason), link.send(frameRefuse, refusal{s.reason}))
		if s.rec.Word == cutover.None {
			return err
		}
		return errors.Join(err, s.run(moving, d, cutover.Event{Kind: cutover.Abandon}))
	}
	if err := link.send(frameAccept, accept{Version: wireVersion}); err != nil {
		s.reason = err.Error()
	}
	link.listen(0)
	d.watchCopy(moving)
	if err := s.run(moving, d, cutover.Event{Kind: cutover.Deadline}); err != nil && !d.decided() {
		return fmt.Errorf("lease %s is open, this host's last word is %q: %w", o.Lease, s.rec.Word, err)
	}
	if d.machine.Word == cutover.Refused {
		if s.reason == "" {
			s.reason = "the source kept it, or the books gave the move up"
		}
		return fmt.Errorf("workload %s was not taken over: %s", o.Spec.ID, s.reason)
	}
	return nil
}

// How often an arriving copy is looked at. What is not seen adds to the downtime, and
// each look takes processor time from the move: where the driver hears of changes,
// they are waited for, and then it is looked at without a pause for as long as the
// hypervisor may take to finish.
const (
	copyEvery    = 10 * time.Millisecond
	copyHeard    = 50 * time.Millisecond
	copyStirred  = 2 * time.Millisecond
	copySettling = 200 * time.Millisecond
)

// watchCopy lets the machine know what is seen here whenever it has changed, for
// as long as the session lives.
func (d *handDestination) watchCopy(ctx context.Context) {
	rec := d.s.rec
	var stirred <-chan struct{}
	if u, ok := d.drv.(driver.Usher); ok {
		stirred = u.Stirred(rec.Workload)
	}
	d.s.spawn(func() {
		last, told, news, failed := cutover.Absent, time.Time{}, time.Time{}, 0
		for ctx.Err() == nil {
			look, cancel := context.WithTimeout(ctx, d.m.cfg.Effect)
			c, err := d.m.observeHand(look, d.drv, rec)
			cancel()
			wait := copyEvery
			switch now := d.m.cfg.Now(); {
			case err != nil:
				// Of a domain that changes just now there may be nothing to see; of
				// a hypervisor that does not answer there is not for longer.
				failed++
				wait = min(copyEvery<<min(failed, 10), d.m.cfg.RecoverEvery)
				d.s.log.Debug("cannot see what has arrived", "lease", string(rec.Lease), "error", err)
			case c == cutover.Running:
				d.s.notify(ctx, note{event: cutover.Event{Kind: cutover.Observed, Copy: c}})
				return
			default:
				failed = 0
				// Repeated now and then: a look that came too early changes
				// nothing, and must not be the only one.
				if c != last || now.Sub(told) >= d.m.cfg.RecoverEvery {
					last, told = c, now
					d.s.notify(ctx, note{event: cutover.Event{Kind: cutover.Observed, Copy: c}})
				}
				if stirred != nil {
					wait = copyHeard
				}
				if c == cutover.Incoming && now.Sub(news) < copySettling {
					wait = copyStirred
				}
			}
			timer := time.NewTimer(wait)
			select {
			case <-ctx.Done():
			case <-stirred:
				news = d.m.cfg.Now()
			case <-timer.C:
			}
			timer.Stop()
		}
	})
}

func (d *handDestination) step(e cutover.Event) []cutover.Action {
	var actions []cutover.Action
	d.machine, actions = d.machine.Step(e)
	return actions
}

func (d *handDestination) decided() bool { return d.machine.Decided() }

func (d *handDestination) settled() bool { return d.s.settledHere(d.machine.Destination) }

func (d *handDestination) wait(tries int) time.Duration { return d.m.destinationWait(tries) }

func (d *handDestination) observe(ctx context.Context) (cutover.Copy, error) {
	return d.m.observeHand(ctx, d.drv, d.s.rec)
}

func (d *handDestination) again(c cutover.Copy) cutover.Event {
	return cutover.Event{Kind: cutover.Restart, Word: d.s.rec.Word, Copy: c}
}

func (d *handDestination) perform(ctx context.Context, k cutover.ActionKind) error {
	id := d.s.rec.Workload
	switch k {
	case cutover.Receive:
		err := d.drv.Expect(ctx, d.spec, d.token)
		d.open = err == nil
		return err
	case cutover.Activate:
		found, err := d.drv.Activate(ctx, id, d.token)
		if err == nil {
			d.found = found
		}
		return err
	case cutover.AdoptTraffic:
		if d.found.Spec.ID == "" {
			// Not activated by this session, or not to its end: it may run
			// already, and what belongs to it, like autostart, still be missing.
			found, err := d.drv.Activate(ctx, id, d.token)
			if err != nil {
				return err
			}
			d.found = found
		}
		if err := d.m.cfg.Traffic.Adopt(ctx, d.found); err != nil {
			d.s.log.Warn("traffic adopt failed: clients follow when the proxies' tables are next written", "lease", string(d.s.rec.Lease), "error", err)
		}
		return nil
	case cutover.Bar:
		return d.bar(ctx)
	case cutover.Discard:
		// The door first: what comes in after the discarding would stay.
		d.drv.Shut(id, d.token)
		if err := d.m.tunnels.bar(ctx, d.passage()); err != nil {
			return err
		}
		return d.drv.Discard(ctx, id, d.token)
	}
	return fmt.Errorf("the destination cannot %s", k)
}

func (d *handDestination) passage() passage { return passage{d.s.rec.Workload, d.token} }

// bar shuts the entrance, ends what is under way in it, and feeds what is seen
// then.
func (d *handDestination) bar(ctx context.Context) error {
	d.drv.Shut(d.s.rec.Workload, d.token)
	if err := d.m.tunnels.bar(ctx, d.passage()); err != nil {
		return err
	}
	c, err := d.observe(ctx)
	if err == nil {
		d.s.queue = append(d.s.queue, cutover.Event{Kind: cutover.Barred, Copy: c})
	}
	return err
}

// close lets go of what the entrance needed, unless a word is still owed.
func (d *handDestination) close() {
	if d.machine.Word == cutover.Activated || d.machine.Word == cutover.Refused {
		d.m.tunnels.forget(d.passage())
	}
}
