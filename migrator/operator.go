package migrator

import (
	"context"
	"errors"
	"fmt"

	"github.com/placed-dev/placed/cutover"
	"github.com/placed-dev/placed/fleet"
)

// What an operator can do on a host whose move hangs while neither a quorum nor
// the other end answers. Each is one event of the explored protocol: a word that
// the other end would have sent. The operator vouches for it, because nobody else
// can.

// ErrNotFenced: the operator has vouched for another host than the other end.
var ErrNotFenced = errors.New("not the other end of this move")

// ErrNoEffect: the protocol did not take the operator's word, because what it
// says can no longer be true or this end is beyond it.
var ErrNoEffect = errors.New("no effect")

// vow is what an operator vouches for.
type vow struct {
	// source says at which end it makes sense.
	source bool
	// fenced, if given, is the host that was shut off for good.
	fenced fleet.HostID
}

// check holds a vow against the end that is to act on it.
func (v *vow) check(rec Record) error {
	if v == nil {
		return nil
	}
	role := map[bool]string{true: "source", false: "destination"}
	switch {
	case rec.Source != v.source:
		return fmt.Errorf("this host is the %s of lease %s, and this is for the %s: %w", role[rec.Source], rec.Lease, role[v.source], ErrNoEffect)
	case v.fenced != "" && v.fenced != rec.Peer:
		return fmt.Errorf("the other end of lease %s is host %s, not %s: %w", rec.Lease, rec.Peer, v.fenced, ErrNotFenced)
	}
	return nil
}

// Thaw lets the source's frozen copy run again. The operator vouches that the
// destination, fenced, has not activated its copy and never will.
func (m *Migrator) Thaw(ctx context.Context, id fleet.WorkloadID, fenced fleet.HostID) error {
	return m.vouch(ctx, id, vow{true, fenced}, cutover.Event{Kind: cutover.Heard, Word: cutover.Refused}, cutover.Aborted)
}

// Resume lets the destination's prepared copy run. The operator vouches that the
// source, fenced, will never run its own again.
func (m *Migrator) Resume(ctx context.Context, id fleet.WorkloadID, fenced fleet.HostID) error {
	return m.vouch(ctx, id, vow{false, fenced}, cutover.Event{Kind: cutover.Heard, Word: cutover.Relinquished}, cutover.Activated)
}

// Relinquish gives the source's frozen copy to its destination, without the
// books. Nothing has to be fenced: afterwards only the destination's own word
// moves the source. It has no effect once an Abort was proposed here.
func (m *Migrator) Relinquish(ctx context.Context, id fleet.WorkloadID) error {
	return m.vouch(ctx, id, vow{source: true}, cutover.Event{Kind: cutover.Leave}, cutover.Relinquished)
}

// vouch hands the event to the open end and says whether the wanted word follows.
func (m *Migrator) vouch(ctx context.Context, id fleet.WorkloadID, v vow, e cutover.Event, want cutover.Word) error {
	s, err := m.openEnd(ctx, id)
	if err != nil {
		return fmt.Errorf("workload %s: %w", id, err)
	}
	m.log.Warn("an operator decides an open move", "workload", string(id), "event", e.String(), "fenced", string(v.fenced))
	word, err := s.post(ctx, e, &v)
	if errors.Is(err, ErrNotRunning) { // the session settled meanwhile
		now, _ := m.tokens.Get(id)
		word, err = now.Word, nil
	}
	switch {
	case err != nil:
		return fmt.Errorf("workload %s: %w", id, err)
	case word != want && !(want == cutover.Relinquished && word == cutover.Released):
		return fmt.Errorf("workload %s: the last word of this host is %q and stays: %w", id, word, ErrNoEffect)
	}
	return nil
}

// openEnd returns the session that works on an open move of the workload here;
// if none does, it is started.
func (m *Migrator) openEnd(ctx context.Context, id fleet.WorkloadID) (*session, error) {
	m.mu.Lock()
	s, running := m.sessions[id], m.running
	m.mu.Unlock()
	rec, stored := m.tokens.Get(id)
	switch {
	case !running:
		return nil, ErrNotRunning
	case s != nil:
		return s, nil
	case !stored:
		return nil, fmt.Errorf("this host has taken part in no move of it: %w", ErrNoEffect)
	}
	open, err := m.open(ctx, rec)
	switch {
	case err != nil:
		return nil, err
	case !open:
		return nil, fmt.Errorf("no move is open here; the last word of this host is %q under lease %s: %w", rec.Word, rec.Lease, ErrNoEffect)
	}
	if s = m.adopt(m.hard, rec, leaseOf(m.cfg.Host, rec)); s == nil {
		return nil, fmt.Errorf("%w: try again", ErrBusy)
	}
	return s, nil
}
