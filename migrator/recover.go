package migrator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/placed-dev/placed/cutover"
	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

func (m *Migrator) driverNames() []string { return slices.Sorted(maps.Keys(m.cfg.Drivers)) }

// observe says what this host holds of a workload under the record's token. A
// source's copy runs under an older one; at a destination only what came by this
// token counts.
func (m *Migrator) observe(ctx context.Context, rec Record) (cutover.Copy, error) {
	if h, ok := m.handover(rec); ok {
		return m.observeHand(ctx, h, rec)
	}
	f, err := m.look(ctx, rec)
	switch {
	case errors.Is(err, driver.ErrNotFound):
		return cutover.Absent, nil
	case err != nil:
		return cutover.Absent, err
	}
	switch f.State {
	case driver.Running:
		return cutover.Running, nil
	case driver.Frozen:
		return cutover.Frozen, nil
	case driver.Incoming:
		return cutover.Incoming, nil
	case driver.Stopped:
		// Saved by a planned stop: complete, unchanging, and able to run. At
		// the destination only what was activated can have been saved.
		if rec.Source {
			return cutover.Frozen, nil
		}
		return cutover.Incoming, nil
	}
	return cutover.Absent, fmt.Errorf("driver %s reports the unknown state %q of workload %s", rec.Driver, f.State, rec.Workload)
}

// look returns what the driver shows under the record's token, or ErrNotFound.
func (m *Migrator) look(ctx context.Context, rec Record) (driver.Found, error) {
	drv, ok := m.cfg.Drivers[rec.Driver]
	if !ok {
		return driver.Found{}, fmt.Errorf("this host has no driver %q, which holds workload %s: configure it again", rec.Driver, rec.Workload)
	}
	list, err := drv.Inventory(ctx)
	if err != nil {
		return driver.Found{}, fmt.Errorf("inventory of driver %s: %w", rec.Driver, err)
	}
	for _, f := range list {
		if f.Spec.ID == rec.Workload && (rec.Source || f.Token == rec.Token) {
			return f, nil
		}
	}
	return driver.Found{}, driver.ErrNotFound
}

// reconcile settles what the store, the drivers and the books show to be open,
// first at once and then steadily, until the agent stops.
func (m *Migrator) reconcile(hard context.Context) {
	m.unseen.Store(true) // the first time every record is looked at
	for m.soft.Err() == nil {
		if !m.sweep(hard, m.unseen.Swap(false)) {
			m.unseen.Store(true)
		}
		pause(m.soft, m.cfg.RecoverEvery)
	}
}

// sweep starts a session for every open end that has none; false: something could
// not be seen, so it must be looked at again.
func (m *Migrator) sweep(ctx context.Context, all bool) bool {
	complete := true
	call, cancel := context.WithTimeout(m.soft, m.cfg.Proposal)
	defer cancel()
	leases, err := m.cfg.Books.Leases(call)
	if err != nil {
		m.log.Debug("the books do not answer", "error", err)
		complete = false
	}
	for _, l := range leases {
		if rec, ok := m.owes(l, all); ok {
			m.adopt(ctx, rec, l)
		}
	}
	if !all {
		return complete
	}
	for _, rec := range m.tokens.All() {
		open, err := m.open(call, rec)
		if err != nil {
			m.log.Warn("cannot see what an earlier life left behind", "workload", string(rec.Workload), "error", err)
			complete = false
		}
		if open {
			m.adopt(ctx, rec, leaseOf(m.cfg.Host, rec))
		}
	}
	return complete
}

// leaseOf rebuilds from the store what is needed of a lease that the books do not
// show (yet).
func leaseOf(self fleet.HostID, rec Record) fleet.Lease {
	l := fleet.Lease{ID: rec.Lease, Workload: rec.Workload, Token: rec.Token, Source: self, Destination: rec.Peer, State: fleet.Granted}
	if !rec.Source {
		l.Source, l.Destination = rec.Peer, self
	}
	return l
}

