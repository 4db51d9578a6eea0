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

// destination is the end that a workload moves to.
type destination struct {
	s       *session
	m       *Migrator
	machine cutover.Destination
	drv     driver.Driver
	sink    driver.Sink
	spec    driver.Spec // of the offer; not known after a restart
	token   fleet.Token
	found   driver.Found // once activated by this session
}

// serve answers one offer and carries it to its end.
func (m *Migrator) serve(ctx context.Context, l *wire, from fleet.HostID) error {
	f, err := l.receive(m.cfg.Handshake)
	if err != nil {
		return err
	}
	if f.kind == frameTunnel {
		return m.serveTunnel(ctx, l, f, from)
	}
	var o offer
	if err := f.decode(frameOffer, &o); err != nil {
		return err
	}
	d, err := m.consider(ctx, o, from)
	if err != nil {
		m.log.Warn("migration refused", "workload", string(o.Spec.ID), "lease", string(o.Lease), "from", string(from), "error", err)
		return errors.Join(err, l.send(frameRefuse, refusal{err.Error()}))
	}
	s := d.s
	defer m.wg.Done()
	defer m.release(o.Spec.ID)
	defer d.close()
	s.link = l
	if h, ok := m.handover(s.rec); ok {
		return m.serveHand(ctx, s, o, h)
	}

	// The move lives as long as the agent; the caller's context is the
	// connection's, which may end before.
	moving, cancel := context.WithCancel(m.hard)
	defer s.join(cancel)
	stop := context.AfterFunc(ctx, func() { _ = l.conn.Close() })
	defer stop()
	s.take(moving, d, cutover.Event{Kind: cutover.Admit})
	if s.rec.Word == cutover.None {
		return errors.Join(errors.New(s.reason), l.send(frameRefuse, refusal{s.reason}))
	}
	first := cutover.Event{Kind: cutover.Abandon}
	if d.machine.Word == cutover.Admitted && d.sink != nil {
		first = d.receive(moving, o)
	} else {
		err = errors.Join(errors.New(s.reason), l.send(frameRefuse, refusal{s.reason}))
	}
	if runErr := s.run(moving, d, first); runErr != nil && !d.decided() {
		return fmt.Errorf("lease %s is open, this host's last word is %q: %w", o.Lease, s.rec.Word, runErr)
	}
	if d.machine.Word == cutover.Refused {
		if s.reason == "" {
			s.reason = "the source or the books gave the move up"
		}
		return errors.Join(err, fmt.Errorf("workload %s was not taken over: %s", o.Spec.ID, s.reason))
	}
	return nil
}

// consider checks an offer against the books, the token store, the drivers and
// the machine, and claims the workload.
func (m *Migrator) consider(ctx context.Context, o offer, from fleet.HostID) (*destination, error) {
	if err := m.checkOffer(o, from); err != nil {
		return nil, err
	}
	drv, ok := m.cfg.Drivers[o.Spec.Driver]
	if !ok {
		return nil, fmt.Errorf("host %s has no driver %q", m.cfg.Host, o.Spec.Driver)
	}
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Handshake)
	defer cancel()
	lease, err := m.cfg.Books.WaitLease(ctx, o.Lease, func(l fleet.Lease) bool { return l.State != fleet.Granted })
	if err != nil {
		return nil, fmt.Errorf("lease %s is not known to have begun: %w", o.Lease, err)
	}
	switch {
	case lease.Destination != m.cfg.Host, lease.Source != from, lease.Token != o.Token, lease.Workload != o.Spec.ID:
		return nil, fmt.Errorf("the offer does not match lease %s in the books", o.Lease)
	case lease.State != fleet.Transferring:
		return nil, fmt.Errorf("lease %s is %s in the books", o.Lease, lease.State)
	}
	if err := m.checkToken(lease); err != nil {
		return nil, err
	}
	if err := m.cfg.Check(ctx, o.Spec); err != nil {
		return nil, fmt.Errorf("host %s has no room: %w", m.cfg.Host, err)
	}
	if found, _, err := m.find(ctx, o.Spec.ID); err == nil {
		return nil, fmt.Errorf("host %s already holds workload %s (%s, token %s)", m.cfg.Host, o.Spec.ID, found.State, found.Token)
	} else if !errors.Is(err, driver.ErrNotFound) {
		return nil, err
	}
	s, err := m.admit(ctx, o.Spec.ID, lease.Kind == fleet.LeaseStandby)
	if err != nil {
		return nil, err
	}
	s.lease = lease
	s.rec = Record{Workload: o.Spec.ID, Token: o.Token, Lease: o.Lease, Peer: from, Driver: drv.Name()}
	return &destination{s: s, m: m, machine: cutover.NewDestination(), drv: drv, spec: o.Spec, token: o.Token}, nil
}

