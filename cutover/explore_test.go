package cutover

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/placed-dev/placed/fleet"
)

// reach is one reached world and how it was reached.
type reach struct {
	from  int
	how   string
	depth int
}

type exploration struct {
	worlds []world
	reach  []reach
	depth  int
	bad    string // the first violation, with the way to it
}

// explore visits every world that can be reached in at most limit steps; 0 means
// no limit: the state space is finite, so the search ends by itself.
func explore(m alter, reboots uint8, limit int) exploration {
	x := exploration{}
	seen := map[world]bool{}
	add := func(w world, from int, how string) bool {
		if seen[w] {
			return true
		}
		seen[w] = true
		depth := 0
		if from >= 0 {
			depth = x.reach[from].depth + 1
		}
		x.worlds = append(x.worlds, w)
		x.reach = append(x.reach, reach{from, how, depth})
		x.depth = max(x.depth, depth)
		if b := w.broken(); b != "" {
			x.bad = b + "\n" + x.way(len(x.worlds)-1)
			return false
		}
		return true
	}
	first := start()
	first.strict = m.strict
	add(first, -1, "start")
	settled := map[world]string{}
	for i := 0; i < len(x.worlds) && x.bad == ""; i++ {
		w := x.worlds[i]
		if limit > 0 && x.reach[i].depth >= limit {
			break
		}
		if b := m.settles(w, settled); b != "" {
			x.bad = b + "\n" + x.way(i)
			break
		}
		m.next(w, reboots, func(n world, how string) {
			if x.bad == "" {
				add(n, i, how)
			}
		})
	}
	return x
}

func (x exploration) way(i int) string {
	var steps []string
	for ; i >= 0; i = x.reach[i].from {
		steps = append([]string{"  " + x.reach[i].how}, steps...)
	}
	return strings.Join(steps, "\n")
}

// settles lets the faults stop in w and checks that every fair continuation that
// the promise is made for ends with exactly one running copy.
func (m alter) settles(w world, known map[world]string) string {
	// What was still in flight is lost; a world in which it arrived is
	// another reached world.
	w.toDst, w.toSrc, w.asked, w.past = w.toDst&(1<<mRest), 0, 0, bits(0).with(int(w.lease))
	if verdict, ok := known[w]; ok {
		return verdict
	}
	verdict := ""
	for _, c := range []struct {
		name         string
		books, peers bool
	}{{"books and peer answer", true, true}, {"only the books answer", true, false}, {"only the peer answers", false, true}} {
		if b := m.calm(w, c.books, c.peers); b != "" {
			verdict = fmt.Sprintf("when %s: %s", c.name, b)
			break
		}
	}
	known[w] = verdict
	return verdict
}

// calm runs w fairly without faults for a bounded number of rounds.
func (m alter) calm(w world, books, peers bool) string {
	first := w
	for i := range 24 {
		if i == 12 && w.reboots > 0 && books && (w.lease == fleet.Transferring || w.lease == fleet.Prepared) {
			w.lease = fleet.Uncertain // nobody renews any more: the leader expires it
		}
		w = m.round(w, books, peers)
		if b := w.broken(); b != "" {
			return b
		}
	}
	if again := m.round(w, books, peers); again.srcCopy != w.srcCopy || again.dstCopy != w.dstCopy {
		return "the ends never come to rest"
	}
	if first.srcGone || first.dstGone {
		return "" // the only running copy was lost with its host
	}
	if w.strict && !peers && w.lease == fleet.Uncertain && w.obsSrc == ObserveFrozen && w.obsDst == ObserveAbsent {
		return "" // both ends have said all they know: an operator decides
	}
	running := 0
	for _, c := range []Copy{w.srcCopy, w.dstCopy} {
		if c == Running {
			running++
		}
	}
	switch {
	case running != 1:
		return fmt.Sprintf("%d running copies at rest (source %+v %s, destination %+v %s, lease %s)",
			running, w.src, w.srcCopy, w.dst, w.dstCopy, w.lease)
	case books && peers && !(w.src.Settled() && w.dst.Settled()):
		return fmt.Sprintf("the lease is not settled (source %+v, destination %+v, lease %s)", w.src, w.dst, w.lease)
	case books && peers && w.lease == fleet.Aborted && !w.discard:
		return "the destination's reservation leaks"
	}
	return ""
}

