package migrator

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/placed-dev/placed/cutover"
	"github.com/placed-dev/placed/fleet"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func sample(index uint64, w cutover.Word) Record {
	return Record{Workload: "vm-1/web", Token: fleet.Token{Cluster: "c1", Generation: 2, Index: index}, Word: w, Source: true,
		Lease: fleet.LeaseID(fmt.Sprint("L", index)), Peer: "h2", Driver: "region", Digest: "xxh3:00ff"}
}

func open(t *testing.T, dir string) *tokens {
	t.Helper()
	store, err := openTokens(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

// TestTokenBytes: the file's bytes are a promise to every later version.
func TestTokenBytes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store := open(t, dir)
	for _, r := range []Record{sample(41, cutover.None), sample(41, cutover.Relinquished),
		{Workload: "vm-2", Token: fleet.Token{Cluster: "c1", Generation: 1, Index: 300}, Word: cutover.Prepared, Lease: "L300.1", Peer: "h3", Driver: "libvirt"}} {
		if err := store.Put(r); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, "tokens"))
	if err != nil {
		t.Fatal(err)
	}
	have := hex.Dump(data)
	golden := filepath.Join("testdata", "tokens.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(have), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if have != string(want) {
		t.Errorf("the token file has changed its format:\n%s\nwant\n%s", have, want)
	}
}

// TestTornAtEveryByte: whatever part of the last write reached the disk, the
// store opens with the words before it, and with the last one only whole.
func TestTornAtEveryByte(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store := open(t, dir)
	var ends []int64
	for i := range 4 {
		r := sample(uint64(40+i), cutover.Admitted)
		r.Source = false
		if err := store.Put(r); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, store.size)
	}
	data, err := os.ReadFile(filepath.Join(dir, "tokens"))
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(data) + 1 {
		// A tail may also have the right length and the wrong content.
		for _, tail := range [][]byte{nil, bytes.Repeat([]byte{0}, 3), bytes.Repeat([]byte{0xff}, 3)} {
			torn := t.TempDir()
			if err := os.WriteFile(filepath.Join(torn, "tokens"), append(slices.Clone(data[:n]), tail...), 0o600); err != nil {
				t.Fatal(err)
			}
			again, err := openTokens(torn)
			if err != nil {
				if n < len(tokenMagic) && tail != nil {
					continue // not our file any more: refused, not emptied
				}
				t.Fatalf("%d of %d bytes, tail %x: %v", n, len(data), tail, err)
			}
			whole := 0
			for _, end := range ends {
				if int64(n) >= end {
					whole++
				}
			}
			r, ok := again.Get("vm-1/web")
			if ok != (whole > 0) || ok && r.Token.Index != uint64(39+whole) {
				t.Fatalf("%d bytes, %d records: got %+v", n, whole, r)
			}
			// And it takes the next word where the torn one began.
			next := sample(90, cutover.Aborted)
			if err := again.Put(next); err != nil {
				t.Fatal(err)
			}
			if err := again.Close(); err != nil {
				t.Fatal(err)
			}
			last := open(t, torn)
			if r, _ := last.Get("vm-1/web"); r != next {
				t.Fatalf("after %d bytes and a new word: %+v", n, r)
			}
			if err := last.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestDamage: what is not a torn tail is refused with the place and the remedy;
// nothing is deleted.
func TestDamage(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func([]byte) []byte
		want  string
	}{
		"a bit in the first record": {func(b []byte) []byte { b[20] ^= 4; return b }, "damaged at byte 8"},
		"another file":              {func([]byte) []byte { return []byte("#!/bin/sh\nexit 0\n") }, "it begins with"},
		"a later version":           {func(b []byte) []byte { b[7] = 9; return b }, "it begins with"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			store := open(t, dir)
			for i := range 3 {
				if err := store.Put(sample(uint64(i+1), cutover.None)); err != nil {
					t.Fatal(err)
				}
			}
			if err := store.Close(); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "tokens")
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			spoiled := c.spoil(data)
			if err := os.WriteFile(path, spoiled, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := openTokens(dir); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "backup") {
				t.Errorf("error %v, want one with %q and a remedy", err, c.want)
			}
			if left, _ := os.ReadFile(path); !bytes.Equal(left, spoiled) {
				t.Error("the damaged file was changed")
			}
		})
	}
}

