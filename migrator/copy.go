package migrator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/placed-dev/placed/cutover"
	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/precopy"
)

// copier is the source's part of the copying, while the workload runs and for
// the last round after its freeze.
type copier struct {
	link    *wire
	tx      *sender
	pack    *compressor
	hold    *holder
	rounds  []fleet.Checkpoint
	finalAt time.Time
	// proved is when the quorum answered last, predicted the downtime now.
	proved    time.Time
	predicted time.Duration
	count     int                // rounds so far; a standby forgets the older ones
	began     time.Time          // of the last round
	cancel    context.CancelFunc // of the renewals
	lost      int                // times the tracking was lost
}

func (c *copier) stopRenewing() {
	if c.cancel != nil {
		c.cancel()
	}
}

func (c *copier) close() {
	c.stopRenewing()
	if c.pack != nil {
		_ = c.pack.close() // it holds no data
	}
}

// freshness: how old the proof of a working quorum may be at the freeze.
const freshness = time.Second

// copy runs the rounds until the workload may be frozen; an error means that the
// move is off and the workload runs on.
func (d *source) copy(ctx context.Context, spec driver.Spec) error {
	if d.s.reason != "" {
		return fmt.Errorf("begin: %s", d.s.reason)
	}
	c := &copier{hold: newHolder(d.m.cfg.TTL, d.m.cfg.Now)}
	d.copier = c
	d.s.renewOnce(ctx, c.hold, d.s.lease)
	if c.hold.left() <= 0 {
		return errors.New("the lease could not be renewed at the leader")
	}
	renewing, cancel := context.WithCancel(ctx)
	c.cancel = cancel
	d.s.renew(renewing, c.hold, d.s.lease)
	if err := d.open(ctx); err != nil {
		return err
	}
	if err := d.connect(ctx, c, spec); err != nil {
		return err
	}
	d.m.board.change(d.progress, func(p *fleet.Progress) { p.Phase = fleet.PhaseCopying })
	for {
		verdict := precopy.Next(c.rounds, d.target(), d.physics(c))
		switch {
		case verdict.Action == precopy.Abort:
			return errors.New(verdict.Reason)
		case verdict.Action == precopy.Cut && d.waits():
			if err := d.standBy(ctx, c); err != nil {
				return err
			}
			continue
		case verdict.Action == precopy.Cut:
			c.predicted = verdict.Predicted
			if err := d.prove(ctx, c); err != nil {
				return err
			}
			return d.mayCopy(ctx, c)
		}
		if err := d.round(ctx, c); err != nil {
			return err
		}
	}
}

func (d *source) target() precopy.Target {
	return precopy.Target{Downtime: d.m.cfg.TargetDowntime, Limit: d.m.cfg.DowntimeLimit, MaxRounds: d.m.cfg.MaxRounds, MaxBytes: d.m.cfg.MaxCopies * d.src.Size()}
}

func (d *source) physics(c *copier) precopy.Link {
	return precopy.Link{Bandwidth: c.pack.bandwidth, FixedCutover: d.m.fixedCutover()}
}

// connect dials, offers and waits for the answer.
func (d *source) connect(ctx context.Context, c *copier, spec driver.Spec) error {
	ctx, cancel := context.WithTimeout(ctx, d.m.cfg.Handshake)
	defer cancel()
	l, err := d.dial(ctx)
	if err != nil {
		return err
	}
	c.link = l
	yes, err := d.negotiate(l, offer{Spec: spec, Size: d.src.Size(), Tracker: d.src.Tracker(), Codecs: codecNames[:]}, d.m.cfg.Handshake)
	if err != nil {
		return err
	}
	if c.pack, err = newCompressor(agree(yes.Codecs), d.m.cfg.Now); err != nil {
		return err
	}
	c.tx = newSender(d.src, l, c.pack, d.m.cfg.ShadowLimit)
	l.listen(0)
	d.m.board.change(d.progress, func(p *fleet.Progress) { p.Tracker, p.Total = d.src.Tracker(), d.src.Size() })
	return nil
}

// dial connects to the destination.
func (d *source) dial(ctx context.Context) (*wire, error) {
	conn, err := d.m.cfg.Dial(ctx, d.dst)
	if err != nil {
		return nil, fmt.Errorf("host %s cannot be reached: %w", d.dst.Name, err)
	}
	d.s.link = newWire(conn, d.m.cfg.Idle, d.m.cfg.Now)
	return d.s.link, nil
}

