package cutover

import "github.com/placed-dev/placed/fleet"

// HandDestination is the destination's machine for a workload whose hypervisor
// hands it over itself. What arrives stays stopped until this machine says
// Activated. Unlike Destination it never decides against itself while anything
// may be here or on its way: the source may already be gone, and this the only
// copy. It refuses on the source's Aborted, on the books' aborted, or when
// after the entrance was shut nothing was seen here, or a definition without a
// process while the source still holds the workload.
type HandDestination struct {
	Destination
	// Left: the source is proved gone; the word came before the copy was seen.
	Left bool
	// Shut: the entrance is shut; what is not whole can only become nothing.
	Shut bool
	// Held: the source has asked, and so still holds the workload, stopped or
	// off. A definition without a process is then not what goes on.
	Held bool
	// Open: the hypervisor takes the copy through a door that no agent can
	// shut, so that nothing here may still become something.
	Open bool
}

// NewHandDestination returns the machine before an offer.
func NewHandDestination() HandDestination { return HandDestination{Destination: NewDestination()} }

// Step takes one event and returns the next machine and what to do now.
func (d HandDestination) Step(e Event) (HandDestination, []Action) {
	var actions []Action
	switch {
	case e.Kind == Restart:
		return d.restart(e.Word, e.Copy)
	case e.Kind == Observed:
		return d.observed(e.Copy)
	case e.Kind == Barred:
		return d.barred(e.Copy)
	case e.Kind == Asked && d.Word == Prepared && d.Copy != Absent:
		return d, []Action{say(Prepared)}
	case d.Word != Admitted:
		d.Destination, actions = d.Destination.Step(e)
		return d, actions
	}
	switch {
	case heard(e, Relinquished), learned(e, fleet.Committed):
		d.Left = true
		if e.Kind == Learned {
			d.Lease = e.Lease
		}
		return d.bar()
	case heard(e, Aborted), learned(e, fleet.Aborted):
		// What was not seen yet may be here by now: it is discarded all the same.
		d.Copy = Incoming
		d.Destination, actions = d.Destination.Step(e)
		return d, actions
	case e.Kind == Learned:
		d.Lease = e.Lease
	case e.Kind == Asked:
		d.Held = true
		return d.bar()
	case e.Kind == Abandon, e.Kind == Deadline && (d.Shut || d.Left):
		return d.bar()
	}
	return d, nil
}

// bar: nothing more may come in, so that what is seen next is final, unless the
// door is not ours to shut.
func (d HandDestination) bar() (HandDestination, []Action) {
	if d.Open {
		return d, nil
	}
	d.Shut = true
	return d, []Action{do(Bar)}
}

// observed takes what the hypervisor shows while the word is Admitted. What is not
// there may be on its way.
func (d HandDestination) observed(c Copy) (HandDestination, []Action) {
	var actions []Action
	if d.Word != Admitted {
		return d, nil
	}
	d.Copy = c
	switch {
	case (c == Whole || c == Off) && d.Left:
		d.Word = Prepared
		d.Destination, actions = d.activate()
		return d, append([]Action{write(Prepared), propose(ProposePrepared)}, actions...)
	case c == Whole:
		d.Word = Prepared
		return d, []Action{write(Prepared), say(Prepared), propose(ProposePrepared)}
	}
	return d, nil
}

// barred: seen after the entrance was shut, nothing stays nothing, and a definition
// whose process has ended stays without one.
func (d HandDestination) barred(c Copy) (HandDestination, []Action) {
	if d.Word != Admitted || c != Absent && !(c == Off && d.Held && !d.Left) {
		return d.observed(c)
	}
	var actions []Action
	d.Copy = c
	lost := d.Left
	d.Destination, actions = d.refuse()
	if lost {
		actions = append(actions, alarm("the workload ended at its source while it was moving, and nothing of it is here: start it again at the source"))
	}
	return d, actions
}

func (d HandDestination) restart(w Word, c Copy) (HandDestination, []Action) {
	var actions []Action
	d.Destination = Destination{Word: w, Copy: c, Lease: d.Lease}
	switch {
	case w == Activated && (c == Whole || c == Off || c == Frozen || c == Incoming):
		d.Copy = Running
		return d, []Action{do(Activate), do(AdoptTraffic), say(Activated), d.report()}
	case w == Admitted && c != Running:
		// The agent that held the door is gone, and what was under way with
		// it; but a hypervisor may still be finishing what it had received.
		return d.bar()
	case w == Prepared && (c == Whole || c == Off):
		return d, []Action{say(Prepared)}
	case w == Refused && c == Off, w == None && c == Off:
		c = Whole // a definition that came with the move goes with it
	}
	d.Destination, actions = d.Destination.restart(w, c)
	return d, actions
}
