package cutover

import (
	"fmt"

	"github.com/placed-dev/placed/fleet"
)

// The model puts both machines, the books and the network into one comparable
// value. The network only grows: a message once sent may be delivered at any
// time, any number of times, in any order, or never. That covers loss,
// duplication and reordering without a budget. The same holds for proposals
// (applied late, twice, never; the answer lost) and for states of the lease once
// applied (a stale voter may report any of them at any time).

type bits uint16

func (b bits) has(i int) bool  { return b&(1<<i) != 0 }
func (b bits) with(i int) bits { return b | 1<<i }

// Messages, by position in the bit sets.
const (
	mCommitted = iota
	mRelinquished
	mAborted
	mAsked
	mPrepared
	mActivated
	mRefused
	mRest // the last delta and its digest
)

var messages = map[int]Event{
	mCommitted:    {Kind: Learned, Lease: fleet.Committed},
	mRelinquished: {Kind: Heard, Word: Relinquished},
	mAborted:      {Kind: Heard, Word: Aborted},
	mAsked:        {Kind: Asked},
	mPrepared:     {Kind: Heard, Word: Prepared},
	mActivated:    {Kind: Heard, Word: Activated},
	mRefused:      {Kind: Heard, Word: Refused},
	mRest:         {Kind: Verified},
}

func messageOf(e Event) (int, bool) {
	for i := range mRest {
		if messages[i] == e {
			return i, true
		}
	}
	return 0, false // Admitted: changes nothing at the source
}

type world struct {
	src     Source
	dst     Destination
	srcUp   bool
	dstUp   bool
	srcWord Word // on disk
	dstWord Word
	srcCopy Copy // real
	dstCopy Copy
	partial bool // the destination's copy is not the whole state
	toDst   bits
	toSrc   bits
	asked   bits // proposals ever sent
	lease   fleet.LeaseState
	past    bits // states ever applied
	discard bool // Discarded reported
	obsSrc  Proposal
	obsDst  Proposal
	commit  bool // ever committed
	srcGone bool // source host lost its copy (power cut)
	dstGone bool
	reboots uint8
	raised  bool // a restore has put the lease in doubt
	strict  bool // the books leave (frozen, absent) to the ends or an operator
	bad     string
}

func start() world {
	return world{
		src: NewSource(), dst: NewDestination(), srcUp: true, dstUp: true,
		srcCopy: Running, lease: fleet.Transferring, past: bits(0).with(int(fleet.Transferring)),
		obsSrc: noProposal, obsDst: noProposal,
	}
}

const noProposal Proposal = 255

// apply is the books: exactly the arrows of the lease's life.
func (w world) apply(p Proposal, bySource bool) world {
	set := func(s fleet.LeaseState) {
		w.lease, w.past = s, w.past.with(int(s))
		if s == fleet.Committed {
			w.commit = true
		}
	}
	open := w.lease == fleet.Transferring || w.lease == fleet.Prepared
	switch p {
	case ProposePrepared:
		if w.lease == fleet.Transferring {
			set(fleet.Prepared)
		}
	case ProposeCommit:
		if w.lease == fleet.Prepared {
			set(fleet.Committed)
		}
	case ProposeAbort:
		if open {
			set(fleet.Aborted)
		}
	case ProposeDiscarded:
		if w.lease == fleet.Aborted {
			w.discard = true
		}
	case ProposeActivated:
		if w.lease == fleet.Committed {
			set(fleet.Activated)
		}
	case ProposeReleased:
		if w.lease == fleet.Activated {
			set(fleet.Released)
		}
	case ProposeRevert:
		if w.lease == fleet.Committed {
			set(fleet.Aborted)
		}
	default:
		if w.lease != fleet.Uncertain {
			break
		}
		if bySource {
			w.obsSrc = p
		} else {
			w.obsDst = p
		}
		switch {
		case w.obsSrc == noProposal || w.obsDst == noProposal:
		case w.obsSrc == ObserveRunning && w.obsDst == ObserveRunning:
			// An alarm, nothing else: one of both reports may be old.
		case w.obsSrc == ObserveRunning:
			set(fleet.Aborted)
			w.discard = w.obsDst == ObserveAbsent
		case w.obsDst == ObserveRunning && w.obsSrc == ObserveAbsent:
			set(fleet.Released)
		case w.obsDst == ObserveRunning:
			set(fleet.Activated)
		case w.obsDst == ObservePrepared:
			set(fleet.Committed)
		case !w.strict:
			// A destination reports absent only after its Refused.
			set(fleet.Aborted)
			w.discard = true
		}
	}
	return w
}