// negotiate fills in what every offer says, sends it and waits for the answer.
func (d *source) negotiate(l *wire, o offer, patience time.Duration) (yes accept, err error) {
	o.Version, o.Oldest, o.Cluster, o.Source = wireVersion, wireVersionMin, d.m.cfg.Cluster, d.m.cfg.Host
	o.Lease, o.Token, o.Page, o.Block = d.s.lease.ID, d.s.lease.Token, pageSize, blockSize
	if err := l.send(frameOffer, o); err != nil {
		return accept{}, fmt.Errorf("offering to host %s: %w", d.dst.Name, err)
	}
	f, err := l.receive(patience)
	if err != nil {
		return accept{}, fmt.Errorf("host %s does not answer the offer: %w", d.dst.Name, err)
	}
	var no refusal
	if f.kind == frameRefuse && f.decode(frameRefuse, &no) == nil {
		return accept{}, fmt.Errorf("host %s refuses: %s", d.dst.Name, no.Reason)
	}
	if err := f.decode(frameAccept, &yes); err != nil {
		return accept{}, fmt.Errorf("answer of host %s: %w", d.dst.Name, err)
	}
	return yes, nil
}

// changed returns what to send in this round. When changes may have been missed,
// tracking is begun anew first and then everything is looked at.
func (d *source) changed(ctx context.Context, c *copier) ([]driver.Range, error) {
	ranges, err := d.src.Dirty(ctx)
	for errors.Is(err, driver.ErrTrackingLost) {
		if c.lost++; c.lost > 3 {
			return nil, fmt.Errorf("after %d attempts: %w", c.lost, err)
		}
		d.s.log.Warn("change tracking lost, looking at everything again", "lease", string(d.s.lease.ID), "error", err)
		if _, err = d.src.Dirty(ctx); err == nil {
			return []driver.Range{{Length: d.src.Size()}}, nil
		}
	}
	return ranges, err
}

// round sends what changed and waits until the destination has written it.
func (d *source) round(ctx context.Context, c *copier) error {
	c.count++
	began, sent, n := d.m.cfg.Now(), c.link.sent, c.count
	ranges, err := d.changed(ctx, c)
	if err != nil {
		return err
	}
	check := func() error {
		d.m.board.change(d.progress, func(p *fleet.Progress) { p.Wire = c.link.sent })
		return d.mayCopy(ctx, c)
	}
	if err := c.tx.pages(ranges, check); err != nil {
		return err
	}
	if err := c.link.send(frameRound, round{n}); err != nil {
		return err
	}
	c.tx.sum.settle()
	if err := d.acknowledged(ctx, c, n); err != nil {
		return err
	}
	took := d.m.cfg.Now().Sub(began)
	point := fleet.Checkpoint{Round: n, Scanned: c.tx.scanned, Dirty: c.tx.dirty, Wire: c.link.sent - sent, Took: took}
	if len(c.rounds) > 0 {
		before := c.rounds[len(c.rounds)-1].Took
		// Rounds of a move follow each other at once.
		if pause := began.Sub(c.began) - before; d.waits() && pause > 0 {
			point.Waited = pause
		}
		if during := before + point.Waited; during > 0 {
			point.WriteRate = int64(float64(point.Dirty) / during.Seconds())
		}
	}
	c.began = began
	// A short round measures the round trip, not the link.
	if bandwidth := float64(point.Wire) / max(took.Seconds(), 1e-6); c.pack.bandwidth == 0 || point.Wire > 1<<20 {
		c.pack.bandwidth = bandwidth
	}
	c.rounds = append(c.rounds, point)
	d.m.board.change(d.progress, func(p *fleet.Progress) {
		p.Rounds = append(p.Rounds[max(0, len(p.Rounds)-keptRounds+1):], point)
		p.Wire = c.link.sent
	})
	return d.mayCopy(ctx, c)
}

func (d *source) acknowledged(ctx context.Context, c *copier, n int) error {
	for {
		f, err := c.link.next(ctx, d.m.cfg.Idle)
		if err != nil {
			return err
		}
		var ack round
		switch f.kind {
		case frameAck:
			if err := f.decode(frameAck, &ack); err != nil {
				return err
			}
			if ack.Round == n {
				return nil
			}
		case frameSay:
			d.s.frame(ctx, f, true)
			if err := d.mayCopy(ctx, c); err != nil {
				return err
			}
		}
	}
}

