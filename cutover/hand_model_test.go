package cutover

import (
	"fmt"
	"testing"

	"github.com/placed-dev/placed/fleet"
)

// The model of a handed-over workload adds the hypervisor to the world: a job
// that goes on, succeeds, fails late or leaves the source standing still, without
// asking anybody. What the ends see of it is the copies alone.

type handWorld struct {
	world
	hsrc HandSource
	hdst HandDestination
	job  bool // the hypervisors are at work
	door bool // the destination's agent holds the entrance open
}

func startHand() handWorld {
	return handWorld{world: start(), hsrc: NewHandSource(), hdst: NewHandDestination()}
}

// handAlter replaces a machine's answer, to plant a bug.
type handAlter struct {
	source      func(before HandSource, e Event, after HandSource, actions []Action) (HandSource, []Action)
	destination func(before HandDestination, e Event, after HandDestination, actions []Action) (HandDestination, []Action)
}

func (w handWorld) crash(bySource bool) handWorld {
	if bySource {
		w.hsrc, w.srcUp = HandSource{}, false
	} else {
		w.hdst, w.dstUp, w.door = HandDestination{}, false, false
	}
	return w
}

func (m handAlter) step(w handWorld, bySource bool, e Event) (handWorld, []Action) {
	var actions []Action
	if bySource {
		before := w.hsrc
		w.hsrc, actions = before.Step(e)
		if m.source != nil {
			w.hsrc, actions = m.source(before, e, w.hsrc, actions)
		}
		w.srcUp = true
	} else {
		before := w.hdst
		w.hdst, actions = before.Step(e)
		if m.destination != nil {
			w.hdst, actions = m.destination(before, e, w.hdst, actions)
		}
		w.dstUp = true
	}
	return w, actions
}

// perform carries out the first n actions; then the machine dies unless they were
// all. An effect that fails starts the machine over, as the migrator does.
func (m handAlter) perform(w handWorld, bySource bool, actions []Action, n int) handWorld {
	barred := false
	for _, a := range actions[:n] {
		var ok bool
		if w, ok = w.effect(bySource, a); !ok {
			return m.failed(w, bySource)
		}
		barred = barred || a.Kind == Bar
	}
	if n < len(actions) {
		return w.crash(bySource)
	}
	if barred {
		next, more := m.step(w, false, Event{Kind: Barred, Copy: w.dstCopy})
		return m.perform(next, false, more, len(more))
	}
	return w
}

// failed: the source looks again; the destination starts over when it next can.
func (m handAlter) failed(w handWorld, bySource bool) handWorld {
	if !bySource || w.srcWord != None {
		return w.crash(bySource)
	}
	w.hsrc = HandSource{Source: Source{Copy: w.hsrc.Copy, Lease: w.hsrc.Lease, Doubt: w.hsrc.Doubt}, Whole: w.hsrc.Whole}
	if w.srcCopy != Running {
		return w.crash(true)
	}
	next, actions := m.step(w, true, Event{Kind: Observed, Copy: w.srcCopy})
	return m.perform(next, true, actions, len(actions))
}

func (w handWorld) effect(bySource bool, a Action) (handWorld, bool) {
	switch {
	case a.Kind == HandOver && w.srcCopy == Running:
		w.job, w.srcCopy = true, Sending
	case a.Kind == Finish && w.srcCopy == Running:
		return w, false
	case a.Kind == Finish:
		w.srcCopy, w.job = Absent, false
	case a.Kind == Thaw && w.srcCopy == Frozen:
		w.srcCopy = Running
	case a.Kind == SwitchTraffic && w.srcCopy == Frozen, bySource && a.Kind == Discard && w.srcCopy == Frozen:
		w.srcCopy = Absent
	case a.Kind == SwitchTraffic && w.srcCopy == Running:
		w.bad = "the source is left while it runs"
	case a.Kind == Receive:
		w.door = true
	case a.Kind == Bar:
		w.door = false
	case a.Kind == Activate && w.dstCopy == Whole:
		w.dstCopy = Running
	case a.Kind == Activate && w.dstCopy != Running:
		return w, false
	case !bySource && a.Kind == Discard:
		switch {
		case w.dstCopy == Running:
			w.bad = "a running copy was discarded"
		case w.dstCopy == Whole && w.srcCopy == Absent:
			w.bad = "the only copy was discarded"
		}
		w.dstCopy, w.door = Absent, false
	case a.Kind == WriteWord, a.Kind == Send, a.Kind == Propose:
		w.world = w.act(bySource, a)
	}
	return w, true
}

func (m handAlter) deliver(w handWorld, bySource bool, e Event, yield func(handWorld, string)) {
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
		yield(m.perform(next, bySource, actions, n), text)
	}
}

