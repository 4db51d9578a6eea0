package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/placed-dev/placed/fleet"
)

// checkBooks compares the state's own sums with sums made from its records.
func checkBooks(t failer, s *State) {
	t.Helper()
	active := map[fleet.WorkloadID]fleet.LeaseID{}
	for _, l := range s.Leases() {
		if !l.Active() {
			t.Fatalf("lease %s is %s and listed as active", l.ID, l.State)
		}
	}
	held := map[fleet.HostID]fleet.Vector{}
	for _, w := range s.Workloads() {
		held[w.Owner] = held[w.Owner].Add(w.Reservation)
	}
	for _, l := range s.AllLeases() {
		if l.Active() {
			if other, twice := active[l.Workload]; twice {
				t.Fatalf("workload %s has the active leases %s and %s", l.Workload, other, l.ID)
			}
			active[l.Workload] = l.ID
		}
		if l.HoldsDestination() {
			held[l.Destination] = held[l.Destination].Add(l.Reservation)
		}
		if l.HoldsSource() {
			held[l.Source] = held[l.Source].Add(l.Reservation)
		}
	}
	for _, h := range s.Hosts() {
		if got := s.Held(h.ID); !got.Equal(held[h.ID]) {
			t.Fatalf("host %s holds %s, its records say %s", h.ID, got, held[h.ID])
		}
		if over, why := s.Overbooked(h.ID); over != (!excessOf(s, h.ID).IsZero() || disputes(s, h.ID)) {
			t.Fatalf("host %s overbooked is %t (%s), excess is %+v", h.ID, over, why, excessOf(s, h.ID))
		}
	}
}

type failer interface {
	Helper()
	Fatalf(string, ...any)
}

func disputes(s *State, host fleet.HostID) bool {
	return slices.ContainsFunc(s.Workloads(), func(w fleet.Workload) bool { return slices.Contains(s.Disputed(w.ID), host) })
}

// excessOf is what a host holds beyond its capacity, never negative. A reserve
// larger than the host leaves nothing to hold, not less than nothing.
func excessOf(s *State, id fleet.HostID) fleet.Vector {
	h, _ := s.Host(id)
	allocatable, held := h.Allocatable(), s.Held(id)
	var over fleet.Vector
	held.Each(func(r fleet.Resource, n int64) {
		if have := allocatable.Get(r); have != fleet.Unknown && n > max(have, 0) {
			over = over.With(r, n-max(have, 0))
		}
	})
	return over
}

// tally counts what the random sequences have reached.
type tally struct {
	accepted, refused map[string]int
	states            map[fleet.LeaseState]int
	codes             map[Code]int
	ops               int
}

// history is one random log with what is checked after every entry.
type history struct {
	*world
	seen   *tally
	steps  uint64
	dice   *rand.Rand
	tokens map[fleet.WorkloadID]fleet.Token
}

// roll returns a number of [low, high]. rapid draws one seed per step, so that a
// failure shrinks to few steps; its own numbers prefer the small ones too much
// for long life cycles to happen.
func (h *history) roll(low, high int) int { return low + h.dice.IntN(high-low+1) }

func sample[T any](h *history, from []T) T { return from[h.dice.IntN(len(from))] }

func (h *history) step(t *rapid.T) {
	h.steps++
	h.dice = rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "step"), h.steps))
	from, op := h.draw()
	ops := []Operation{op}
	for h.roll(0, 9) == 0 && len(ops) < 6 {
		_, another := h.draw()
		ops = append(ops, another)
	}
	h.now = h.now.Add(time.Duration(h.roll(0, 600)) * time.Second)
	before := map[fleet.HostID]fleet.Vector{}
	for _, x := range h.state.Hosts() {
		before[x.ID] = excessOf(h.state, x.ID)
	}
	h.ids++
	data, err := Encode(Header{ID: fmt.Sprintf("id-%d", h.ids), Proposer: from, At: h.now, LoadAt: h.now}, ops...)
	if err != nil {
		t.Fatalf("encode: %v", err)
	}
	h.index++
	h.log = append(h.log, data)
	result := h.state.Apply(h.index, data)
	if result.Fatal != nil {
		t.Fatalf("fatal: %v", result.Fatal)
	}
	h.check(t, ops, result, before)
}

