package migrator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/placed-dev/placed/cutover"
	"github.com/placed-dev/placed/fleet"
)

// side is one end of a move: a cutover machine and the effects it asks for.
type side interface {
	step(cutover.Event) []cutover.Action
	// perform carries out a local effect (not words, messages, proposals).
	perform(ctx context.Context, k cutover.ActionKind) error
	// observe says what this host holds of the workload.
	observe(ctx context.Context) (cutover.Copy, error)
	// again is the event after a local effect has failed, given what is held.
	again(c cutover.Copy) cutover.Event
	// decided: it is known who keeps the workload and nothing can change it.
	decided() bool
	settled() bool
	// wait is how long to wait before the event Deadline.
	wait(tries int) time.Duration
}

// session drives one side from event to event. One goroutine runs it; others
// reach it through letters and notes.
type session struct {
	m       *Migrator
	log     hclog.Logger
	letters chan letter
	notes   chan note
	closed  chan struct{}
	standby bool // it may not end in a cutover yet; guarded by the migrator's mu

	// The rest belongs to the goroutine that runs the session.
	lease   fleet.Lease
	rec     Record
	link    *wire
	queue   []cutover.Event
	tries   int
	due     time.Time // of the next Deadline; zero: counted from now
	unknown bool      // the books no longer know the lease
	reason  string
	watched bool
	// onDecided is called once, when the outcome is known.
	onDecided func()
	workers
}

// letter is a question of the other end or an operator.
type letter struct {
	event cutover.Event
	// vow is what an operator vouches for; nil for the other end.
	vow   *vow
	reply chan reply
}

type reply struct {
	word cutover.Word
	err  error
}

// note is news from one of the session's own goroutines.
type note struct {
	event   cutover.Event
	lease   *fleet.Lease
	unknown bool
	// reason, if any, says why a move failed, should it turn out to have.
	reason string
}

func newSession(m *Migrator, id fleet.WorkloadID) *session {
	return &session{m: m, log: m.log.With("workload", string(id)), letters: make(chan letter, 4),
		notes: make(chan note, 4), closed: make(chan struct{})}
}

// shut lets those who wait for an answer know that there will be none.
func (s *session) shut() { close(s.closed) }

// post hands an event to the session and returns the word that follows from it.
func (s *session) post(ctx context.Context, e cutover.Event, v *vow) (cutover.Word, error) {
	l := letter{event: e, vow: v, reply: make(chan reply, 1)}
	select {
	case s.letters <- l:
	case <-s.closed:
		return cutover.None, ErrNotRunning
	case <-ctx.Done():
		return cutover.None, context.Cause(ctx)
	}
	select {
	case r := <-l.reply:
		return r.word, r.err
	case <-s.closed:
		return cutover.None, ErrNotRunning
	case <-ctx.Done():
		return cutover.None, context.Cause(ctx)
	}
}

// run drives the side from its first event until it is settled, or until the
// agent stops and nothing more can be done in time. The caller joins the session.
func (s *session) run(ctx context.Context, d side, first cutover.Event) error {
	s.watch(ctx)
	s.take(ctx, d, first)
	for {
		s.drain(ctx, d)
		if d.decided() && s.onDecided != nil {
			s.onDecided()
			s.onDecided = nil
		}
		if d.settled() || s.unknown && d.decided() {
			return nil
		}
		if err := s.await(ctx, d); err != nil {
			return err
		}
	}
}

func (s *session) drain(ctx context.Context, d side) {
	for len(s.queue) > 0 {
		e := s.queue[0]
		s.queue = s.queue[1:]
		s.take(ctx, d, e)
	}
}

// asked queues what the other end says. Before a question the books are looked
// at: who has just been committed to should answer Activated, not Refused.
func (s *session) asked(ctx context.Context, e cutover.Event) {
	if e.Kind == cutover.Asked {
		s.look(ctx, s.m.cfg.AskAfter)
	}
	s.queue = append(s.queue, e)
}