func TestTokenRules(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store := open(t, dir)
	put := func(r Record) error { return store.Put(r) }
	refused := sample(50, cutover.Refused)
	refused.Source = false
	if err := put(refused); err != nil {
		t.Fatal(err)
	}
	taken := refused
	taken.Word = cutover.Activated
	if err := put(taken); err == nil {
		t.Error("a refusal was taken back")
	}
	if err := put(sample(50, cutover.None)); err == nil {
		t.Error("one host became both ends of a token")
	}
	if err := put(sample(49, cutover.None)); !errors.Is(err, ErrStaleToken) {
		t.Errorf("an older token: %v", err)
	}
	foreign := sample(99, cutover.None)
	foreign.Token.Cluster = "c2"
	if err := put(foreign); !errors.Is(err, ErrStaleToken) {
		t.Errorf("a token of another cluster: %v", err)
	}
	newGeneration := sample(3, cutover.None)
	newGeneration.Token.Generation = 3
	if err := put(newGeneration); err != nil {
		t.Errorf("a token of a later generation: %v", err)
	}
	if _, err := openTokens(dir); err == nil || !strings.Contains(err.Error(), "another agent") {
		t.Errorf("a second agent opened the store: %v", err)
	}
}

// TestFailStop: after a failed write no word is given any more.
func TestFailStop(t *testing.T) {
	t.Parallel()
	store := open(t, t.TempDir())
	if err := store.file.Close(); err != nil {
		t.Fatal(err)
	}
	if err := store.Put(sample(1, cutover.None)); err == nil {
		t.Fatal("a word was given that is not on disk")
	}
	if err := store.Put(sample(2, cutover.None)); err == nil || !strings.Contains(err.Error(), "takes no more words") {
		t.Fatal(err)
	}
	if _, ok := store.Get("vm-1/web"); ok {
		t.Error("what is not on disk is shown as said")
	}
	store.closed = true
}

// TestRewrite: the log is replaced by one record per workload, and nothing is
// lost by it.
func TestRewrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store := open(t, dir)
	for i := range 5 {
		r := sample(uint64(i+1), cutover.None)
		r.Workload = fleet.WorkloadID(fmt.Sprint("vm-", i%2))
		if err := store.Put(r); err != nil {
			t.Fatal(err)
		}
	}
	before := store.All()
	size := store.size
	if err := store.rewrite(); err != nil {
		t.Fatal(err)
	}
	if store.size >= size {
		t.Errorf("%d bytes became %d", size, store.size)
	}
	if err := store.Put(sample(9, cutover.None)); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, dir)
	if have := again.All(); len(have) != 3 || !slices.Equal(have[:2], before) {
		t.Errorf("have %+v, want %+v and one more", have, before)
	}
}

func TestRecordRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := func(name string) string { return rapid.StringN(0, -1, maxRecordString).Draw(t, name) }
		r := Record{Workload: fleet.WorkloadID(text("workload")), Word: cutover.Word(rapid.IntRange(0, 7).Draw(t, "word")),
			Token:  fleet.Token{Cluster: text("cluster"), Generation: rapid.Uint64().Draw(t, "generation"), Index: rapid.Uint64().Draw(t, "index")},
			Source: rapid.Bool().Draw(t, "source"), Lease: fleet.LeaseID(text("lease")), Peer: fleet.HostID(text("peer")), Digest: text("digest")}
		line, err := appendRecord(nil, r)
		if err != nil {
			t.Fatal(err)
		}
		back, rest, err := readRecord(append(line, 1, 2, 3))
		if err != nil || back != r || len(rest) != 3 {
			t.Fatalf("%+v came back as %+v, rest %d, %v", r, back, len(rest), err)
		}
	})
}

func FuzzRecord(f *testing.F) {
	line, _ := appendRecord(nil, sample(41, cutover.Prepared))
	f.Add(line)
	f.Add(line[:len(line)-1])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, rest, err := readRecord(b)
		if err != nil {
			return
		}
		again, err := appendRecord(nil, r)
		if err != nil {
			t.Fatal(err)
		}
		if back, _, err := readRecord(again); err != nil || back != r || len(rest) > len(b) {
			t.Fatalf("%+v does not survive writing: %+v, %v", r, back, err)
		}
	})
}

func BenchmarkPut(b *testing.B) {
	store, err := openTokens(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	for i := 0; b.Loop(); i++ {
		if err := store.Put(sample(uint64(i+1), cutover.Prepared)); err != nil {
			b.Fatal(err)
		}
	}
}