// perform carries out the first n actions; the machine dies after them unless
// they were all. It returns the world and whether the machine lives.
func (w world) perform(bySource bool, actions []Action, n int) world {
	for _, a := range actions[:n] {
		w = w.act(bySource, a)
	}
	if n < len(actions) {
		w = w.crash(bySource)
	}
	return w
}

func (w world) crash(bySource bool) world {
	if bySource {
		w.src, w.srcUp = Source{}, false
	} else {
		w.dst, w.dstUp = Destination{}, false
	}
	return w
}

func (w world) act(bySource bool, a Action) world {
	word, copy := &w.srcWord, &w.srcCopy
	if !bySource {
		word, copy = &w.dstWord, &w.dstCopy
	}
	switch a.Kind {
	case WriteWord:
		if !bySource && *word == Refused && a.Word != Refused {
			w.bad = "a refusal was taken back"
		}
		*word = a.Word
	case Send:
		if i, ok := messageOf(a.Say); ok && bySource {
			w.toDst = w.toDst.with(i)
		} else if ok {
			w.toSrc = w.toSrc.with(i)
		}
	case Propose:
		i := int(a.Proposal)
		if !bySource && (a.Proposal == ObserveRunning || a.Proposal == ObserveAbsent) {
			i += 4 // the destination's own observations
		}
		w.asked = w.asked.with(i)
	case Freeze:
		*copy = Frozen
	case CopyRest:
		w.toDst = w.toDst.with(mRest)
	case Thaw:
		if *copy != Frozen {
			w.bad = "thawed what was not frozen"
		}
		*copy = Running
	case Discard:
		*copy = Absent
		if !bySource {
			w.partial = false
		}
	case Receive:
		*copy, w.partial = Incoming, true
	case Activate:
		if *copy == Incoming && w.partial {
			w.bad = "activated an incomplete copy"
		}
		if *copy != Incoming && *copy != Running {
			w.bad = "activated nothing"
		}
		*copy = Running
	}
	return w
}

// alter may replace a machine's answer (a planted bug) and choose what the books
// do.
type alter struct {
	strict, raises bool
	source         func(before Source, e Event, after Source, actions []Action) (Source, []Action)
	destination    func(before Destination, e Event, after Destination, actions []Action) (Destination, []Action)
}

func (m alter) step(w world, bySource bool, e Event) (world, []Action) {
	var actions []Action
	if bySource {
		before := w.src
		w.src, actions = before.Step(e)
		if m.source != nil {
			w.src, actions = m.source(before, e, w.src, actions)
		}
		w.srcUp = true
	} else {
		before := w.dst
		w.dst, actions = before.Step(e)
		if m.destination != nil {
			w.dst, actions = m.destination(before, e, w.dst, actions)
		}
		w.dstUp = true
	}
	return w, actions
}

// deliver yields the world after every possible point of death.
func (m alter) deliver(w world, bySource bool, e Event, yield func(world, string)) {
	next, actions := m.step(w, bySource, e)
	name := "destination: "
	if bySource {
		name = "source: "
	}
	for n := len(actions); n >= 0; n-- {
		text := fmt.Sprint(name, e, " -> ", actions[:n])
		if n < len(actions) {
			text += " then dies"
		}
		yield(next.perform(bySource, actions, n), text)
	}
}