// owes says whether this host still has to do something for an active lease of
// which it is an end, and from which record it starts. After a start every lease
// with a word of this host is looked at: what it speaks of may have been saved.
func (m *Migrator) owes(l fleet.Lease, all bool) (Record, bool) {
	if l.Kind == fleet.LeasePlacement || l.State == fleet.Granted {
		return Record{}, false
	}
	rec, stored := m.tokens.Get(l.Workload)
	mine := stored && rec.Token == l.Token
	if stored && !mine && !l.Token.NewerThan(rec.Token) {
		return Record{}, false // a later token has settled it
	}
	switch {
	case l.Source == m.cfg.Host:
		if !mine {
			rec = Record{Workload: l.Workload, Token: l.Token, Source: true, Lease: l.ID, Peer: l.Destination}
		}
		// An aborted lease waits for the destination alone.
		return rec, l.State != fleet.Aborted || mine && (all || rec.Word != cutover.Aborted)
	case l.Destination == m.cfg.Host:
		if !mine {
			rec = Record{Workload: l.Workload, Token: l.Token, Lease: l.ID, Peer: l.Source}
		}
		// Without a word here, a transferring lease is about to be offered;
		// an activated one waits for the source alone.
		return rec, !(l.State == fleet.Transferring && !mine) && (all || l.State != fleet.Activated || rec.Word != cutover.Activated)
	}
	return Record{}, false
}

// open says whether a stored record is unfinished by what is seen here alone.
func (m *Migrator) open(ctx context.Context, rec Record) (bool, error) {
	f, err := m.look(ctx, rec)
	if err != nil && !errors.Is(err, driver.ErrNotFound) {
		return false, err
	}
	if rec.Source {
		return rec.Word == cutover.None || rec.Word == cutover.Relinquished || f.State == driver.Frozen, nil
	}
	return rec.Word == cutover.Admitted || rec.Word == cutover.Prepared || f.State == driver.Incoming, nil
}

// adopt starts a session that settles an end left open; nil: there is one, or the
// agent stops.
func (m *Migrator) adopt(ctx context.Context, rec Record, l fleet.Lease) *session {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.claimLocked(rec.Workload)
	if err != nil {
		return nil
	}
	m.wg.Go(func() {
		defer m.release(rec.Workload)
		// Read again under the claim: a session may just have ended.
		if now, ok := m.tokens.Get(rec.Workload); ok && now.Token == rec.Token {
			rec = now
		} else if ok && !rec.Token.NewerThan(now.Token) {
			return
		}
		s.rec, s.lease = rec, l
		if err := m.resolve(ctx, s); err != nil && !errors.Is(err, ErrStopped) {
			s.log.Warn("a move is still open", "lease", string(l.ID), "word", rec.Word.String(), "error", err)
			m.unseen.Store(true)
		}
	})
	return s
}

// resolve settles one end from what is on disk and what is seen.
func (m *Migrator) resolve(ctx context.Context, s *session) error {
	if s.rec.Driver == "" {
		name, err := m.driverOf(ctx, s.rec.Workload)
		if err != nil {
			return err
		}
		s.rec.Driver = name
	}
	look, cancel := context.WithTimeout(ctx, m.cfg.Effect)
	c, err := m.observe(look, s.rec)
	cancel()
	if err != nil {
		return err
	}
	ctx, cancel = context.WithCancel(ctx)
	defer s.join(cancel)
	s.log.Info("settling a move of an earlier life", "lease", string(s.lease.ID), "word", s.rec.Word.String(), "copy", c.String())
	s.reason = "the agent of host " + string(m.cfg.Host) + " was restarted"
	restart := cutover.Event{Kind: cutover.Restart, Word: s.rec.Word, Copy: c}
	if h, ok := m.handover(s.rec); ok {
		return m.resolveHand(ctx, s, h, restart)
	}
	if s.rec.Source {
		d := &source{s: s, m: m, machine: cutover.Source{Lease: s.lease.State}, drv: m.cfg.Drivers[s.rec.Driver]}
		defer d.close()
		s.queue = append(s.queue, cutover.Event{Kind: cutover.Deadline})
		return s.run(ctx, d, restart)
	}
	d := &destination{s: s, m: m, machine: cutover.Destination{Lease: s.lease.State}, drv: m.cfg.Drivers[s.rec.Driver], token: s.rec.Token}
	defer d.close()
	// What the books are already known to say counts too.
	s.queue = append(s.queue, cutover.Event{Kind: cutover.Deadline})
	return s.run(ctx, d, restart)
}

