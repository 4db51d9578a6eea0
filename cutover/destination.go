package cutover

import "github.com/placed-dev/placed/fleet"

// Destination is the machine of the host that a workload moves to. Its word says
// where it stands; the zero value has heard of nothing.
type Destination struct {
	Word Word
	Copy Copy
	// Lease is the state last learned from the books.
	Lease fleet.LeaseState
}

// NewDestination returns the machine before an offer.
func NewDestination() Destination { return Destination{Lease: fleet.Transferring} }

// Settled says that nothing is left to do for this end. Whether an aborted lease
// was reported discarded is in the books; the migrator adds that.
func (d Destination) Settled() bool {
	switch d.Word {
	case Activated:
		return d.Copy == Running && (d.Lease == fleet.Activated || d.Lease == fleet.Released)
	case Refused:
		return d.Copy == Absent && (d.Lease == fleet.Aborted || d.Lease == fleet.Released)
	}
	return false
}

// Decided says that the outcome is certain here; the books may not have it yet.
func (d Destination) Decided() bool {
	return d.Word == Refused && d.Copy == Absent || d.Word == Activated && d.Copy == Running
}

// Step takes one event and returns the next machine and what to do now.
func (d Destination) Step(e Event) (Destination, []Action) {
	switch e.Kind {
	case Restart:
		return d.restart(e.Word, e.Copy)
	case Learned:
		d.Lease = e.Lease
		return d.learned()
	case Deadline:
		return d.learned()
	case Admit:
		if d.Word != None {
			return d, nil
		}
		d.Word, d.Copy = Admitted, Incoming
		return d, []Action{write(Admitted), do(Receive), say(Admitted)}
	case Verified:
		if d.Word != Admitted {
			return d, nil
		}
		d.Word = Prepared
		// The books must hold Prepared before they take the source's Commit,
		// so this end proposes first and answers then.
		return d, []Action{write(Prepared), propose(ProposePrepared), say(Prepared)}
	case Heard:
		return d.heard(e.Word)
	case Asked:
		return d.answer()
	case Abandon:
		if d.Word == Admitted {
			return d.refuse()
		}
	}
	return d, nil
}

func (d Destination) heard(w Word) (Destination, []Action) {
	switch {
	case w == Relinquished && d.Word == Prepared:
		return d.activate()
	case w == Relinquished:
		return d.answer()
	case w == Aborted && d.undecided():
		return d.refuse()
	}
	return d, nil
}

// undecided: it has said nothing that it could not take back.
func (d Destination) undecided() bool {
	return d.Word == None || d.Word == Admitted || d.Word == Prepared
}

// answer gives a word that the source can act upon. An undecided destination
// decides against itself: the source holds the whole state.
func (d Destination) answer() (Destination, []Action) {
	switch {
	case d.undecided():
		return d.refuse()
	case d.Word == Refused:
		return d, []Action{say(Refused)}
	case d.Word == Activated && d.Copy == Running:
		return d, []Action{say(Activated)}
	case d.Word == Activated && d.Copy == Absent:
		return d.lose()
	}
	return d, nil // activating: the driver tries again, the source waits
}

func (d Destination) learned() (Destination, []Action) {
	if d.Word == Activated && d.Copy == Absent && d.Lease != fleet.Activated && d.Lease != fleet.Released {
		return d.lose()
	}
	switch d.Lease {
	case fleet.Committed:
		return d.committed()
	case fleet.Aborted:
		return d.aborted()
	case fleet.Uncertain:
		return d.uncertain()
	case fleet.Activated, fleet.Released:
		if d.Word == Activated && d.Copy == Absent {
			return d, []Action{alarm("the workload ended here after it was activated")}
		}
	case fleet.Transferring:
		// Activated on Relinquished: the books still have to follow.
		if d.Word == Prepared || d.Word == Activated && d.Copy == Running {
			return d, []Action{propose(ProposePrepared), say(d.Word)}
		}
	}
	return d, nil
}

