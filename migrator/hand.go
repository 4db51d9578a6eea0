package migrator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/placed-dev/placed/cutover"
	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

// Moves that the hypervisor carries out itself (driver.Handover): what both ends
// share. The session, the words, the books and the recovery are those of every
// move; only the machine and the effects differ.

// handCopies translates what a driver sees.
var handCopies = map[driver.State]cutover.Copy{driver.Running: cutover.Running, driver.Frozen: cutover.Frozen,
	driver.Incoming: cutover.Incoming, driver.Sending: cutover.Sending, driver.Whole: cutover.Whole, driver.Off: cutover.Off}

// handover returns the record's driver if its hypervisor moves workloads itself.
func (m *Migrator) handover(rec Record) (driver.Handover, bool) {
	h, ok := m.cfg.Drivers[rec.Driver].(driver.Handover)
	return h, ok
}

// observeHand says what this host holds. At a destination only what came under
// the record's token counts.
func (m *Migrator) observeHand(ctx context.Context, h driver.Handover, rec Record) (cutover.Copy, error) {
	f, err := h.Look(ctx, rec.Workload)
	switch {
	case errors.Is(err, driver.ErrNotFound):
		return cutover.Absent, nil
	case err != nil:
		return cutover.Absent, err
	case !rec.Source && f.Token != rec.Token:
		return cutover.Absent, nil
	}
	c, ok := handCopies[f.State]
	if !ok {
		return cutover.Absent, fmt.Errorf("driver %s reports the unknown state %q of workload %s", h.Name(), f.State, rec.Workload)
	}
	return c, nil
}

// handDigest stands in the books where a copied workload has the digest of its
// pages: the hypervisor checks its own stream, and the token names the copy.
func handDigest(t fleet.Token) string { return fmt.Sprintf("token %d/%d", t.Generation, t.Index) }

// resolveHand settles one end of a hypervisor's move from what is on disk and
// what is seen.
func (m *Migrator) resolveHand(ctx context.Context, s *session, h driver.Handover, restart cutover.Event) error {
	s.rec.Digest = handDigest(s.rec.Token)
	s.queue = append(s.queue, cutover.Event{Kind: cutover.Deadline})
	if s.rec.Source {
		d := newHandSource(m, s, h)
		d.machine.Lease = s.lease.State
		d.moving = ctx
		defer d.close()
		return s.run(ctx, d, restart)
	}
	d := newHandDestination(m, s, h)
	defer d.close()
	d.machine.Lease = s.lease.State
	d.watchCopy(ctx)
	return s.run(ctx, d, restart)
}

// tunnel is the first frame of a connection that carries one channel of a
// hypervisor's move.
type tunnel struct {
	Version  int              `json:"version"`
	Cluster  string           `json:"cluster"`
	Workload fleet.WorkloadID `json:"workload"`
	Token    fleet.Token      `json:"token"`
	Channel  string           `json:"channel"`
}

