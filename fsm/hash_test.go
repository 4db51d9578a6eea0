package fsm

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/placed-dev/placed/fleet"
)

// newest is newFleet at the newest feature level.
func newest(t testing.TB) *world {
	w := newFleet(t)
	w.must(t, "h1", RaiseFeatureLevel{Level: FeatureLevel, By: "alice"})
	return w
}

// past lets the index pass a multiple of HashEvery.
func (w *world) past(t testing.TB) {
	w.index = (w.index/HashEvery+1)*HashEvery + 3
	w.must(t, "h1", PinWorkload{Workload: "w3", Pinned: w.index%2 == 0})
}

// The hash of a multiple is that of the state after the entries up to it, and
// the leader proposes it once.
func TestHashOfPastIndexes(t *testing.T) {
	w := newest(t)
	if _, ok := w.state.NextHash(); ok {
		t.Fatal("a hash is due before any multiple has passed")
	}
	want := w.state.Hash()
	w.past(t)
	got, ok := w.state.HashAt(HashEvery)
	if !ok || got != want {
		t.Fatalf("hash at %d is %s (%t), the state had %s", HashEvery, got, ok, want)
	}
	if w.state.Hash() == want {
		t.Error("a change left the hash as it was")
	}
	next, ok := w.state.NextHash()
	if !ok || next.Index != HashEvery || next.Hash != want {
		t.Fatalf("next is %+v", next)
	}
	w.must(t, "h1", next)
	if again, ok := w.state.NextHash(); ok {
		t.Errorf("%+v is proposed again", again)
	}
	for range maxMarks + 3 {
		w.past(t)
	}
	if _, ok := w.state.HashAt(HashEvery); ok || len(w.state.marks.items) != maxMarks {
		t.Errorf("%d hashes are kept", len(w.state.marks.items))
	}
	if next, ok := w.state.NextHash(); !ok || next.Index != w.state.hashed() {
		t.Errorf("next is %+v", next)
	}
}

// An entry of Raft's own at the multiple changes nothing: not every replica sees
// the same of them.
func TestHashIgnoresEntriesOfRaft(t *testing.T) {
	a, b := newest(t), newest(t)
	a.state.passOver(HashEvery)
	a.state.passOver(HashEvery + 1)
	a.past(t)
	b.past(t)
	x, _ := a.state.HashAt(HashEvery)
	y, ok := b.state.HashAt(HashEvery)
	if !ok || x != y {
		t.Errorf("hashes %s and %s (%t)", x, y, ok)
	}
}

// A replica whose books differ in anything stops with both hashes in its
// message; one that was restored from a snapshot knows the older hashes too.
func TestDivergedReplicaStops(t *testing.T) {
	w := richer(t)
	w.past(t)
	leader, _ := w.state.NextHash()
	for name, spoil := range map[string]func(*State){
		"owner": func(s *State) {
			w := *s.workloads["w1"]
			w.Owner = "h3"
			s.putWorkload(&w)
		},
		"reservation": func(s *State) {
			l := *s.leases[s.leaseOf["w2"]]
			l.Reservation.Memory++
			s.putLease(&l)
		},
		"rule":     func(s *State) { s.dropRule(s.rules["web"]) },
		"policy":   func(s *State) { s.policy.Headroom++ },
		"result":   func(s *State) { s.chain[0]++ },
		"time":     func(s *State) { s.load = s.load.Add(1) },
		"profile":  func(s *State) { s.putProfile("w1", nil) },
		"foreign":  func(s *State) { h := *s.hosts["h3"]; h.foreign = fleet.Vector{}; s.putHost(&h) },
		"cooldown": func(s *State) { w := *s.workloads["w1"]; w.moves++; s.putWorkload(&w) },
		"nothing":  func(*State) {},
	} {
		s, err := Restore(bytes.NewReader(snapshotBytes(t, w.state)))
		if err != nil {
			t.Fatal(err)
		}
		spoil(s)
		other := &world{state: s, index: w.index, now: w.now, ids: 1000}
		other.past(t)
		index := s.hashed()
		ours := &world{state: w.state, index: w.index, now: w.now, ids: 1000}
		ours.state, err = Restore(bytes.NewReader(snapshotBytes(t, w.state)))
		if err != nil {
			t.Fatal(err)
		}
		ours.past(t)
		hash, _ := ours.state.HashAt(index)
		var told error
		r := NewReplica(func(err error) { told = err })
		r.state = s
		r.ApplyBatch([]*raft.Log{command1(other.index+1, other.encode(t, "h1", StateHash{Index: index, Version: hashVersion, Hash: hash}))})
		if name == "nothing" {
			if told != nil {
				t.Errorf("equal books stop a replica: %v", told)
			}
			continue
		}
		own, _ := s.HashAt(index)
		if !errors.Is(told, ErrDiverged) || !strings.Contains(told.Error(), own.String()) || !strings.Contains(told.Error(), hash.String()) {
			t.Errorf("%s: %v", name, told)
		}
		if _, err := r.Snapshot(); err == nil {
			t.Errorf("%s: a replica that has diverged gives a snapshot", name)
		}
	}
	restored, err := Restore(bytes.NewReader(snapshotBytes(t, w.state)))
	if err != nil {
		t.Fatal(err)
	}
	if own, ok := restored.HashAt(leader.Index); !ok || own != leader.Hash {
		t.Error("a restored replica cannot compare what the leader proposes next")
	}
}

// A replica that has lost its kept hashes (a build with another hashVersion drops
// them) does not take the hash of today for that of a past index.
func TestHashIsNotMadeUpLater(t *testing.T) {
	w := newest(t)
	w.past(t)
	w.state.marks = ring[mark]{}
	w.must(t, "h1", PinWorkload{Workload: "w1"})
	if hash, ok := w.state.HashAt(HashEvery); ok {
		t.Errorf("index %d was passed at %d and has the hash %s", HashEvery, w.index, hash)
	}
	w.past(t)
	if _, ok := w.state.HashAt(2 * HashEvery); !ok {
		t.Error("the next one is not kept")
	}
}

// What cannot be compared stops nobody.
func TestHashThatCannotBeCompared(t *testing.T) {
	w := newest(t)
	w.past(t)
	w.must(t, "h1", StateHash{Index: HashEvery, Version: hashVersion + 1, Hash: Hash{1}}, StateHash{Index: 0, Version: hashVersion, Hash: Hash{1}})
	for _, o := range []StateHash{{Index: HashEvery + 1, Version: hashVersion}, {Index: 1 << 40, Version: hashVersion}} {
		if err := w.apply(t, "h1", o).Refused(); !errors.Is(err, ErrRule) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if err := w.apply(t, "h9", StateHash{Index: HashEvery, Version: hashVersion}).Refused(); !errors.Is(err, ErrProposer) {
		t.Errorf("from a stranger: %v", err)
	}
}

// The hash of known books. If this fails, members of this build and of the last
// would stop each other: put back what has changed (the canonical bytes of a
// record, what an entry answers) or raise hashVersion, and then update the file.
func TestHashIsTheSameInEveryBuild(t *testing.T) {
	hash := richer(t).state.Hash()
	golden(t, "hash-v1", hash[:])
}

func TestHashText(t *testing.T) {
	want := Hash{1, 2, 31: 255}
	text, err := want.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	var got Hash
	if err := got.UnmarshalText(text); err != nil || got != want {
		t.Errorf("%s became %v, %v", text, got, err)
	}
	for _, bad := range []string{"", "00", strings.Repeat("x", 64)} {
		if got.UnmarshalText([]byte(bad)) == nil {
			t.Errorf("%q is taken for a hash", bad)
		}
	}
}