func (d Destination) committed() (Destination, []Action) {
	switch {
	case d.Word == Prepared:
		return d.activate()
	case d.Word == Refused:
		return d, []Action{propose(ProposeRevert), say(Refused)}
	case d.Word == Activated && d.Copy == Running:
		return d, []Action{propose(ProposeActivated), say(Activated)}
	case d.undecided():
		return d.refuse()
	}
	return d, nil
}

func (d Destination) aborted() (Destination, []Action) {
	switch {
	case d.Word == Refused && d.Copy == Absent:
		return d, []Action{propose(ProposeDiscarded)}
	case d.undecided():
		return d.refuse()
	case d.Word == Activated:
		return d, []Action{alarm("the books say aborted, but this host has activated the workload: fence one of both copies, then resolve the lease")}
	}
	return d, nil
}

func (d Destination) uncertain() (Destination, []Action) {
	switch {
	case d.Word == Prepared:
		return d, []Action{propose(ObservePrepared)}
	case d.Word == Refused:
		return d, []Action{propose(ObserveAbsent)}
	case d.Word == Activated && d.Copy == Running:
		return d, []Action{propose(ObserveRunning)}
	case d.undecided():
		return d.refuse()
	}
	return d, nil
}

// activate: the word first. From here on the source learns nothing but Activated.
func (d Destination) activate() (Destination, []Action) {
	d.Word, d.Copy = Activated, Running
	return d, []Action{write(Activated), do(Activate), do(AdoptTraffic), say(Activated), d.report()}
}

// report: the books take Activated of a committed lease; when they are in doubt
// they want to be told what runs.
func (d Destination) report() Action {
	if d.Lease == fleet.Uncertain {
		return propose(ObserveRunning)
	}
	return propose(ProposeActivated)
}

// refuse: the word first, then the copy goes, then the source hears of it.
func (d Destination) refuse() (Destination, []Action) {
	d.Word = Refused
	actions := []Action{write(Refused)}
	if d.Copy != Absent {
		actions = append(actions, do(Discard))
		d.Copy = Absent
	}
	actions = append(actions, say(Refused))
	switch d.Lease {
	case fleet.Committed:
		actions = append(actions, propose(ProposeRevert))
	case fleet.Aborted:
		actions = append(actions, propose(ProposeDiscarded))
	case fleet.Uncertain:
		actions = append(actions, propose(ObserveAbsent))
	}
	return d, actions
}

// lose: it was activated here and is gone (a reboot). The source may still hold
// the frozen image; if it does, that is the only copy left.
func (d Destination) lose() (Destination, []Action) {
	d.Word = Refused
	actions := []Action{write(Refused),
		alarm("the workload was activated here and is gone: the source's frozen image, if it still exists, runs again"),
		say(Refused)}
	switch d.Lease {
	case fleet.Committed:
		actions = append(actions, propose(ProposeRevert))
	case fleet.Aborted:
		actions = append(actions, propose(ProposeDiscarded))
	case fleet.Uncertain:
		actions = append(actions, propose(ObserveAbsent))
	}
	return d, actions
}

func (d Destination) restart(w Word, c Copy) (Destination, []Action) {
	d = Destination{Word: w, Copy: c, Lease: d.Lease}
	switch {
	case c == Running && w == Refused:
		return d, []Action{alarm("this host runs a workload that it has refused: fence it before the source's copy is touched")}
	case c == Running:
		// What runs here was activated here, whatever became of the word.
		d.Word = Activated
		actions := []Action{do(AdoptTraffic), say(Activated), d.report()}
		if w != Activated {
			actions = append([]Action{write(Activated)}, actions...)
		}
		return d, actions
	case w == Activated && c == Incoming:
		d.Copy = Running
		return d, []Action{do(Activate), do(AdoptTraffic), say(Activated), d.report()}
	case w == Refused && c != Absent:
		d.Copy = Absent
		return d, []Action{do(Discard), say(Refused)}
	case w == Admitted, w == Prepared && c == Absent, w == None && c != Absent:
		return d.refuse()
	}
	return d, nil
}
