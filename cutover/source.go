package cutover

import "github.com/placed-dev/placed/fleet"

// Stage is where the source stands.
type Stage uint8

// Stages of the source.
const (
	Copying  Stage = iota // it runs, bytes flow
	Cutting               // frozen, nothing proposed: it may thaw alone
	Proposed              // frozen, a Commit may be or become applied
	Given                 // it said Relinquished
	Kept                  // it said Aborted: the workload stays
	Gone                  // it said Released, or is proved gone
)

var stages = [...]string{"copying", "cutting", "proposed", "given", "kept", "gone"}

func (s Stage) String() string { return stages[s] }

// Source is the machine of the host that runs the workload when a migration
// begins. The zero value with Copy Running is right after the lease's Begin.
type Source struct {
	Stage Stage
	Word  Word
	Copy  Copy
	// Lease is the state last learned from the books.
	Lease fleet.LeaseState
	// Doubt: an earlier life may have proposed, or this one has proposed
	// Abort. Then Relinquished is out of reach: the books might come to say
	// "aborted" of a workload that the destination runs.
	Doubt bool
}

// NewSource returns the machine right after Begin.
func NewSource() Source { return Source{Copy: Running, Lease: fleet.Transferring} }

// Settled says that nothing is left to do for this end.
func (s Source) Settled() bool {
	switch s.Stage {
	case Kept:
		return s.Lease == fleet.Aborted && s.Copy != Frozen
	case Gone:
		return s.Lease == fleet.Released || s.Lease == fleet.Aborted
	}
	return false
}

// Decided says that the outcome is certain here; the books may not have it yet.
func (s Source) Decided() bool {
	return s.Stage == Kept && s.Copy != Frozen || s.Stage == Gone
}

// Step takes one event and returns the next machine and what to do now.
func (s Source) Step(e Event) (Source, []Action) {
	if e.Kind == Restart {
		return s.restart(e.Word, e.Copy)
	}
	if e.Kind == Learned {
		s.Lease = e.Lease
	}
	switch s.Stage {
	case Copying:
		return s.copying(e)
	case Cutting:
		return s.cutting(e)
	case Proposed:
		return s.proposed(e)
	case Given:
		return s.given(e)
	case Kept:
		return s.kept(e)
	}
	return s.gone(e)
}

func (s Source) copying(e Event) (Source, []Action) {
	switch {
	case e.Kind == Cut:
		s.Stage, s.Copy = Cutting, Frozen
		return s, []Action{do(HoldTraffic), do(Freeze), do(CopyRest)}
	case e.Kind == Abandon, heard(e, Refused), lost(e):
		return s.keep()
	}
	return s, nil
}

// cutting: nothing was proposed, nobody else may propose a Commit, so this end
// still decides alone; waiting is the only thing it must not do for long.
func (s Source) cutting(e Event) (Source, []Action) {
	switch {
	case heard(e, Prepared), learned(e, fleet.Prepared):
		s.Stage = Proposed
		return s, []Action{propose(ProposeCommit)}
	case e.Kind == Abandon, e.Kind == Deadline, e.Kind == Leave, heard(e, Refused), lost(e):
		return s.keep()
	}
	return s, nil
}

func (s Source) proposed(e Event) (Source, []Action) {
	switch {
	case heard(e, Activated), learned(e, fleet.Activated), learned(e, fleet.Released):
		return s.give()
	case heard(e, Refused), learned(e, fleet.Aborted):
		return s.keep()
	case learned(e, fleet.Committed):
		return s, []Action{tell(fleet.Committed)}
	case learned(e, fleet.Uncertain):
		return s, []Action{propose(ObserveFrozen), ask()}
	case e.Kind == Leave && !s.Doubt && s.Lease != fleet.Committed && s.Lease != fleet.Uncertain:
		s.Stage, s.Word = Given, Relinquished
		return s, []Action{write(Relinquished), say(Relinquished)}
	case e.Kind == Deadline, e.Kind == Abandon, e.Kind == Leave:
		return s.press()
	}
	return s, nil
}

// press asks, at the books and at the other end, for whatever settles it: the
// Commit did not come in time, so an Abort is proposed. The books take one of
// them, and either one ends the wait; repeating the Commit would not, when the
// destination has refused and cannot be reached.
func (s Source) press() (Source, []Action) {
	switch s.Lease {
	case fleet.Committed:
		return s, []Action{tell(fleet.Committed), ask()}
	case fleet.Uncertain:
		return s, []Action{propose(ObserveFrozen), ask()}
	}
	s.Doubt = true
	return s, []Action{propose(ProposeAbort), ask()}
}

func (s Source) given(e Event) (Source, []Action) {
	switch {
	case heard(e, Activated), learned(e, fleet.Activated), learned(e, fleet.Released):
		return s.give()
	case heard(e, Refused):
		return s.keep()
	case learned(e, fleet.Aborted) && s.Copy == Frozen:
		// Leave asks that no Abort was ever proposed here, so this one
		// comes from the destination's Refused (or from an operator).
		return s.keep()
	case learned(e, fleet.Aborted):
		return s, []Action{
			alarm("the workload ended here while it was moving, and the books say aborted: look at the destination before it is started again"),
			say(Relinquished)}
	case learned(e, fleet.Committed):
		return s, []Action{tell(fleet.Committed)}
	case e.Kind == Deadline, e.Kind == Abandon, e.Kind == Leave, learned(e, fleet.Uncertain):
		return s, append(s.follow(), say(Relinquished))
	}
	return s, nil
}