// nature is what the hypervisors may do at any time.
func (w handWorld) nature(yield func(handWorld, string)) {
	if w.dstCopy == Incoming {
		x := w
		x.dstCopy = Absent
		yield(x, "destination's hypervisor gives the copy up")
		x.dstCopy = Off
		yield(x, "destination's hypervisor gives the copy up and keeps its definition")
	}
	if !w.job {
		return
	}
	x := w
	switch {
	case w.dstCopy == Absent && w.door:
		x.dstCopy = Incoming
		yield(x, "the copy begins")
	case w.dstCopy == Incoming: // what was under way may still make it whole
		x.dstCopy = Whole
		yield(x, "the copy is whole")
	case w.dstCopy == Whole:
		x.job, x.srcCopy = false, Absent
		yield(x, "source's hypervisor ends its process")
	}
	for _, c := range []Copy{Running, Frozen} {
		x = w
		x.job, x.srcCopy = false, c
		yield(x, "the job fails late and the source is "+c.String())
	}
}

func (m handAlter) next(w handWorld, yield func(handWorld, string)) {
	w.nature(yield)
	m.ends(w, yield)
	for i := range 16 {
		if w.asked.has(i) {
			p, bySource := owner(i)
			x := w
			x.world = w.apply(p, bySource)
			yield(x, fmt.Sprint("books apply ", p))
		}
	}
	if w.lease == fleet.Transferring || w.lease == fleet.Prepared {
		x := w
		x.lease, x.past = fleet.Uncertain, w.past.with(int(fleet.Uncertain))
		yield(x, "leader expires the lease")
	}
}

func (m handAlter) ends(w handWorld, yield func(handWorld, string)) {
	for _, bySource := range []bool{true, false} {
		up, word, copied, heard, first, last := w.srcUp, w.srcWord, w.srcCopy, w.toSrc, mPrepared, mRefused
		if !bySource {
			up, word, copied, heard, first, last = w.dstUp, w.dstWord, w.dstCopy, w.toDst, mCommitted, mAsked
		}
		if !up {
			m.deliver(w, bySource, Event{Kind: Restart, Word: word, Copy: copied}, yield)
			continue
		}
		yield(w.crash(bySource), fmt.Sprint("death, source=", bySource))
		m.deliver(w, bySource, Event{Kind: Deadline}, yield)
		m.deliver(w, bySource, Event{Kind: Abandon}, yield)
		// The source looks only when no job is left; the destination always.
		if !bySource || !w.job && (w.hsrc.Stage != Copying || w.hsrc.Copy != Running) {
			m.deliver(w, bySource, Event{Kind: Observed, Copy: copied}, yield)
		}
		for i := first; i <= last; i++ {
			if heard.has(i) {
				m.deliver(w, bySource, messages[i], yield)
			}
		}
		for s := fleet.Transferring; s <= fleet.Uncertain; s++ {
			if w.past.has(int(s)) {
				m.deliver(w, bySource, Event{Kind: Learned, Lease: s}, yield)
			}
		}
	}
	if w.srcUp && w.dstUp && w.hdst.Word == None && w.hsrc.Stage == Copying && w.hsrc.Copy == Running {
		m.deliver(w, false, Event{Kind: Admit}, yield)
	}
	if w.srcUp && w.hsrc.Stage == Copying && w.hsrc.Copy == Running && w.dstWord == Admitted && !w.job {
		m.deliver(w, true, Event{Kind: Cut}, yield)
	}
}

func (w handWorld) violated() string {
	whole := w.srcCopy != Absent || w.dstCopy == Whole || w.dstCopy == Running
	switch {
	case w.bad != "":
		return w.bad
	case w.srcCopy == Running && w.dstCopy == Running:
		return "two running copies"
	case !whole:
		return "no whole copy is left"
	case w.dstCopy == Running && w.dstWord != Activated:
		return "the destination runs without its word Activated"
	case w.srcCopy == Running && w.srcWord == Relinquished:
		return "the source runs what it has relinquished"
	}
	return ""
}