// driverOf finds the driver of a workload that the store does not know: the one
// that holds it, else any, for then there is nothing to hold.
func (m *Migrator) driverOf(ctx context.Context, id fleet.WorkloadID) (string, error) {
	_, drv, err := m.find(ctx, id)
	switch {
	case err == nil:
		return drv.Name(), nil
	case !errors.Is(err, driver.ErrNotFound):
		return "", err
	case len(m.cfg.Drivers) == 0:
		return "", errors.New("this host has no driver")
	}
	return m.driverNames()[0], nil
}

// Answer gives this host's durable word on a question of the other end. It
// decides if it must: a destination that is asked before it has activated refuses
// first.
func (m *Migrator) Answer(ctx context.Context, from fleet.HostID, q Question) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Proposal)
	defer cancel()
	rec, stored := m.tokens.Get(q.Workload)
	mine := stored && rec.Token == q.Token
	if mine && rec.Peer != from {
		return Answer{}, fmt.Errorf("host %s is not the other end of lease %s", from, rec.Lease)
	}
	if !mine {
		l, err := m.cfg.Books.Lease(ctx, q.Lease)
		if err != nil {
			return Answer{}, err
		}
		if l.Token != q.Token || l.Workload != q.Workload || l.Source != from || l.Destination != m.cfg.Host ||
			stored && !q.Token.NewerThan(rec.Token) {
			return Answer{}, nil // settled long ago; the books tell
		}
		rec = Record{Workload: q.Workload, Token: q.Token, Lease: q.Lease, Peer: from}
	}
	e, err := q.Say.event(!rec.Source)
	if err != nil {
		return Answer{}, err
	}
	word, err := m.deliver(ctx, rec, e)
	if err != nil {
		return Answer{}, fmt.Errorf("question of host %s about %s: %w", from, q.Workload, err)
	}
	return Answer{Word: word}, nil
}

// deliver hands an event to the session of the workload, which it starts if there
// is none and the last word here is not final.
func (m *Migrator) deliver(ctx context.Context, rec Record, e cutover.Event) (cutover.Word, error) {
	for ; ctx.Err() == nil; pause(ctx, 5*time.Millisecond) {
		m.mu.Lock()
		s, running := m.sessions[rec.Workload], m.running
		m.mu.Unlock()
		if !running {
			return cutover.None, ErrNotRunning
		}
		if s == nil {
			if word, ok := m.finalWord(ctx, rec); ok {
				return word, nil
			}
			if s = m.adopt(m.hard, rec, leaseOf(m.cfg.Host, rec)); s == nil {
				if m.soft.Err() != nil {
					return cutover.None, ErrStopped
				}
				continue // another session has just begun
			}
		}
		if word, err := s.post(ctx, e, nil); !errors.Is(err, ErrNotRunning) {
			return word, err
		}
	}
	return cutover.None, context.Cause(ctx)
}

// finalWord returns a word that no event can change any more.
func (m *Migrator) finalWord(ctx context.Context, rec Record) (cutover.Word, bool) {
	now, ok := m.tokens.Get(rec.Workload)
	if !ok || now.Token != rec.Token {
		return cutover.None, false
	}
	c, err := m.observe(ctx, now)
	if err != nil {
		return cutover.None, false
	}
	switch now.Word {
	case cutover.Activated:
		return now.Word, c == cutover.Running
	case cutover.Refused, cutover.Released:
		return now.Word, c == cutover.Absent
	case cutover.Aborted:
		return now.Word, c == cutover.Running
	}
	return cutover.None, false
}