// await waits for the next event and queues it.
func (s *session) await(ctx context.Context, d side) error {
	var frames chan frame
	if s.link != nil {
		frames = s.link.in
	}
	// A stopping agent does not wait for books that do not answer, once the
	// workload's fate is settled: the words are on disk.
	var stopping <-chan struct{}
	if d.decided() {
		stopping = s.m.soft.Done()
	}
	// News after which nothing was to be done does not put the deadline off: a
	// watcher that repeats itself would put it off for ever.
	now := s.m.cfg.Now()
	if s.due.IsZero() {
		s.due = now.Add(d.wait(s.tries))
	}
	timer := time.NewTimer(s.due.Sub(now))
	defer timer.Stop()
	select {
	case f, ok := <-frames:
		s.frame(ctx, f, ok)
	case n := <-s.notes:
		s.note(n)
	case l := <-s.letters:
		if err := l.vow.check(s.rec); err != nil {
			l.reply <- reply{s.rec.Word, err}
			break
		}
		s.asked(ctx, l.event)
		s.drain(ctx, d)
		l.reply <- reply{word: s.word(ctx, d)}
	case <-timer.C:
		s.tries++
		s.due = time.Time{}
		s.look(ctx, s.m.cfg.Proposal)
		s.queue = append(s.queue, cutover.Event{Kind: cutover.Deadline})
	case <-stopping:
		return ErrStopped
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// word is what this end may say: Activated only once the workload runs.
func (s *session) word(ctx context.Context, d side) cutover.Word {
	if s.rec.Word == cutover.Activated {
		if c, err := d.observe(ctx); err != nil || c != cutover.Running {
			return cutover.None
		}
	}
	return s.rec.Word
}

func (s *session) frame(ctx context.Context, f frame, ok bool) {
	if !ok {
		s.log.Debug("connection to the other end lost", "lease", string(s.lease.ID), "error", s.link.err)
		s.link.close()
		s.link = nil
		return
	}
	if f.kind != frameSay {
		return // late acknowledgements and pings
	}
	var say Say
	err := f.decode(frameSay, &say)
	if err == nil {
		var e cutover.Event
		if e, err = say.event(!s.rec.Source); err == nil {
			s.asked(ctx, e)
		}
	}
	if err != nil {
		s.log.Warn("the other end sent nonsense", "lease", string(s.lease.ID), "error", err)
	}
}

func (s *session) note(n note) {
	if n.unknown {
		s.unknown = true
		return
	}
	if n.lease != nil {
		s.lease = *n.lease
		s.m.settleKind(s)
	}
	if s.reason == "" {
		s.reason = n.reason
	}
	s.queue = append(s.queue, n.event)
}

// take steps the machine and performs what follows. A local effect that fails is
// as good as a crash before it: the machine starts over from what is on disk and
// what runs, after a pause.
func (s *session) take(ctx context.Context, d side, e cutover.Event) {
	actions := d.step(e)
	if len(actions) > 0 {
		s.due = time.Time{} // what follows has its own time
		s.log.Debug("cutover", "lease", string(s.lease.ID), "event", e, "actions", actions)
	}
	for _, a := range actions {
		err := s.perform(ctx, d, a)
		if err == nil {
			continue
		}
		s.log.Warn("cutover step failed, starting over from what is on disk", "lease", string(s.lease.ID), "step", a, "error", err)
		if s.reason == "" {
			s.reason = fmt.Sprintf("%s: %v", a, err)
		}
		s.queue = nil
		s.restart(ctx, d)
		return
	}
}

// restart queues the event that follows a failure, once the copy here can be
// observed. The first attempt is made at once: clients may be waiting.
func (s *session) restart(ctx context.Context, d side) {
	for {
		if s.tries > 0 {
			pause(ctx, min(s.m.cfg.RecoverEvery, 10*time.Millisecond<<min(s.tries, 10)))
		}
		if ctx.Err() != nil {
			return
		}
		s.tries++
		look, cancel := context.WithTimeout(ctx, s.m.cfg.Effect)
		c, err := d.observe(look)
		cancel()
		if err == nil {
			s.queue = append(s.queue, d.again(c))
			return
		}
		s.log.Warn("cannot see what runs here", "lease", string(s.lease.ID), "error", err)
	}
}

func (s *session) perform(ctx context.Context, d side, a cutover.Action) error {
	switch a.Kind {
	case cutover.WriteWord:
		next := s.rec
		next.Word = a.Word
		if err := s.m.tokens.Put(next); err != nil {
			return err
		}
		s.rec = next
	case cutover.Send:
		s.say(ctx, a.Say)
	case cutover.Propose:
		s.propose(ctx, a.Proposal)
	case cutover.Alarm:
		s.log.Error(a.Reason, "lease", string(s.lease.ID), "source", string(s.lease.Source), "destination", string(s.lease.Destination))
	default:
		effect, cancel := context.WithTimeout(ctx, s.m.cfg.Effect)
		defer cancel()
		return d.perform(effect, a.Kind)
	}
	return nil
}

// say lets the other end know, by the connection while there is one, else by a
// call of its own. When the connection brought no answer, both.
func (s *session) say(ctx context.Context, e cutover.Event) {
	if e.Kind == cutover.Heard && e.Word == cutover.Admitted {
		return // said by accepting the offer
	}
	if s.link != nil {
		if err := s.link.send(frameSay, toSay(e)); err == nil && s.tries == 0 {
			return
		}
	}
	rec := s.rec
	s.spawn(func() { s.ask(ctx, rec, e) })
}

// ask tells the other end by a call of its own; its answer is its word.
func (s *session) ask(ctx context.Context, rec Record, e cutover.Event) {
	peer, ok := s.m.cfg.Books.Host(rec.Peer)
	if !ok {
		return
	}
	call, cancel := context.WithTimeout(ctx, s.m.cfg.Proposal)
	defer cancel()
	answer, err := s.m.cfg.Ask(call, peer, Question{Workload: rec.Workload, Lease: rec.Lease, Token: rec.Token, Say: toSay(e)})
	if err != nil {
		s.log.Debug("the other end does not answer", "lease", string(rec.Lease), "peer", string(rec.Peer), "error", err)
		return
	}
	if wordOf(answer.Word, !rec.Source) {
		s.notify(ctx, note{event: cutover.Event{Kind: cutover.Heard, Word: answer.Word}})
	}
}

// propose puts one command to the books and queues what it proves. Without a
// clear answer nothing is queued: the next Deadline asks.
func (s *session) propose(ctx context.Context, p cutover.Proposal) {
	limit := s.m.cfg.Proposal
	if p == cutover.ProposeCommit {
		limit = s.m.cfg.AskAfter
	}
	call, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	state, known, err := s.put(call, p)
	if err == nil {
		if known {
			s.lease.State = state
			s.queue = append(s.queue, cutover.Event{Kind: cutover.Learned, Lease: state})
		}
		if p == cutover.ProposeDiscarded {
			s.lease.Discarded = true
		}
		return
	}
	s.log.Debug("proposal not applied", "lease", string(s.lease.ID), "proposal", p, "error", err)
	if errors.Is(err, ErrRefused) {
		s.look(ctx, s.m.cfg.Proposal)
	}
	// The first lost answer is asked after at once: clients are waiting. Later
	// ones wait for their deadline, or this would become a busy loop.
	if p == cutover.ProposeCommit && s.tries == 0 && !errors.Is(err, ErrRefused) {
		s.tries++
		s.look(ctx, s.m.cfg.AskAfter)
		s.queue = append(s.queue, cutover.Event{Kind: cutover.Deadline})
	}
}

// look learns the lease's state from the nearest books. A lease that they do not
// know has ended long ago, unless they are behind; then the next sweep finds it.
func (s *session) look(ctx context.Context, limit time.Duration) {
	call, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	l, err := s.m.cfg.Books.Lease(call, s.rec.Lease)
	switch {
	case errors.Is(err, ErrNoLease):
		s.unknown = true
	case err == nil && l.State != s.lease.State:
		s.note(note{event: cutover.Event{Kind: cutover.Learned, Lease: l.State}, lease: &l})
	case err == nil:
		s.lease, s.unknown = l, false
	}
}

// put calls the books; known says that success proves the state returned.
func (s *session) put(ctx context.Context, p cutover.Proposal) (state fleet.LeaseState, known bool, err error) {
	b, l := s.m.cfg.Books, s.lease
	sum := s.rec.Digest
	if sum == "" {
		sum = l.Digest
	}
	reason := s.reason
	if reason == "" {
		reason = "given up by host " + string(s.m.cfg.Host)
	}
	switch p {
	case cutover.ProposePrepared:
		return fleet.Prepared, true, b.Prepared(ctx, l, sum)
	case cutover.ProposeCommit:
		return fleet.Committed, true, b.Commit(ctx, l, sum)
	case cutover.ProposeAbort:
		return fleet.Aborted, true, b.Abort(ctx, l, reason)
	case cutover.ProposeDiscarded:
		return fleet.Aborted, false, b.Discarded(ctx, l)
	case cutover.ProposeActivated:
		return fleet.Activated, true, b.Activated(ctx, l)
	case cutover.ProposeReleased:
		return fleet.Released, true, b.Released(ctx, l)
	case cutover.ProposeRevert:
		return fleet.Aborted, true, b.Revert(ctx, l, reason)
	}
	seen := map[cutover.Proposal]Seen{cutover.ObserveRunning: SeenRunning, cutover.ObserveFrozen: SeenFrozen,
		cutover.ObservePrepared: SeenPrepared, cutover.ObserveAbsent: SeenAbsent}[p]
	return fleet.Uncertain, false, b.ObserveOwner(ctx, l, seen, sum)
}