// follow makes the books follow a workload that was relinquished.
func (s Source) follow() []Action {
	switch {
	case s.Lease == fleet.Prepared, s.Lease == fleet.Transferring:
		return []Action{propose(ProposeCommit)}
	case s.Lease == fleet.Uncertain && s.Copy == Frozen:
		return []Action{propose(ObserveFrozen)}
	case s.Lease == fleet.Uncertain:
		return []Action{propose(ObserveAbsent)}
	}
	return nil
}

func (s Source) kept(e Event) (Source, []Action) {
	if e.Kind != Learned && e.Kind != Deadline {
		return s, nil
	}
	switch s.Lease {
	case fleet.Granted, fleet.Transferring, fleet.Prepared:
		return s, []Action{propose(ProposeAbort), say(Aborted)}
	case fleet.Uncertain:
		return s, []Action{s.observe(), say(Aborted)}
	case fleet.Activated, fleet.Released:
		return s, []Action{alarm("the books say the destination runs a workload that this host has kept: fence one of them")}
	case fleet.Committed:
		return s, []Action{say(Aborted)} // it has refused, and will revert
	}
	return s, nil
}

func (s Source) observe() Action {
	if s.Copy == Absent {
		return propose(ObserveAbsent)
	}
	return propose(ObserveRunning)
}

func (s Source) gone(e Event) (Source, []Action) {
	if e.Kind != Learned && e.Kind != Deadline {
		return s, nil
	}
	switch s.Lease {
	case fleet.Activated:
		return s, []Action{propose(ProposeReleased)}
	case fleet.Uncertain:
		return s, []Action{propose(ObserveAbsent)}
	case fleet.Prepared, fleet.Transferring:
		return s, []Action{propose(ProposeCommit)} // it ran there on Relinquished
	case fleet.Aborted:
		return s, []Action{alarm("the destination lost the workload after this host had discarded it")}
	}
	return s, nil
}

// keep: the workload stays here. The word comes first, so that a crash before
// the thaw leads to the thaw and never to a second Commit.
func (s Source) keep() (Source, []Action) {
	actions := []Action{write(Aborted)}
	switch s.Copy {
	case Frozen:
		actions = append(actions, do(Thaw), do(ResumeTraffic))
		s.Copy = Running
	case Absent:
		actions = append(actions, alarm("the workload ended here while it was moving and the destination refused it: start it again here"))
	default:
		actions = append(actions, do(ResumeTraffic))
	}
	s.Stage, s.Word, s.Doubt = Kept, Aborted, true
	switch s.Lease {
	case fleet.Granted, fleet.Transferring, fleet.Prepared:
		actions = append(actions, propose(ProposeAbort))
	case fleet.Uncertain:
		actions = append(actions, s.observe())
	}
	return s, append(actions, say(Aborted))
}

// give: the destination runs it. Clients go first, they wait.
func (s Source) give() (Source, []Action) {
	actions := []Action{do(SwitchTraffic)}
	if s.Copy != Absent {
		actions = append(actions, do(Discard))
	}
	actions = append(actions, write(Released))
	s.Stage, s.Word, s.Copy = Gone, Released, Absent
	_, more := s.gone(Event{Kind: Deadline})
	return s, append(actions, more...)
}

func (s Source) restart(w Word, c Copy) (Source, []Action) {
	s = Source{Word: w, Copy: c, Lease: s.Lease, Doubt: true}
	switch {
	case w == Aborted:
		return s.restartKept()
	case w == Released:
		s.Stage = Gone
		return s, nil
	case w == Relinquished:
		s.Stage = Given
		return s, append(s.follow(), say(Relinquished))
	case c == Running: // it never froze, or the word Aborted would be here
		return s.keep()
	case c == Frozen:
		s.Stage = Proposed
		return s.press()
	}
	// Gone without a word: discarded just before the crash, or its process
	// died. Either way it can never run here again under this token, and the
	// destination may have the whole of it.
	s.Stage, s.Word = Given, Relinquished
	return s, []Action{write(Relinquished), say(Relinquished)}
}

func (s Source) restartKept() (Source, []Action) {
	s.Stage = Kept
	var actions []Action
	if s.Copy == Frozen {
		actions = append(actions, do(Thaw))
		s.Copy = Running
	}
	return s, append(actions, do(ResumeTraffic), say(Aborted))
}

func heard(e Event, w Word) bool               { return e.Kind == Heard && e.Word == w }
func learned(e Event, l fleet.LeaseState) bool { return e.Kind == Learned && e.Lease == l }

// lost: the lease can no longer lead to a Commit of this source.
func lost(e Event) bool { return learned(e, fleet.Aborted) || learned(e, fleet.Uncertain) }
