package cutover

import (
	"fmt"

	"github.com/placed-dev/placed/fleet"
)

// EventKind says what happened to one end.
type EventKind uint8

// Kinds of event.
const (
	// Restart: the machine starts over from Word (on disk) and Copy (observed).
	// It follows a restart of the process and every action that failed.
	Restart EventKind = iota
	// Learned: some voter has applied the lease in state Lease. It may be old.
	Learned
	// Heard: the other end says that Word is on its disk.
	Heard
	// Asked: the source wants the destination's last word, now.
	Asked
	// Deadline: a wait has lasted too long. It never decides; it asks again.
	Deadline
	// Abandon: this end wants out, if it still may (error, refusal, stop).
	Abandon
	// Cut: the source has copied enough and its guards hold.
	Cut
	// Leave: the source wants to give the workload up without the books.
	Leave
	// Admit: the destination takes the offer; token and room were checked.
	Admit
	// Verified: the destination holds the frozen state, digest compared.
	Verified
	// Observed: the hypervisor shows Copy here (handed-over workloads).
	Observed
	// Barred: the destination's entrance is shut, nothing is under way in it any
	// more, and Copy was seen afterwards.
	Barred
)

var eventKinds = [...]string{"restart", "learned", "heard", "asked", "deadline", "abandon", "cut", "leave", "admit", "verified", "observed", "barred"}

func (k EventKind) String() string {
	if int(k) < len(eventKinds) {
		return eventKinds[k]
	}
	return fmt.Sprintf("invalid(%d)", uint8(k))
}

// Event is the input of a machine. Which fields matter is said at the kind.
type Event struct {
	Kind  EventKind
	Word  Word
	Copy  Copy
	Lease fleet.LeaseState
}

// ActionKind says what the migrator must do.
type ActionKind uint8

// Kinds of action. They are performed in order; the next one only after the one
// before has succeeded. Send, Propose and traffic may fail without consequence
// (a lost message); every other failure is answered with Restart.
const (
	WriteWord     ActionKind = iota // put Word on disk, fsynced
	Send                            // let the other end see the event Say, best effort
	Propose                         // propose Proposal to the books, then feed Learned
	HoldTraffic                     // stop forwarding, await answers
	Freeze                          // the workload stops changing its state
	CopyRest                        // send what changed last, and the digest
	Thaw                            // the workload runs here again
	ResumeTraffic                   // release held clients to the copy here
	SwitchTraffic                   // release held clients to the destination
	Discard                         // end the copy here and prove it gone
	Receive                         // open the incoming copy
	Activate                        // run the incoming copy
	AdoptTraffic                    // serve its clients here
	Alarm                           // tell the operator Reason
	HandOver                        // let the hypervisor send the workload
	Adopt                           // await the end of a job of an earlier life
	Cancel                          // ask the hypervisor to end the job
	Finish                          // end the copy here that stands still; fails if it runs
	Bar                             // shut the entrance, look, then feed Barred
)

var actionKinds = [...]string{"write-word", "send", "propose", "hold-traffic", "freeze", "copy-rest", "thaw",
	"resume-traffic", "switch-traffic", "discard", "receive", "activate", "adopt-traffic", "alarm", "hand-over", "adopt", "cancel", "finish", "bar"}

func (k ActionKind) String() string {
	if int(k) < len(actionKinds) {
		return actionKinds[k]
	}
	return fmt.Sprintf("invalid(%d)", uint8(k))
}

// Proposal is a command for the books.
type Proposal uint8

// Proposals. The last four are observations, which the books want only while the
// lease is uncertain.
const (
	ProposePrepared Proposal = iota
	ProposeCommit
	ProposeAbort
	ProposeDiscarded
	ProposeActivated
	ProposeReleased
	ProposeRevert
	ObserveRunning
	ObserveFrozen
	ObservePrepared
	ObserveAbsent
)

var proposals = [...]string{"prepared", "commit", "abort", "discarded", "activated", "released", "revert",
	"observe-running", "observe-frozen", "observe-prepared", "observe-absent"}

func (p Proposal) String() string {
	if int(p) < len(proposals) {
		return proposals[p]
	}
	return fmt.Sprintf("invalid(%d)", uint8(p))
}

// Action is one effect, in the order of the list that Step returned.
type Action struct {
	Kind     ActionKind
	Word     Word
	Say      Event
	Proposal Proposal
	Reason   string
}

func (a Action) String() string {
	switch a.Kind {
	case WriteWord:
		return "write-word " + a.Word.String()
	case Send:
		return "send " + a.Say.String()
	case Propose:
		return "propose " + a.Proposal.String()
	case Alarm:
		return "alarm " + a.Reason
	}
	return a.Kind.String()
}

func (e Event) String() string {
	switch e.Kind {
	case Restart:
		return fmt.Sprintf("restart %s/%s", e.Word, e.Copy)
	case Heard:
		return "heard " + e.Word.String()
	case Learned:
		return "learned " + e.Lease.String()
	case Observed, Barred:
		return eventKinds[e.Kind] + " " + e.Copy.String()
	}
	return e.Kind.String()
}

func write(w Word) Action            { return Action{Kind: WriteWord, Word: w} }
func say(w Word) Action              { return Action{Kind: Send, Say: Event{Kind: Heard, Word: w}} }
func ask() Action                    { return Action{Kind: Send, Say: Event{Kind: Asked}} }
func propose(p Proposal) Action      { return Action{Kind: Propose, Proposal: p} }
func do(k ActionKind) Action         { return Action{Kind: k} }
func alarm(reason string) Action     { return Action{Kind: Alarm, Reason: reason} }
func tell(s fleet.LeaseState) Action { return Action{Kind: Send, Say: Event{Kind: Learned, Lease: s}} }
