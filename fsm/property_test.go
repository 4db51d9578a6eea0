package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/placed-dev/placed/fleet"
)

// history is one random log with what is checked after every entry.
type history struct {
	*world
	seen    *tally
	dice    *rand.Rand
	tokens  map[fleet.WorkloadID]fleet.Token
	over    map[fleet.HostID]fleet.Vector // excess after the last entry
	rules   map[string]int                // broken rules after the last entry
	ledger  *ledger                       // what the leases should be
	replica *State                        // applies every entry as well
	copied  *State                        // restored from a snapshot on the way, then the same
	last    []byte                        // the last entry, if it was one proposal
	pacer   Pacer
	models  uint64
}

func newHistory(seen *tally) *history {
	return &history{world: newWorld(), seen: seen, tokens: map[fleet.WorkloadID]fleet.Token{}, ledger: newLedger(), replica: New()}
}

// roll returns a number of [low, high].
func (h *history) roll(low, high int) int { return low + h.dice.IntN(high-low+1) }

func sample[T any](h *history, from []T) T { return from[h.dice.IntN(len(from))] }

// proposal is what one host proposes.
type proposal struct {
	from fleet.HostID
	ops  []Operation
	data []byte
}

func (h *history) propose(t failer, stamped bool) proposal {
	from, op := h.draw()
	p := proposal{from: from, ops: []Operation{op}}
	for h.roll(0, 2) == 0 && len(p.ops) < 6 {
		if other, another := h.draw(); other == from {
			p.ops = append(p.ops, another)
		}
	}
	h.ids++
	at := h.now
	if stamped && h.roll(0, 9) == 0 {
		at = at.Add(time.Duration(h.roll(-100, 100)) * time.Hour) // a wrong clock
	}
	var err error
	if p.data, err = Encode(Header{ID: fmt.Sprintf("id-%d", h.ids), Proposer: from, At: at, LoadAt: at}, p.ops...); err != nil {
		t.Fatalf("encode: %v", err)
	}
	return p
}

func (h *history) step(t failer, seed uint64) {
	h.dice = rand.New(rand.NewPCG(seed, h.index))
	h.now = h.now.Add(time.Duration(h.roll(0, 600)) * time.Second)
	h.index++
	if h.roll(0, 99) == 0 {
		h.index += uint64(h.roll(1, 400)) // entries of Raft's own, and other histories
	}
	stamped := h.roll(0, 9) == 0
	proposals := []proposal{h.propose(t, stamped)}
	h.seen.entries++
	if !stamped {
		result := h.state.Apply(h.index, proposals[0].data)
		if result.Fatal != nil {
			t.Fatalf("fatal: %v", result.Fatal)
		}
		h.last = proposals[0].data
		h.follow(t, proposals[0].data)
		h.check(t, proposals, []Result{result})
		if h.roll(0, 49) == 0 {
			h.repeat(t, proposals[0].data)
		}
		return
	}
	for h.roll(0, 1) == 0 && len(proposals) < 4 {
		proposals = append(proposals, h.propose(t, true))
	}
	var all [][]byte
	for _, p := range proposals {
		all = append(all, p.data)
	}
	wall, load := h.state.Time()
	data := BundleStamped(h.pacer.Stamp(h.now, wall, load, 1), all)
	results, err := h.state.ApplyBundle(h.index, data)
	if err != nil {
		t.Fatalf("fatal: %v", err)
	}
	h.seen.bundled++
	h.last = nil
	h.follow(t, data)
	h.check(t, proposals, results)
}

// follow applies the entry to the other two replicas.
func (h *history) follow(t failer, data []byte) {
	for _, s := range []*State{h.replica, h.copied} {
		if s == nil {
			continue
		}
		if IsBundle(data) {
			if _, err := s.ApplyBundle(h.index, data); err != nil {
				t.Fatalf("a second replica: %v", err)
			}
		} else if r := s.Apply(h.index, data); r.Fatal != nil {
			t.Fatalf("a second replica: %v", r.Fatal)
		}
		if s.records != h.state.records || s.chain != h.state.chain || s.checked != h.state.checked {
			t.Fatalf("after entry %d a second replica has another hash", h.index)
		}
	}
}

// repeat proposes an entry again: the answer is known, and the books stay.
func (h *history) repeat(t failer, data []byte) {
	before := h.state.records
	h.index++
	if r := h.state.Apply(h.index, data); !r.Replayed || r.Fatal != nil {
		t.Fatalf("an entry proposed again gave %+v", r)
	}
	if h.state.records != before {
		t.Fatalf("an entry proposed again changed the books")
	}
	h.seen.replayed++
	h.follow(t, data)
}

// excess is what each host holds beyond its capacity.
func (h *history) excess() map[fleet.HostID]fleet.Vector {
	out := make(map[fleet.HostID]fleet.Vector, len(h.state.hosts))
	for id := range h.state.hosts {
		out[id] = excessOf(h.state, id)
	}
	return out
}

func (h *history) check(t failer, proposals []proposal, results []Result) {
	observed, ruled := false, false
	for i, p := range proposals {
		for k, op := range p.ops {
			switch op.(type) {
			case RegisterHost, RegisterWorkloads, ObserveHost:
				observed = true
			case PutRule:
				ruled = true
			}
			h.count(t, op, results[i].Ops[k])
			h.ledger.step(t, p.from, op, results[i].Ops[k])
		}
	}
	quickCheck(t, h.state)
	h.ledger.compare(t, h.state)
	over, rules := h.excess(), broken(h.state)
	for id, after := range over { // G1
		if r, grew := h.over[id].Lacks(after); grew && !observed {
			t.Fatalf("%T made host %s hold more %s than it has: %s over, was %s", proposals[0].ops[0], id, r, after, h.over[id])
		}
	}
	for id, n := range rules { // G9
		if n > h.rules[id] && !observed && !ruled {
			t.Fatalf("%T broke rule %s: %d times, was %d", proposals[0].ops[0], id, n, h.rules[id])
		}
	}
	h.over, h.rules = over, rules
}