// mayCopy ends the copying when the agent stops, the lease is about to run out,
// the books or the other end say no, or somebody asks.
func (d *source) mayCopy(ctx context.Context, c *copier) error {
	if d.m.soft.Err() != nil {
		return ErrStopped
	}
	if c.hold.left() <= 0 {
		return errors.New("the lease was not renewed in time")
	}
	select {
	case n := <-d.s.notes:
		d.s.note(n)
	case l := <-d.s.letters:
		d.hear(l)
	case <-ctx.Done():
		return context.Cause(ctx)
	default:
	}
	for _, e := range d.s.queue {
		switch {
		case e.Kind == cutover.Heard && e.Word == cutover.Refused:
			return errors.New("the destination has given the move up")
		case e.Kind == cutover.Learned && (e.Lease == fleet.Aborted || e.Lease == fleet.Uncertain):
			return fmt.Errorf("the lease is %s in the books", e.Lease)
		}
	}
	if d.s.unknown {
		return ErrNoLease
	}
	d.s.queue = d.s.queue[:0]
	return nil
}

// hear answers the other end, or an operator, in the middle of the copying.
func (d *source) hear(l letter) {
	if l.vow != nil {
		l.reply <- reply{d.s.rec.Word, fmt.Errorf("it still runs here and is being copied: let the move end by itself, or abort it: %w", ErrNoEffect)}
		return
	}
	d.s.queue = append(d.s.queue, l.event)
	l.reply <- reply{word: d.s.rec.Word}
}

// prove makes sure that a quorum answers now and that the lease outlives the
// cutover by far.
func (d *source) prove(ctx context.Context, c *copier) error {
	ctx, cancel := context.WithTimeout(ctx, d.m.cfg.Proposal)
	defer cancel()
	asked := d.m.cfg.Now()
	if err := d.m.cfg.Books.Linearizable(ctx); err != nil {
		return fmt.Errorf("the books do not answer, so the workload is not frozen: %w", err)
	}
	c.proved = asked
	if age := d.m.cfg.Now().Sub(asked); age >= freshness {
		return fmt.Errorf("the books took %s to answer, so the workload is not frozen", age.Round(time.Millisecond))
	}
	if left := c.hold.left(); left <= 5*c.predicted {
		return fmt.Errorf("the lease has %s left, less than five times the predicted cutover of %s",
			left.Round(time.Millisecond), c.predicted.Round(time.Millisecond))
	}
	return nil
}

// fresh is the last check before the freeze: holding the traffic may have taken
// so long that the proof has gone stale.
func (d *source) fresh(ctx context.Context) error {
	if d.copier == nil {
		return errors.New("only a move of this life may freeze a workload")
	}
	if d.m.cfg.Now().Sub(d.copier.proved) < freshness && d.copier.hold.left() > 5*d.copier.predicted {
		return nil
	}
	return d.prove(ctx, d.copier)
}

// copyRest sends what changed up to the freeze, and the digest of everything.
func (d *source) copyRest(ctx context.Context) error {
	c := d.copier
	if c == nil || c.tx == nil {
		return errors.New("the connection of an earlier life is gone")
	}
	d.m.board.change(d.progress, func(p *fleet.Progress) { p.Phase = fleet.PhaseFrozen })
	// Clients wait: a link that has become slow must not keep them for as long
	// as a copy in the background may take.
	ctx, cancel := context.WithTimeout(ctx, d.m.cfg.CutoverWait)
	defer cancel()
	c.link.idle = d.m.cfg.CutoverWait
	ranges, err := d.changed(ctx, c)
	if err != nil {
		return err
	}
	if err := c.tx.pages(ranges, ctx.Err); err != nil {
		return err
	}
	d.s.rec.Digest = c.tx.sum.sum()
	if err := c.link.send(frameFinal, final{d.s.rec.Digest}); err != nil {
		return err
	}
	c.finalAt = d.m.cfg.Now()
	d.m.board.change(d.progress, func(p *fleet.Progress) { p.Wire = c.link.sent })
	return nil
}

func (m *Migrator) fixedCutover() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.fixed
}

// learnCutover keeps the part of the downtime that no bandwidth shortens: from
// the last byte sent to the destination's word.
func (m *Migrator) learnCutover(c *copier, activated time.Time) {
	if c == nil || c.finalAt.IsZero() {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fixed += (activated.Sub(c.finalAt) - m.fixed) / 4
}
