package fsm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// reseal gives a body the CRC32C that belongs to it.
func reseal(body []byte) []byte {
	return binary.LittleEndian.AppendUint32(bytes.Clone(body), crc32.Checksum(body, castagnoli))
}

// foreign makes an entry with one operation that this build does not know.
func foreign(number uint64, skippable bool) []byte {
	c := writer()
	c.buf = append(append(c.buf, commandMagic...), commandVersion)
	header := goldenHeader
	c.header(&header)
	count, tag, payload := uint64(1), number<<1, []byte("whatever")
	if skippable {
		tag |= 1
	}
	c.uint(&count)
	c.uint(&tag)
	c.bytes(&payload)
	return c.seal()
}

func TestUnknownCommand(t *testing.T) {
	if _, _, err := Decode(foreign(9999, false)); !errors.Is(err, ErrUnknownCommand) {
		t.Errorf("an unknown command gave %v", err)
	}
	s := New()
	if r := s.Apply(1, foreign(9999, false)); !errors.Is(r.Fatal, ErrUnknownCommand) || s.Index() != 0 {
		t.Errorf("an unknown command was applied: %+v, index %d", r, s.Index())
	}
	r := s.Apply(1, foreign(9999, true))
	if r.Fatal != nil || len(r.Ops) != 1 || !r.Ops[0].Skipped || s.Index() != 1 {
		t.Errorf("a skippable command was not skipped: %+v", r)
	}
}