// openTunnel connects to one of the driver's channels at the destination.
func (m *Migrator) openTunnel(ctx context.Context, to fleet.Host, t tunnel) (net.Conn, error) {
	limited, cancel := context.WithTimeout(ctx, m.cfg.Handshake)
	defer cancel()
	conn, err := m.cfg.Dial(limited, to)
	if err != nil {
		return nil, err
	}
	impatient(conn)
	l := newWire(conn, m.cfg.Idle, m.cfg.Now)
	t.Version, t.Cluster = wireVersion, m.cfg.Cluster
	err = l.send(frameTunnel, t)
	var f frame
	if err == nil {
		f, err = l.receive(m.cfg.Handshake)
	}
	var no refusal
	switch {
	case err == nil && f.kind == frameRefuse && f.decode(frameRefuse, &no) == nil:
		err = fmt.Errorf("host %s refuses: %s", to.Name, no.Reason)
	case err == nil && f.kind != frameAccept:
		err = fmt.Errorf("%w: kind %d answers a tunnel", errFrame, f.kind)
	case err == nil:
		err = conn.SetDeadline(time.Time{})
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// serveTunnel carries one channel of an admitted move until either end closes it
// or the agent ends: a token that was not admitted here opens nothing.
func (m *Migrator) serveTunnel(ctx context.Context, l *wire, f frame, from fleet.HostID) error {
	local, err := m.enter(ctx, f, from)
	if err != nil {
		return errors.Join(err, l.send(frameRefuse, refusal{err.Error()}))
	}
	defer local.Close()
	end, ok := m.tunnels.begin(f.passage(), func() { _, _ = local.Close(), l.conn.Close() })
	if !ok {
		return l.send(frameRefuse, refusal{"the entrance is shut"})
	}
	defer end()
	if err := l.send(frameAccept, accept{Version: wireVersion}); err != nil {
		return err
	}
	if err := l.conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	impatient(l.conn)
	for _, end := range []context.Context{ctx, m.hard} {
		stop := context.AfterFunc(end, func() { _, _ = local.Close(), l.conn.Close() })
		defer stop()
	}
	join(local, l.conn)
	return nil
}

func (m *Migrator) enter(ctx context.Context, f frame, from fleet.HostID) (net.Conn, error) {
	var t tunnel
	if err := f.decode(frameTunnel, &t); err != nil {
		return nil, err
	}
	rec, ok := m.tokens.Get(t.Workload)
	switch {
	case t.Cluster != m.cfg.Cluster:
		return nil, fmt.Errorf("the source belongs to cluster %q, this is %q", t.Cluster, m.cfg.Cluster)
	case !ok || rec.Token != t.Token || rec.Source || rec.Peer != from:
		return nil, fmt.Errorf("token %s was not admitted here for workload %s: %w", t.Token, t.Workload, ErrStaleToken)
	case rec.Word != cutover.Admitted && rec.Word != cutover.Prepared:
		return nil, fmt.Errorf("this host has said %q under token %s", rec.Word, t.Token)
	}
	h, ok := m.handover(rec)
	if !ok {
		return nil, fmt.Errorf("driver %q does not move workloads by itself", rec.Driver)
	}
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Handshake)
	defer cancel()
	return h.Enter(ctx, t.Workload, t.Token, t.Channel)
}

// passage is one workload's move to here. The token alone does not tell moves apart:
// all grants of one entry in the books have the same.
type passage struct {
	workload fleet.WorkloadID
	token    fleet.Token
}

// passage of a tunnel frame; it has been decoded before.
func (f frame) passage() passage {
	var t tunnel
	_ = f.decode(frameTunnel, &t)
	return passage{t.Workload, t.Token}
}

// tunnels are the channels open at this destination, by passage.
type tunnels struct {
	mu     sync.Mutex // guards all below
	open   map[passage]map[int]func()
	barred map[passage]bool
	next   int
}

// begin notes a channel that stop ends; false: its entrance is shut.
func (t *tunnels) begin(p passage, stop func()) (end func(), ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.barred[p] {
		return nil, false
	}
	if t.open == nil {
		t.open, t.barred = map[passage]map[int]func(){}, map[passage]bool{}
	}
	if t.open[p] == nil {
		t.open[p] = map[int]func(){}
	}
	t.next++
	n := t.next
	t.open[p][n] = stop
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.open[p], n)
		if len(t.open[p]) == 0 {
			delete(t.open, p)
		}
	}, true
}

// bar ends every channel of the passage, lets no other begin, and returns when
// none is left.
func (t *tunnels) bar(ctx context.Context, p passage) error {
	for ; ctx.Err() == nil; pause(ctx, 2*time.Millisecond) {
		t.mu.Lock()
		if t.barred == nil {
			t.open, t.barred = map[passage]map[int]func(){}, map[passage]bool{}
		}
		t.barred[p] = true
		stops := t.open[p]
		for _, stop := range stops {
			stop()
		}
		left := len(stops)
		t.mu.Unlock()
		if left == 0 {
			return nil
		}
	}
	return context.Cause(ctx)
}

// forget drops what is known of a passage once this host has said its last word,
// which alone keeps the entrance shut from then on.
func (t *tunnels) forget(p passage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.barred, p)
}

// join copies both ways. The end of one direction is passed on, so that what is
// still under way in the other arrives.
func join(a, b net.Conn) {
	var wg sync.WaitGroup
	pass := func(to, from net.Conn) {
		_, err := io.Copy(to, from)
		if half, ok := to.(interface{ CloseWrite() error }); ok && err == nil && half.CloseWrite() == nil {
			return
		}
		_, _ = a.Close(), b.Close() // nothing is decided by it
	}
	wg.Go(func() { pass(a, b) })
	wg.Go(func() { pass(b, a) })
	wg.Wait()
}