// next yields every successor of a world.
func (m alter) next(w world, reboots uint8, yield func(world, string)) {
	m.sourceSteps(w, yield)
	m.destinationSteps(w, yield)
	for i := range 16 {
		if w.asked.has(i) {
			p, bySource := owner(i)
			yield(w.apply(p, bySource), fmt.Sprint("books apply ", p))
		}
	}
	if w.lease == fleet.Transferring || w.lease == fleet.Prepared {
		x := w
		x.lease, x.past = fleet.Uncertain, w.past.with(int(fleet.Uncertain))
		yield(x, "leader expires the lease")
	}
	if (w.lease == fleet.Committed || w.lease == fleet.Activated) && m.raises && !w.raised {
		x := w
		x.lease, x.past, x.raised = fleet.Uncertain, w.past.with(int(fleet.Uncertain)), true
		x.obsSrc, x.obsDst = noProposal, noProposal
		yield(x, "a restore raises the generation")
	}
	if w.reboots < reboots {
		x := w.crash(true)
		x.srcGone, x.srcCopy, x.reboots = w.srcGone || w.srcCopy != Absent, Absent, w.reboots+1
		yield(x, "source host loses power")
		x = w.crash(false)
		x.dstGone, x.dstCopy, x.partial, x.reboots = w.dstGone || w.dstCopy == Running, Absent, false, w.reboots+1
		yield(x, "destination host loses power")
	}
}

// owner maps a bit of asked to a proposal and who made it.
func owner(i int) (Proposal, bool) {
	switch {
	case i >= 11: // ObserveRunning+4 = 11, ObserveAbsent+4 = 14
		return Proposal(i - 4), false
	case Proposal(i) == ProposeCommit, Proposal(i) == ProposeAbort, Proposal(i) == ProposeReleased,
		Proposal(i) == ObserveRunning, Proposal(i) == ObserveFrozen, Proposal(i) == ObserveAbsent:
		return Proposal(i), true
	}
	return Proposal(i), false
}

func (m alter) sourceSteps(w world, yield func(world, string)) {
	if !w.srcUp {
		m.deliver(w, true, Event{Kind: Restart, Word: w.srcWord, Copy: w.srcCopy}, yield)
		return
	}
	yield(w.crash(true), "source dies")
	m.deliver(w, true, Event{Kind: Deadline}, yield)
	m.deliver(w, true, Event{Kind: Abandon}, yield)
	m.deliver(w, true, Event{Kind: Leave}, yield)
	if w.src.Stage == Copying && w.dstWord == Admitted && w.dstUp {
		m.deliver(w, true, Event{Kind: Cut}, yield)
	}
	for i := mPrepared; i <= mRefused; i++ {
		if w.toSrc.has(i) {
			m.deliver(w, true, messages[i], yield)
		}
	}
	for s := fleet.Transferring; s <= fleet.Uncertain; s++ {
		if w.past.has(int(s)) {
			m.deliver(w, true, Event{Kind: Learned, Lease: s}, yield)
		}
	}
}

func (m alter) destinationSteps(w world, yield func(world, string)) {
	if !w.dstUp {
		m.deliver(w, false, Event{Kind: Restart, Word: w.dstWord, Copy: w.dstCopy}, yield)
		return
	}
	yield(w.crash(false), "destination dies")
	m.deliver(w, false, Event{Kind: Deadline}, yield)
	m.deliver(w, false, Event{Kind: Abandon}, yield)
	if w.dst.Word == None && w.src.Stage == Copying && w.srcUp {
		m.deliver(w, false, Event{Kind: Admit}, yield)
	}
	if w.toDst.has(mRest) && w.dst.Word == Admitted {
		x := w
		x.partial = false
		m.deliver(x, false, messages[mRest], yield)
	}
	for i := mCommitted; i <= mAsked; i++ {
		if w.toDst.has(i) {
			m.deliver(w, false, messages[i], yield)
		}
	}
	for s := fleet.Transferring; s <= fleet.Uncertain; s++ {
		if w.past.has(int(s)) {
			m.deliver(w, false, Event{Kind: Learned, Lease: s}, yield)
		}
	}
}

// broken names the invariant that a world violates, or "".
func (w world) broken() string {
	whole := w.srcCopy == Running || w.srcCopy == Frozen || w.dstCopy == Running ||
		w.dstCopy == Incoming && !w.partial
	switch {
	case w.bad != "":
		return w.bad
	case w.srcCopy == Running && w.dstCopy == Running:
		return "two running copies"
	case !whole && w.reboots == 0:
		return "no whole copy is left"
	case w.commit && w.srcCopy == Running && w.dstWord != Refused:
		return "a commit was undone without the destination's refusal"
	case w.dstCopy == Running && w.dstWord != Activated:
		return "the destination runs without its word Activated"
	}
	return ""
}