// round: both ends start if they are down, hear what is new, learn the lease and
// wait once in vain.
func (m alter) round(w world, books, peers bool) world {
	step := func(bySource bool, e Event) {
		var actions []Action
		w, actions = m.step(w, bySource, e)
		w = w.perform(bySource, actions, len(actions))
		for i := range 16 {
			if w.asked.has(i) && books {
				w = w.apply(owner(i))
			}
		}
		w.asked = 0
	}
	if !w.srcUp {
		step(true, Event{Kind: Restart, Word: w.srcWord, Copy: w.srcCopy})
	}
	if !w.dstUp {
		step(false, Event{Kind: Restart, Word: w.dstWord, Copy: w.dstCopy})
	}
	exchange := func() {
		for range 4 {
			for i := range mRest {
				if w.toDst.has(i) {
					w.toDst &^= 1 << i
					if peers {
						step(false, messages[i])
					}
				}
				if w.toSrc.has(i) {
					w.toSrc &^= 1 << i
					if peers {
						step(true, messages[i])
					}
				}
			}
		}
	}
	exchange()
	// A copy that is still going on without faults ends one way or another;
	// here it is given up, which is the harder way.
	if w.src.Stage == Copying {
		step(true, Event{Kind: Abandon})
	}
	if books {
		step(true, Event{Kind: Learned, Lease: w.lease})
		step(false, Event{Kind: Learned, Lease: w.lease})
	}
	step(true, Event{Kind: Deadline})
	step(false, Event{Kind: Deadline})
	exchange()
	return w
}

// TestEveryInterleaving explores loss, duplication, reordering, stale voters and
// deaths of both ends at every step. The leader's death is in it: its answer is
// one of the messages.
func TestEveryInterleaving(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		books alter
		limit int
	}{
		"books that leave frozen and absent":  {alter{strict: true}, boundedDepth},
		"books that settle frozen and absent": {alter{}, bounded(11)},
		"books restored after a commit":       {alter{strict: true, raises: true}, bounded(11)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := explore(c.books, 0, c.limit)
			t.Logf("%d states, longest shortest path %d", len(x.worlds), x.depth)
			if x.bad != "" {
				t.Fatal(x.bad)
			}
			if len(x.worlds) < 5_000 {
				t.Fatalf("only %d states: the explorer has lost its way", len(x.worlds))
			}
		})
	}
}

// bounded limits the depth, unless PLACED_SOAK asks for every reachable state (one
// to four million, some minutes).
func bounded(depth int) int {
	if os.Getenv("PLACED_SOAK") != "" {
		return 0
	}
	return depth
}

// TestPowerCut adds one power cut of either host at any moment. A copy that was
// lost with its host cannot be brought back, but there must still never be two,
// and a source that survived must run again.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	x := explore(alter{}, 1, bounded(10))
	t.Logf("with one power cut: %d states, depth %d", len(x.worlds), x.depth)
	if x.bad != "" {
		t.Fatal(x.bad)
	}
}

// TestWordsAreStable: the words stand in files and messages.
func TestWordsAreStable(t *testing.T) {
	t.Parallel()
	want := []string{"none", "admitted", "prepared", "activated", "refused", "aborted", "relinquished", "released"}
	for i, text := range want {
		var w Word
		if err := w.UnmarshalText([]byte(text)); err != nil || w != Word(i) || w.String() != text {
			t.Errorf("word %d: %q reads as %v (%v)", i, text, w, err)
		}
	}
	if Word(len(want)).Valid() {
		t.Error("a new word needs a line in this test")
	}
	if err := new(Word).UnmarshalText([]byte("perhaps")); err == nil {
		t.Error("an unknown word was accepted")
	}
}