func (h *history) check(t *rapid.T, ops []Operation, result Result, before map[fleet.HostID]fleet.Vector) {
	observed := false
	for i, op := range ops {
		name := commands[op.number()].name
		h.seen.ops++
		if r := result.Ops[i].Err; r != nil {
			h.seen.refused[name]++
			h.seen.codes[r.Code]++
			if sentinels[r.Code] == nil || !errors.Is(r, sentinels[r.Code]) || r.Message == "" {
				t.Fatalf("%s was refused with %+v", name, r)
			}
		} else {
			h.seen.accepted[name]++
		}
		switch op.(type) {
		case RegisterHost, RegisterWorkloads:
			observed = true
		case Grant:
			if l := result.Ops[i].Lease; l != nil {
				if last := h.tokens[l.Workload]; !l.Token.NewerThan(last) {
					t.Fatalf("workload %s got token %s after %s", l.Workload, l.Token, last)
				}
				h.tokens[l.Workload] = l.Token
			}
		}
		if l := result.Ops[i].Lease; l != nil {
			h.seen.states[l.State]++
		}
	}
	checkBooks(t, h.state)
	if observed {
		return
	}
	for id, old := range before { // G1
		if r, grew := old.Lacks(excessOf(h.state, id)); grew {
			t.Fatalf("%T made host %s hold more %s than it has: %s over, was %s", ops[0], id, r, excessOf(h.state, id), old)
		}
	}
}

// draw chooses an operation that has a chance, and who proposes it: mostly the
// right one.
func (h *history) draw() (fleet.HostID, Operation) {
	hosts := []fleet.HostID{"h1", "h2", "h3", "h4"}
	pick := func() fleet.HostID { return sample(h, hosts) }
	any := fleet.WorkloadID(fmt.Sprintf("w%d", h.roll(1, 12)))
	owner := pick()
	if w, ok := h.state.Workload(any); ok {
		owner = w.Owner
	}
	kind := h.roll(0, 99)
	leases := h.state.Leases()
	switch {
	case kind < 2 && h.roll(0, 3) == 0:
		return "h1", RaiseGeneration{Reason: "drill"}
	case kind < 5:
		id := pick()
		return id, RegisterHost{Host: host(string(id), int64(h.roll(8, 64))*gib)}
	case kind < 6:
		return "h1", SetHostState{Host: pick(), State: fleet.HostState(sample(h, []int{0, 0, 0, 0, 0, 1, 2, 3}))}
	case kind < 17:
		return h.drawReport(pick())
	case kind < 19:
		return owner, DeregisterWorkload{Workload: any}
	case kind < 21:
		return "h1", PinWorkload{Workload: any, Pinned: h.roll(0, 3) == 0}
	case kind < 23:
		p := fleet.DefaultPolicy()
		p.Automation = fleet.Auto
		p.Paused = h.roll(0, 7) == 0
		p.MovesInFlight, p.ChurnPerHour = 6, 40
		return "h1", SetPolicy{Policy: p}
	case kind < 24:
		return owner, PutProfile{Workload: any, Blob: []byte{1}, Category: "flat"}
	case kind < 25:
		return "h1", RecordDecisions{Decisions: []fleet.Decision{{ID: fmt.Sprint("d", h.ids), At: h.now}}}
	case kind < 26:
		return "h1", InitCluster{Cluster: "c1"}
	case kind < 46 && len(leases) > 4:
	case kind < 46:
		return h.drawGrant(any, pick())
	}
	if len(leases) == 0 {
		return h.drawGrant(any, pick())
	}
	from, op := h.drawStep(sample(h, leases))
	if h.roll(0, 29) == 0 {
		from = pick()
	}
	return from, op
}