// maxState bounds what an offer may announce: 16 TiB.
const maxState = 16 << 40

func (m *Migrator) checkOffer(o offer, from fleet.HostID) error {
	switch {
	case o.Oldest > wireVersion || o.Version < wireVersionMin:
		return fmt.Errorf("the source speaks versions %d to %d of the migration protocol, this host %d to %d: upgrade the older one",
			o.Oldest, o.Version, wireVersionMin, wireVersion)
	case o.Cluster != m.cfg.Cluster:
		return fmt.Errorf("the source belongs to cluster %q, this is %q", o.Cluster, m.cfg.Cluster)
	case o.Source != from:
		return fmt.Errorf("the offer names host %s as its source", o.Source)
	case o.Page != pageSize || o.Block != blockSize:
		return fmt.Errorf("pages of %d and blocks of %d bytes are not supported", o.Page, o.Block)
	case o.Size <= 0 || o.Size > maxState || o.Size != o.Spec.Size:
		return fmt.Errorf("a state of %d bytes does not fit the specification's %d", o.Size, o.Spec.Size)
	}
	return o.Spec.ID.Validate()
}

// checkToken: newer than any stored for the workload; and a host that has lost
// its store admits nothing that was granted before it registered.
func (m *Migrator) checkToken(l fleet.Lease) error {
	if old, ok := m.tokens.Get(l.Workload); ok {
		if !l.Token.NewerThan(old.Token) {
			return fmt.Errorf("token %s, this host has stored %s: %w", l.Token, old.Token, ErrStaleToken)
		}
		return nil
	}
	if self, ok := m.cfg.Books.Host(m.cfg.Host); !ok {
		return fmt.Errorf("this host (%s) is not in the books it can see", m.cfg.Host)
	} else if l.Token.Index < self.Registered {
		return fmt.Errorf("token %s is older than this host's registration at index %d: %w", l.Token, self.Registered, ErrStaleToken)
	}
	return nil
}

// receive takes pages until everything is here and verified, and returns the
// event that follows.
func (d *destination) receive(ctx context.Context, o offer) cutover.Event {
	err := d.fill(ctx, o)
	if err == nil {
		return cutover.Event{Kind: cutover.Verified}
	}
	d.s.reason = err.Error()
	d.s.log.Warn("incoming copy given up", "lease", string(o.Lease), "error", err)
	return cutover.Event{Kind: cutover.Abandon}
}