// calm lets the faults stop and checks that exactly one copy runs in the end.
func (m handAlter) calm(w handWorld) string {
	w.toDst, w.toSrc = 0, 0
	var failed string
	step := func(bySource bool, e Event) {
		next, actions := m.step(w, bySource, e)
		w = m.perform(next, bySource, actions, len(actions))
		for i := range 16 {
			if w.asked.has(i) {
				p, by := owner(i)
				w.world = w.apply(p, by)
			}
		}
		w.asked = 0
		if v := w.violated(); v != "" && failed == "" {
			failed = v
		}
	}
	for range 24 {
		if w.job { // it ends by itself, the way it must
			w.job = false
			w.srcCopy = Running
			if w.dstCopy == Whole && w.hsrc.Whole {
				w.srcCopy = Absent
			}
		}
		if w.dstCopy == Incoming {
			w.dstCopy = Absent
		}
		if !w.srcUp {
			step(true, Event{Kind: Restart, Word: w.srcWord, Copy: w.srcCopy})
		}
		if !w.dstUp {
			step(false, Event{Kind: Restart, Word: w.dstWord, Copy: w.dstCopy})
		}
		step(true, Event{Kind: Observed, Copy: w.srcCopy})
		step(false, Event{Kind: Observed, Copy: w.dstCopy})
		for i := range mRest {
			if w.toDst.has(i) {
				w.toDst &^= 1 << i
				step(false, messages[i])
			}
			if w.toSrc.has(i) {
				w.toSrc &^= 1 << i
				step(true, messages[i])
			}
		}
		step(true, Event{Kind: Learned, Lease: w.lease})
		step(false, Event{Kind: Learned, Lease: w.lease})
		step(true, Event{Kind: Deadline})
		step(false, Event{Kind: Deadline})
	}
	switch {
	case failed != "":
		return failed
	case (w.srcCopy == Running) == (w.dstCopy == Running):
		return fmt.Sprintf("at rest the source is %s and the destination %s (%+v, %+v, lease %s)", w.srcCopy, w.dstCopy, w.hsrc, w.hdst, w.lease)
	case w.srcCopy == Running && w.dstCopy != Absent:
		return fmt.Sprintf("the source runs, and the destination still holds a copy (%+v)", w.hdst)
	case !w.hsrc.Settled():
		return fmt.Sprintf("the source's end is not settled: %+v, lease %s", w.hsrc, w.lease)
	}
	return ""
}

// exploreHand visits every world that is reached in at most limit steps; 0 means
// all of them. It returns how many there are, and the first violation.
func exploreHand(m handAlter, limit int) (int, string) {
	type mark struct {
		from, depth int
		how         string
	}
	worlds, marks := []handWorld{startHand()}, []mark{{from: -1}}
	seen := map[handWorld]bool{worlds[0]: true}
	way := func(i int) string {
		text := ""
		for ; i > 0; i = marks[i].from {
			text = "  " + marks[i].how + "\n" + text
		}
		return text
	}
	bad := ""
	for i := 0; i < len(worlds) && bad == ""; i++ {
		if v := m.calm(worlds[i]); v != "" {
			return len(worlds), v + "\n" + way(i)
		}
		if limit > 0 && marks[i].depth >= limit {
			continue
		}
		m.next(worlds[i], func(w handWorld, how string) {
			if bad != "" || seen[w] {
				return
			}
			seen[w] = true
			worlds, marks = append(worlds, w), append(marks, mark{i, marks[i].depth + 1, how})
			if v := w.violated(); v != "" {
				bad = v + "\n" + way(len(worlds)-1)
			}
		})
	}
	return len(worlds), bad
}

// TestHandEveryInterleaving explores the protocol with a hypervisor that may fail
// late: loss, duplication and reordering of messages, stale books, deaths of both
// ends at every step.
func TestHandEveryInterleaving(t *testing.T) {
	t.Parallel()
	n, bad := exploreHand(handAlter{}, bounded(11))
	t.Logf("%d states", n)
	if bad != "" {
		t.Fatal(bad)
	}
	if n < 5_000 {
		t.Fatalf("only %d states: the explorer has lost its way", n)
	}
}

// TestHandPlantedBugs: each altered machine must break an invariant.
func TestHandPlantedBugs(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]handAlter{
		"source believes Prepared instead of its own eyes": {
			source: func(before HandSource, e Event, after HandSource, actions []Action) (HandSource, []Action) {
				if before.Stage == Copying && heard(e, Prepared) {
					return before.leave(nil)
				}
				return after, actions
			}},
		"source keeps what it has not seen running": {
			source: func(before HandSource, e Event, after HandSource, actions []Action) (HandSource, []Action) {
				if before.Stage == Copying && e.Kind == Abandon {
					s, a := before.keep()
					return HandSource{Source: s}, a
				}
				return after, actions
			}},
		"destination gives up what may be the only copy": {
			destination: func(before HandDestination, e Event, after HandDestination, actions []Action) (HandDestination, []Action) {
				if e.Kind == Abandon && before.Word == Admitted {
					before.Copy = Whole // so that it is discarded, whatever it is
					d, a := before.refuse()
					return HandDestination{Destination: d}, a
				}
				return after, actions
			}},
		"destination resumes as soon as it is whole": {
			destination: func(before HandDestination, e Event, after HandDestination, actions []Action) (HandDestination, []Action) {
				if e.Kind == Observed && e.Copy == Whole && before.Word == Admitted {
					before.Word = Prepared
					d, a := before.activate()
					return HandDestination{Destination: d}, append([]Action{write(Prepared)}, a...)
				}
				return after, actions
			}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, bad := exploreHand(m, 11)
			if bad == "" {
				t.Fatalf("the bug was not found in %d states", n)
			}
		})
	}
}