func (h *history) drawGrant(workload fleet.WorkloadID, to fleet.HostID) (fleet.HostID, Operation) {
	g := Grant{Workload: workload, Destination: to, Type: fleet.MigrationType(h.roll(0, 6))}
	switch n := h.roll(0, 24); {
	case n < 5:
		g.Kind, g.Reservation = fleet.LeasePlacement, fleet.Vector{CPU: 100, Memory: int64(h.roll(1, 12)) * gib}
	case n == 5:
		g.Kind = fleet.LeaseStandby
	}
	return "h1", g
}

func (h *history) drawReport(id fleet.HostID) (fleet.HostID, Operation) {
	o := RegisterWorkloads{Host: id}
	for _, w := range h.state.Workloads() {
		if w.Owner == id && h.roll(0, 9) > 0 {
			if h.roll(0, 9) == 0 {
				w.Reservation.Memory = int64(h.roll(1, 16)) * gib
			}
			o.Workloads = append(o.Workloads, w)
		}
	}
	if extra := h.roll(0, 20); extra >= 1 && extra <= 12 {
		o.Workloads = append(o.Workloads, instance(fmt.Sprintf("w%d", extra), int64(h.roll(1, 12))*gib))
	}
	return id, o
}

// drawStep chooses what one end of a lease, the leader or an operator may say.
func (h *history) drawStep(l fleet.Lease) (fleet.HostID, Operation) {
	n := h.roll(0, 19)
	digest := "d"
	if n == 19 {
		digest = "other"
	}
	source := sample(h, []Seen{SeenRunning, SeenFrozen, SeenAbsent})
	destination := sample(h, []Seen{SeenRunning, SeenPrepared, SeenFrozen, SeenAbsent})
	switch {
	case n == 0:
		return "h1", Resolve{Lease: l.ID, Commit: h.roll(0, 1) == 1, By: "alice"}
	case n == 1:
		return "h1", Expire{Lease: l.ID}
	case n == 2:
		return l.Source, Abort{Lease: l.ID, Reason: "no"}
	case n == 3:
		return l.Destination, Revert{Lease: l.ID, Reason: "no"}
	case n == 4:
		return l.Source, RecordOutcome{Outcome: MigrationOutcome{Lease: l.ID, Rounds: 3}}
	case n == 5:
		return l.Source, Release{Lease: l.ID}
	}
	switch l.State {
	case fleet.Granted:
		if l.Kind == fleet.LeasePlacement {
			w := instance(string(l.Workload), l.Reservation.Memory)
			w.Reservation = l.Reservation
			return l.Destination, Claim{Lease: l.ID, Workload: w}
		}
		return l.Source, Begin{Lease: l.ID, Token: l.Token}
	case fleet.Transferring:
		return l.Destination, ReportPrepared{Lease: l.ID, Digest: "d"}
	case fleet.Prepared:
		return l.Source, Commit{Lease: l.ID, Digest: digest}
	case fleet.Committed:
		return l.Destination, ReportActivated{Lease: l.ID}
	case fleet.Activated:
		return l.Source, ReportReleased{Lease: l.ID}
	case fleet.Aborted:
		return l.Destination, ReportDiscarded{Lease: l.ID}
	}
	if n < 12 && l.Source != "" {
		return l.Source, ObserveOwner{Lease: l.ID, Host: l.Source, Seen: source}
	}
	return l.Destination, ObserveOwner{Lease: l.ID, Host: l.Destination, Seen: destination, Digest: digest}
}