func (d *destination) fill(ctx context.Context, o offer) error {
	open, err := newDecompressor()
	if err != nil {
		return err
	}
	defer open.close()
	r := &receiver{sink: d.sink, size: o.Size, open: open, sum: newDigest(o.Size)}
	d.s.watch(ctx)
	if err := d.s.link.send(frameAccept, accept{Version: wireVersion, Codecs: codecNames[:]}); err != nil {
		return err
	}
	d.s.link.listen(d.m.cfg.Idle)
	for {
		var f frame
		var ok bool
		select {
		case f, ok = <-d.s.link.in:
			if !ok {
				return fmt.Errorf("connection to the source lost: %w", d.s.link.err)
			}
		case n := <-d.s.notes:
			d.s.note(n)
			if err := d.disturbed(); err != nil {
				return err
			}
			continue
		case l := <-d.s.letters:
			if l.vow != nil {
				l.reply <- reply{d.s.rec.Word, fmt.Errorf("the copy here is not complete: %w", ErrNoEffect)}
				continue
			}
			d.s.asked(ctx, l.event)
			d.s.drain(ctx, d)
			l.reply <- reply{word: d.s.word(ctx, d)}
			if d.machine.Word != cutover.Admitted {
				return errors.New("the source has asked for this host's word in the middle of the copy")
			}
			continue
		case <-d.m.soft.Done():
			return ErrStopped
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if done, err := d.frame(ctx, r, f); done || err != nil {
			return err
		}
	}
}

// disturbed ends the copy when the books have ended the lease.
func (d *destination) disturbed() error {
	if d.s.unknown {
		return ErrNoLease
	}
	if l := d.s.lease.State; l == fleet.Aborted || l == fleet.Uncertain {
		return fmt.Errorf("the lease is %s in the books", l)
	}
	d.s.queue = nil
	return nil
}

// frame handles one frame of the copy; done: the state is complete and proved
// equal to the source's.
func (d *destination) frame(ctx context.Context, r *receiver, f frame) (done bool, err error) {
	switch f.kind {
	case framePing:
		return false, nil
	case framePages:
		return false, r.pages(f)
	case frameRound:
		var n round
		if err := f.decode(frameRound, &n); err != nil {
			return false, err
		}
		r.sum.settle()
		return false, d.s.link.send(frameAck, n)
	case frameFinal:
		var last final
		if err := f.decode(frameFinal, &last); err != nil {
			return false, err
		}
		if have := r.sum.sum(); have != last.Digest {
			return false, fmt.Errorf("the copy's digest is %s, the source's %s", have, last.Digest)
		}
		d.s.rec.Digest = last.Digest
		return true, nil
	case frameSay:
		d.s.frame(ctx, f, true)
		if len(d.s.queue) > 0 {
			return false, fmt.Errorf("the source has given the move up")
		}
		return false, nil
	}
	return false, fmt.Errorf("%w: kind %d in the middle of a copy", errFrame, f.kind)
}

func (d *destination) step(e cutover.Event) []cutover.Action {
	var actions []cutover.Action
	d.machine, actions = d.machine.Step(e)
	return actions
}

func (d *destination) decided() bool { return d.machine.Decided() }

func (d *destination) settled() bool { return d.s.settledHere(d.machine) }

func (d *destination) wait(tries int) time.Duration { return d.m.destinationWait(tries) }

// settledHere says that a destination has nothing left to do. An aborted lease still
// waits for this host's report that it holds nothing any more.
func (s *session) settledHere(d cutover.Destination) bool {
	if !d.Settled() {
		return false
	}
	return d.Word != cutover.Refused || d.Lease != fleet.Aborted || s.lease.Discarded
}

// destinationWait is how long a destination waits before it looks again.
func (m *Migrator) destinationWait(tries int) time.Duration {
	return m.cfg.RecoverEvery << min(tries/8, 3)
}

func (d *destination) observe(ctx context.Context) (cutover.Copy, error) {
	return d.m.observe(ctx, d.s.rec)
}

func (d *destination) again(c cutover.Copy) cutover.Event {
	d.close() // whatever failed, the next attempt opens it anew
	return cutover.Event{Kind: cutover.Restart, Word: d.s.rec.Word, Copy: c}
}

func (d *destination) perform(ctx context.Context, k cutover.ActionKind) error {
	switch k {
	case cutover.Receive:
		var err error
		d.sink, err = d.drv.Sink(ctx, d.spec, d.token)
		return err
	case cutover.Activate:
		return d.activate(ctx)
	case cutover.AdoptTraffic:
		if err := d.adopt(ctx); err != nil {
			d.s.log.Warn("traffic adopt failed: clients follow when the proxies' tables are next written", "lease", string(d.s.rec.Lease), "error", err)
		}
		return nil
	case cutover.Discard:
		return d.discard(ctx)
	}
	return fmt.Errorf("the destination cannot %s", k)
}

// activate runs the copy, from its saved state if the agent was stopped on
// purpose after the first time.
func (d *destination) activate(ctx context.Context) error {
	if d.sink == nil {
		found, err := d.m.look(ctx, d.s.rec)
		if err != nil {
			return err
		}
		if found.State == driver.Stopped {
			d.found, err = d.drv.Start(ctx, found.Spec, found.Token)
			return err
		}
	}
	if err := d.open(ctx); err != nil {
		return err
	}
	var err error
	d.found, err = d.sink.Activate(ctx)
	return err
}

func (d *destination) discard(ctx context.Context) error {
	found, err := d.m.look(ctx, d.s.rec)
	switch {
	case errors.Is(err, driver.ErrNotFound):
		return nil
	case err != nil:
		return err
	case found.State != driver.Incoming:
		return fmt.Errorf("workload %s is %s here, only a copy that never ran may be discarded", d.s.rec.Workload, found.State)
	}
	if err := d.open(ctx); err != nil {
		return err
	}
	return d.sink.Discard(ctx)
}

func (d *destination) adopt(ctx context.Context) error {
	if d.found.Spec.ID == "" {
		var err error
		if d.found, _, err = d.m.find(ctx, d.s.rec.Workload); err != nil {
			return err
		}
	}
	return d.m.cfg.Traffic.Adopt(ctx, d.found)
}

func (d *destination) open(ctx context.Context) error {
	if d.sink != nil {
		return nil
	}
	var err error
	d.sink, err = d.drv.OpenSink(ctx, d.s.rec.Workload)
	return err
}

func (d *destination) close() {
	if d.sink == nil {
		return
	}
	if err := d.sink.Close(); err != nil {
		d.s.log.Debug("closing the incoming copy", "error", err)
	}
	d.sink = nil
}