// TestEveryFlippedBit: CRC32C finds any single flipped bit and any truncation.
func TestEveryFlippedBit(t *testing.T) {
	data, err := Encode(goldenHeader, everyOperation()["register-host"])
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(data) * 8 {
		bad := bytes.Clone(data)
		bad[i/8] ^= 1 << (i % 8)
		if _, _, err := Decode(bad); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("bit %d flipped: %v", i, err)
		}
	}
	for n := range data {
		if _, _, err := Decode(data[:n]); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	good := Expire{Lease: "L1"}
	many := make([]Operation, MaxOperations+1)
	for i := range many {
		many[i] = good
	}
	for _, c := range []struct {
		name   string
		header Header
		ops    []Operation
		want   string
	}{
		{"no id", Header{}, []Operation{good}, "idempotency id"},
		{"no operation", goldenHeader, nil, "0 operations"},
		{"too many", goldenHeader, many, "65 operations"},
		{"nil", goldenHeader, []Operation{nil}, "operation 0 is nil"},
		{"too long", goldenHeader, []Operation{Abort{Lease: "L1", Reason: strings.Repeat("x", MaxEntry)}}, "propose fewer"},
		{"not a number", goldenHeader, []Operation{RecordDecisions{Decisions: []fleet.Decision{{ID: "d", CandidateScore: []fleet.ScorePart{{Value: math.NaN()}}}}}}, "not a finite number"},
		{"no such state", goldenHeader, []Operation{SetHostState{State: 77}}, "host state 77"},
		{"year 12000", Header{ID: "x", At: time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC)}, []Operation{good}, "years 1 to 9999"},
	} {
		if _, err := Encode(c.header, c.ops...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestShorterMessage: a message of an older writer leaves later fields at zero,
// one of a newer writer with fields unknown here is refused.
func TestShorterMessage(t *testing.T) {
	var old, long coder
	id := fleet.LeaseID("L1")
	old.message(func() { str(&old, &id) })
	var begin Begin
	c := reader(old.buf)
	c.message(func() { begin.code(c) })
	if c.err != nil || begin != (Begin{Lease: "L1"}) {
		t.Errorf("an older message gave %+v, %v", begin, c.err)
	}
	long.message(func() { begin.code(&long); extra := uint64(7); long.uint(&extra) })
	c = reader(long.buf)
	c.message(func() { begin.code(c) })
	if !errors.Is(c.err, ErrCorrupt) {
		t.Errorf("a newer message gave %v", c.err)
	}
}

// TestReplayedResults: exactly once per idempotency id, bounded in age.
func TestReplayedResults(t *testing.T) {
	w := newFleet(t)
	data := w.encode(t, "h1", Grant{Workload: "w1", Destination: "h2"}, Grant{Workload: "w1", Destination: "h3"})
	first := w.applyBytes(t, data)
	before := len(w.state.EventsSince(0, 0))
	// The caller may spoil what it was given.
	again := w.applyBytes(t, data)
	if !again.Replayed || again.Index != first.Index || !reflect.DeepEqual(again.Ops, first.Ops) {
		t.Errorf("replayed: %+v, first %+v", again, first)
	}
	again.Ops[0].Lease.State = fleet.Released
	if len(w.state.EventsSince(0, 0)) != before || w.state.Held("h2").Memory != 8*gib || w.state.Held("h3").Memory != 0 {
		t.Error("a replayed entry changed the books")
	}
	if third := w.applyBytes(t, data); third.Ops[0].Lease.State != fleet.Granted {
		t.Error("a reader changed the remembered result")
	}
	// The same after a snapshot.
	restored, err := Restore(bytes.NewReader(snapshotBytes(t, w.state)))
	if err != nil {
		t.Fatal(err)
	}
	if r := restored.Apply(w.index+1, data); !r.Replayed || !reflect.DeepEqual(r.Ops, first.Ops) {
		t.Errorf("after a snapshot: %+v", r)
	}
	// The id for something else is refused, not answered wrongly.
	other, err := Encode(Header{ID: first2(data), Proposer: "h1", At: w.now, LoadAt: w.now}, Expire{Lease: first.Ops[0].Lease.ID})
	if err != nil {
		t.Fatal(err)
	}
	if r := w.applyBytes(t, other); !errors.Is(r.Refused(), ErrRule) {
		t.Errorf("an id used for other operations: %+v", r)
	}
	// Much later it is forgotten, and the books decide anew.
	w.now = w.now.Add(maxResultAge + time.Minute)
	w.must(t, "h1", SetHostState{Host: "h3", State: fleet.HostDraining})
	if r := w.applyBytes(t, data); r.Replayed || !errors.Is(r.Refused(), ErrLeaseHeld) {
		t.Errorf("after %s: %+v", maxResultAge, r)
	}
}

func first2(data []byte) string {
	header, _, _ := Decode(data)
	return header.ID
}

func TestResultsAreBounded(t *testing.T) {
	w := newFleet(t)
	for range maxResults + 100 {
		w.apply(t, "h1", Expire{Lease: "L1"})
	}
	if n := len(w.state.results.items); n > maxResults || n != len(w.state.results.byID) {
		t.Errorf("%d results remembered under %d ids", n, len(w.state.results.byID))
	}
}

// TestDamagedSnapshots: a snapshot damaged in a few bytes, whose CRC32C fits all
// the same, is refused or gives whole books.
func TestDamagedSnapshots(t *testing.T) {
	for _, data := range goldenFiles(t, "snapshot-*.hex") {
		damage(t, data[:len(data)-crc32.Size])
	}
}

func damage(t *testing.T, body []byte) {
	t.Helper()
	dice := rand.New(rand.NewPCG(1, 2))
	loaded, rounds := 0, 1500
	for range rounds {
		damaged := bytes.Clone(body)
		for range 1 + dice.IntN(3) {
			damaged[len(snapshotMagic)+1+dice.IntN(len(damaged)-len(snapshotMagic)-1)] = byte(dice.IntN(256))
		}
		s, err := Restore(bytes.NewReader(reseal(damaged)))
		switch {
		case err == nil:
			loaded++
			checkBooks(t, s)
			snapshotBytes(t, s)
		case !errors.Is(err, ErrCorrupt):
			t.Fatalf("untyped error %v", err)
		}
	}
	if loaded == 0 || loaded == rounds {
		t.Errorf("%d of %d damaged snapshots loaded: the test does not reach both", loaded, rounds)
	}
}

func goldenFiles(t testing.TB, pattern string) [][]byte {
	paths, err := filepath.Glob(filepath.Join("testdata", "golden", pattern))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no golden files %s: %v", pattern, err)
	}
	var out [][]byte
	for _, path := range paths {
		out = append(out, readGolden(t, path))
	}
	return out
}

// FuzzDecode: no bytes panic; what decodes survives a round trip; applying it
// breaks no invariant. The CRC32C is put right, so that the fuzzer gets past it.
func FuzzDecode(f *testing.F) {
	for _, data := range goldenFiles(f, "*.hex") {
		if string(data[:len(commandMagic)+1]) == commandMagic+"\x01" {
			f.Add(data[:len(data)-crc32.Size])
		}
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		data := reseal(body)
		header, ops, err := Decode(data)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrUnknownCommand) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		w := newest(t)
		r := w.state.Apply(1000, data)
		if errors.Is(r.Fatal, ErrUnknownCommand) {
			return // a feature level of the future
		}
		if r.Fatal != nil || len(r.Ops) != len(ops) {
			t.Fatalf("applied: %+v", r)
		}
		checkBooks(t, w.state)
		snapshotBytes(t, w.state)
		for _, op := range ops {
			if _, ok := op.(skipped); ok {
				return
			}
		}
		if s, err := Restore(bytes.NewReader(snapshotBytes(t, w.state))); err != nil || s.Hash() != w.state.Hash() {
			t.Fatalf("the hash kept is not the hash of the records (%v)", err)
		}
		again, err := Encode(header, ops...)
		if err != nil {
			t.Fatalf("decoded, but not encoded: %v", err)
		}
		header2, ops2, err := Decode(again)
		if err != nil || header2 != header || !reflect.DeepEqual(ops2, ops) {
			t.Fatalf("round trip (%v):\n%+v\n%+v", err, ops, ops2)
		}
	})
}

// FuzzRestore: no bytes panic; what loads gives a snapshot that loads to the
// same bytes.
func FuzzRestore(f *testing.F) {
	for _, data := range goldenFiles(f, "snapshot-*.hex") {
		f.Add(data[:len(data)-crc32.Size])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := Restore(bytes.NewReader(reseal(body)))
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		first := snapshotBytes(t, s)
		s, err = Restore(bytes.NewReader(first))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(snapshotBytes(t, s), first) {
			t.Fatal("two snapshots of one state differ")
		}
	})
}
