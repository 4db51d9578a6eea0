package migrator

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/placed-dev/placed/cutover"
	"github.com/placed-dev/placed/fleet"
)

// workers are a session's own goroutines; join ends and awaits them.
type workers struct{ wg sync.WaitGroup }

func (w *workers) spawn(f func()) { w.wg.Go(f) }

func (s *session) join(cancel context.CancelFunc) {
	cancel()
	s.wg.Wait()
	if s.link != nil {
		s.link.close()
		s.link = nil
	}
}

// notify hands news to the session unless it has ended.
func (s *session) notify(ctx context.Context, n note) {
	select {
	case s.notes <- n:
	case <-ctx.Done():
	}
}

// watch follows the lease in the books until ctx ends.
func (s *session) watch(ctx context.Context) {
	if s.watched {
		return
	}
	s.watched = true
	id, last := s.lease.ID, s.lease
	s.spawn(func() {
		for ctx.Err() == nil {
			l, err := s.m.cfg.Books.WaitLease(ctx, id, func(l fleet.Lease) bool {
				return l.State != last.State || l.Discarded != last.Discarded || l.Kind != last.Kind
			})
			switch {
			case err == nil:
				last = l
				s.notify(ctx, note{event: cutover.Event{Kind: cutover.Learned, Lease: l.State}, lease: &l})
			case errors.Is(err, ErrNoLease):
				s.notify(ctx, note{unknown: true})
				pause(ctx, s.m.cfg.RecoverEvery)
			default:
				pause(ctx, s.m.cfg.RecoverEvery)
			}
		}
	})
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// holder keeps a lease alive and knows until when it may be relied upon. The
// leader counts from the arrival of a renewal, the holder from its sending, less
// 1 % of the TTL for the drift between both clocks, less one round trip. Before
// the first renewal nothing may be relied upon: the grant may be old.
type holder struct {
	ttl time.Duration
	now func() time.Time

	mu    sync.Mutex
	until time.Time
}

func newHolder(ttl time.Duration, now func() time.Time) *holder {
	return &holder{ttl: ttl, now: now, until: now()}
}

func (h *holder) left() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.until.Sub(h.now())
}

func (h *holder) renewed(sent time.Time) {
	trip := h.now().Sub(sent)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.until = sent.Add(h.ttl*99/100 - trip)
}

// renew keeps the lease alive until ctx ends. A failed renewal is repeated soon:
// what counts is what is left of the TTL.
func (s *session) renew(ctx context.Context, h *holder, lease fleet.Lease) {
	s.spawn(func() {
		for {
			wait := s.m.cfg.RenewEvery
			if h.left() < s.m.cfg.TTL/2 { // the last one failed
				wait = min(wait, time.Second)
			}
			pause(ctx, wait)
			if ctx.Err() != nil {
				return
			}
			s.renewOnce(ctx, h, lease)
		}
	})
}

func (s *session) renewOnce(ctx context.Context, h *holder, lease fleet.Lease) {
	call, cancel := context.WithTimeout(ctx, s.m.cfg.Proposal)
	defer cancel()
	sent := s.m.cfg.Now()
	if err := s.m.cfg.Books.Renew(call, lease); err != nil {
		s.log.Debug("lease not renewed", "lease", string(lease.ID), "left", h.left(), "error", err)
		return
	}
	h.renewed(sent)
}