func (h *history) count(t failer, op Operation, result OpResult) {
	name := commands[op.number()].name
	h.seen.ops++
	if r := result.Err; r != nil {
		h.seen.refused[name]++
		h.seen.codes[r.Code]++
		if sentinels[r.Code] == nil || !errors.Is(r, sentinels[r.Code]) || r.Message == "" {
			t.Fatalf("%s was refused with %+v", name, r)
		}
	} else {
		h.seen.accepted[name]++
	}
	l := result.Lease
	if l == nil {
		return
	}
	h.seen.states[l.State]++
	if _, ok := op.(Grant); ok {
		if last := h.tokens[l.Workload]; !l.Token.NewerThan(last) {
			t.Fatalf("workload %s got token %s after %s", l.Workload, l.Token, last)
		}
		h.tokens[l.Workload] = l.Token
	}
}

// TestRandomHistories: whatever is proposed, no host's excess grows but by an
// observation (G1), a workload has one active lease, tokens grow, no grant breaks
// a hard rule; a snapshot and the rest of the log give the state of the whole
// log, byte for byte and hash for hash, and so does a second replica.
func TestRandomHistories(t *testing.T) {
	seen := newTally()
	rapid.Check(t, func(t *rapid.T) {
		h := newHistory(seen)
		steps := rapid.IntRange(60, 250).Draw(t, "steps")
		cut := rapid.IntRange(0, steps-1).Draw(t, "cut")
		h.begin(t)
		for i := range steps {
			if i == cut {
				h.restore(t)
			}
			// One seed per step: a failure shrinks to few steps, and
			// rapid's own numbers prefer the small ones too much for
			// long life cycles to happen.
			h.step(t, rapid.Uint64().Draw(t, "step"))
			checkBooks(t, h.state)
		}
		h.end(t)
	})
}

// TestLongHistories is TestRandomHistories over many operations, without
// shrinking: a failure names its seed. PLACED_SOAK makes it 100 million.
func TestLongHistories(t *testing.T) {
	total := 1_000_000
	switch {
	case testing.Short():
		total = 50_000
	case os.Getenv("PLACED_SOAK") != "":
		total = 100_000_000
	}
	seen := newTally()
	for seed := uint64(1); seen.ops < total; seed++ {
		if !t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			h := newHistory(seen)
			h.begin(t)
			seeds := rand.NewPCG(seed, 7)
			for i := range 10_000 {
				if i%3_000 == 1_000 {
					h.restore(t)
				}
				h.step(t, seeds.Uint64())
			}
			checkBooks(t, h.state)
			h.end(t)
		}) {
			return
		}
	}
	seen.report(t, total)
}

// begin lets four hosts join.
func (h *history) begin(t failer) {
	policy := fleet.DefaultPolicy()
	policy.Automation, policy.MovesInFlight, policy.ChurnPerHour = fleet.Auto, 6, 40
	ops := map[fleet.HostID][]Operation{"h1": {InitCluster{Cluster: "c1", Level: FeatureLevel}, SetPolicy{Policy: policy}}}
	for i, id := range []fleet.HostID{"h1", "h2", "h3", "h4"} {
		workloads := []fleet.Workload{instance(fmt.Sprintf("w%d", 2*i+1), 4*gib), instance(fmt.Sprintf("w%d", 2*i+2), 6*gib)}
		ops[id] = append(ops[id], RegisterHost{Host: host(string(id), 32*gib)}, RegisterWorkloads{Host: id, Workloads: workloads})
		h.ids++
		data, err := Encode(Header{ID: fmt.Sprintf("id-%d", h.ids), Proposer: id, At: h.now, LoadAt: h.now}, ops[id]...)
		if err != nil {
			t.Fatalf("encode: %v", err)
		}
		h.index++
		if err := h.state.Apply(h.index, data).Refused(); err != nil {
			t.Fatalf("host %s: %v", id, err)
		}
		h.follow(t, data)
	}
}

// end compares the replicas byte for byte, and the hash that was kept as the
// records changed with the one a new state makes of them.
func (h *history) end(t failer) {
	want := h.bytes(t, h.state)
	if !bytes.Equal(want, h.bytes(t, h.copied)) {
		t.Fatalf("a snapshot and the tail differ from the log")
	}
	if !bytes.Equal(want, h.bytes(t, h.replica)) {
		t.Fatalf("a second replica differs")
	}
	if h.copy(t).Hash() != h.state.Hash() || h.replica.Hash() != h.state.Hash() {
		t.Fatalf("the hash kept is not the hash of the records")
	}
}

func (h *history) bytes(t failer, s *State) []byte {
	var buf bytes.Buffer
	if _, err := s.Capture().WriteTo(&buf); err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	return buf.Bytes()
}

// restore makes the copy, which must know, too, what was proposed before it.
func (h *history) restore(t failer) {
	h.copied = h.copy(t)
	if h.last != nil {
		h.repeat(t, h.last)
	}
}

func (h *history) copy(t failer) *State {
	s, err := Restore(bytes.NewReader(h.bytes(t, h.state)))
	if err != nil {
		t.Fatalf("restore: %v", err)
	}
	return s
}