// TestRandomHistories: whatever is proposed, no host's excess grows but by an
// observation (G1), a workload has one active lease, tokens grow; a snapshot and
// the rest of the log give the state of the whole log, byte for byte, and so
// does a second replica.
func TestRandomHistories(t *testing.T) {
	seen := &tally{accepted: map[string]int{}, refused: map[string]int{}, states: map[fleet.LeaseState]int{}, codes: map[Code]int{}}
	rapid.Check(t, func(t *rapid.T) {
		h := &history{world: newWorld(), seen: seen, tokens: map[fleet.WorkloadID]fleet.Token{}}
		steps := rapid.IntRange(60, 250).Draw(t, "steps")
		cut := rapid.IntRange(0, steps-1).Draw(t, "cut")
		h.begin(t)
		var copied *State
		for i := range steps {
			if i == cut {
				copied = h.copied(t)
			}
			h.step(t)
			if copied != nil {
				copied.Apply(h.index, h.log[len(h.log)-1])
			}
		}
		replica := New()
		for i, data := range h.log {
			replica.Apply(h.index-uint64(len(h.log)-1-i), data)
		}
		want := h.bytes(t, h.state)
		if !bytes.Equal(want, h.bytes(t, copied)) {
			t.Fatalf("snapshot at step %d and the tail differ from the log", cut)
		}
		if !bytes.Equal(want, h.bytes(t, replica)) {
			t.Fatalf("a second replica differs")
		}
	})
	seen.report(t)
}

// begin lets four hosts join.
func (h *history) begin(t *rapid.T) {
	policy := fleet.DefaultPolicy()
	policy.Automation, policy.MovesInFlight, policy.ChurnPerHour = fleet.Auto, 6, 40
	ops := map[fleet.HostID][]Operation{"h1": {InitCluster{Cluster: "c1"}, SetPolicy{Policy: policy}}}
	for i, id := range []fleet.HostID{"h1", "h2", "h3", "h4"} {
		workloads := []fleet.Workload{instance(fmt.Sprintf("w%d", 2*i+1), 4*gib), instance(fmt.Sprintf("w%d", 2*i+2), 6*gib)}
		ops[id] = append(ops[id], RegisterHost{Host: host(string(id), 32*gib)}, RegisterWorkloads{Host: id, Workloads: workloads})
		h.ids++
		data, err := Encode(Header{ID: fmt.Sprintf("id-%d", h.ids), Proposer: id, At: h.now, LoadAt: h.now}, ops[id]...)
		if err != nil {
			t.Fatalf("encode: %v", err)
		}
		h.index++
		h.log = append(h.log, data)
		if err := h.state.Apply(h.index, data).Refused(); err != nil {
			t.Fatalf("host %s: %v", id, err)
		}
	}
}

func (h *history) bytes(t *rapid.T, s *State) []byte {
	var buf bytes.Buffer
	if _, err := s.Capture().WriteTo(&buf); err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	return buf.Bytes()
}

func (h *history) copied(t *rapid.T) *State {
	s, err := Restore(bytes.NewReader(h.bytes(t, h.state)))
	if err != nil {
		t.Fatalf("restore: %v", err)
	}
	return s
}

// report prints the distribution and fails if the sequences miss the point.
func (s *tally) report(t *testing.T) {
	total := 0
	for _, name := range slices.Sorted(maps.Keys(everyOperation())) {
		t.Logf("%-20s accepted %6d refused %6d", name, s.accepted[name], s.refused[name])
		total += s.accepted[name]
		if s.accepted[name] == 0 {
			t.Errorf("%s was never accepted", name)
		}
	}
	for state := fleet.Granted; state <= fleet.Uncertain; state++ {
		t.Logf("%-20s seen %6d", state, s.states[state])
		if s.states[state] == 0 {
			t.Errorf("no lease was ever %s", state)
		}
	}
	t.Logf("refusals by code: %v", s.codes)
	if share := float64(total) / float64(s.ops); share < 0.3 {
		t.Errorf("only %.0f %% of %d operations were accepted", 100*share, s.ops)
	} else {
		t.Logf("%.0f %% of %d operations accepted", 100*share, s.ops)
	}
}
