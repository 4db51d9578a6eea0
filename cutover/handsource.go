package cutover

import "github.com/placed-dev/placed/fleet"

// HandSource is the source's machine for a workload whose hypervisor hands it
// over itself, from process to process, and ends the source's process when the
// destination has the whole. The difference to Source is where the state is: not
// in an image that this end could thaw, but, at an unknown moment, in the other
// process. So this machine decides by what it observes and by nothing else:
//
//   - it keeps the workload only when it has seen it run here with no job left;
//   - it relinquishes only when its process is proved gone, or has been ended
//     here while it stood still, after the destination had said Prepared;
//   - an error, a deadline or the end of the job decides nothing.
//
// Once it has said a word it is a Source.
type HandSource struct {
	Source
	// Whole: the destination has said that it holds all of it, stopped.
	Whole bool
}

// NewHandSource returns the machine right after Begin.
func NewHandSource() HandSource { return HandSource{Source: NewSource()} }

// Step takes one event and returns the next machine and what to do now.
func (s HandSource) Step(e Event) (HandSource, []Action) {
	var actions []Action
	switch {
	case e.Kind == Restart:
		return s.restart(e.Word, e.Copy)
	case s.Stage == Copying:
		return s.sending(e)
	case e.Kind == Observed:
		return s, nil // its word is said; what is seen here changes nothing
	case s.Stage == Given && e.Kind == Learned && e.Lease == fleet.Prepared:
		// The books take a Commit only after Prepared, which may come after
		// this end's word.
		s.Lease = e.Lease
		return s, []Action{propose(ProposeCommit), say(Relinquished)}
	}
	s.Source, actions = s.Source.Step(e)
	return s, actions
}

func (s HandSource) sending(e Event) (HandSource, []Action) {
	if e.Kind == Learned {
		s.Lease = e.Lease
	}
	switch {
	case e.Kind == Observed:
		s.Copy = e.Copy
		return s.seen()
	case e.Kind == Cut:
		s.Copy = Sending
		return s, []Action{do(HandOver)}
	case heard(e, Prepared):
		s.Whole = true
		return s.seen()
	case heard(e, Refused):
		return s.refused()
	case e.Kind == Abandon, e.Kind == Leave, learned(e, fleet.Aborted):
		return s, []Action{do(Cancel)}
	case e.Kind == Deadline && s.Copy != Sending:
		return s.seen()
	}
	return s, nil
}

// seen decides by what is held here and, where that is not enough, by what the
// destination holds.
func (s HandSource) seen() (HandSource, []Action) {
	var actions []Action
	switch {
	case s.Copy == Running:
		s.Source, actions = s.keep()
		return s, actions
	case s.Copy == Absent:
		return s.leave(nil)
	case s.Whole:
		// It stands still here, or is off: the destination's is the one that
		// goes on. Finish fails if it runs after all; then it is looked at
		// again, and kept.
		return s.leave([]Action{do(Finish)})
	case s.Copy == Frozen, s.Copy == Off:
		return s, []Action{ask()}
	}
	return s, nil // a job is under way: it ends by itself, or at its deadline
}

// leave: nothing of it can run here any more. The word first, then the other end,
// which has clients waiting; the books follow.
func (s HandSource) leave(first []Action) (HandSource, []Action) {
	s.Stage, s.Word, s.Copy = Given, Relinquished, Absent
	actions := append(first, write(Relinquished), say(Relinquished))
	return s, append(actions, s.follow()...)
}

// refused: the destination holds nothing and never will.
func (s HandSource) refused() (HandSource, []Action) {
	var actions []Action
	switch s.Copy {
	case Sending:
		return s, []Action{do(Cancel)}
	case Off:
		s.Copy = Frozen // keep brings it back as it was
	}
	s.Source, actions = s.keep()
	return s, actions
}

func (s HandSource) restart(w Word, c Copy) (HandSource, []Action) {
	if w == None {
		s.Source = Source{Copy: c, Lease: s.Lease, Doubt: true}
		s.Whole = false
		if c == Sending {
			return s, []Action{do(Adopt)}
		}
		return s.seen()
	}
	// A word was said. What stands still or is off here after Relinquished or
	// Released is a remainder; after Aborted it is the workload.
	switch {
	case c == Off && w == Aborted:
		c = Frozen
	case c == Off, c == Sending:
		c = Absent
	}
	var actions []Action
	s.Source, actions = s.Source.restart(w, c)
	return s, actions
}
