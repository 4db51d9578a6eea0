package workload

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write golden files")

var testClock = Clock{
	Wall:  time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC),
	Load:  time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC),
	Scale: 300,
}

func testHeader() header {
	return header{id: "vm-1/cache", seed: 42, origin: testClock.Load, scale: 2.5, dirtyRate: 5000, clock: testClock}
}

func testState(t testing.TB, trace ...float32) *state {
	t.Helper()
	s, err := newState(make([]byte, MinSize), testHeader(), trace)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestTableAgainstMap: whatever is written is found, also by a process that
// opens a copy of the bytes, and every copy verifies.
func TestTableAgainstMap(t *testing.T) {
	empty := testState(t)
	image := bytes.Clone(empty.mem)
	rapid.Check(t, func(t *rapid.T) {
		s, err := openState(bytes.Clone(image), "vm-1/cache")
		if err != nil {
			t.Fatal(err)
		}
		model := map[string]string{}
		key := rapid.StringMatching(`[a-c]{1,3}|[a-z]{60,64}`)
		var counter uint64
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				k, v := key.Draw(t, "key"), rapid.StringMatching(`[ -~]{0,128}`).Draw(t, "value")
				n, err := s.set([]byte(k), []byte(v))
				if err != nil || n != counter+1 {
					t.Fatalf("set: %d %v, counter was %d", n, err, counter)
				}
				counter, model[k] = n, v
			},
			"incr":  func(t *rapid.T) { counter = s.increment() },
			"dirty": func(t *rapid.T) { s.dirtyPage() },
			"copy": func(t *rapid.T) {
				if s, err = openState(bytes.Clone(s.mem), "vm-1/cache"); err != nil {
					t.Fatal(err)
				}
			},
			"": func(t *rapid.T) {
				for k, v := range model {
					got, found, err := s.lookup([]byte(k))
					if err != nil || !found || string(got) != v {
						t.Fatalf("lookup %q: %q %v %v, want %q", k, got, found, err, v)
					}
				}
				if _, found, _ := s.lookup([]byte("never written")); found {
					t.Fatal("found what was never written")
				}
			},
		})
		v, err := s.verify()
		if err != nil || v.Keys != int64(len(model)) || v.Counter != counter {
			t.Fatalf("verify: %+v %v", v, err)
		}
	})
}

func TestTableIsBounded(t *testing.T) {
	s := testState(t)
	written := int64(0)
	for ; ; written++ {
		_, err := s.set(fmt.Appendf(nil, "key-%d", written), []byte("v"))
		if errors.Is(err, errTableFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if written != s.layout.kvSlots/8*7 {
		t.Fatalf("full after %d keys of %d slots", written, s.layout.kvSlots)
	}
	if _, err := s.set([]byte("key-0"), []byte("still writable")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.verify(); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []struct{ key, value string }{{"", "v"}, {strings.Repeat("k", MaxKey+1), "v"}, {"k", strings.Repeat("v", MaxValue+1)}} {
		if _, err := s.set([]byte(bad.key), []byte(bad.value)); err == nil {
			t.Errorf("key of %d and value of %d bytes were taken", len(bad.key), len(bad.value))
		}
	}
}

// TestVerifyFindsDamage: a flipped bit in any page that was written, and a whole
// page or slot of an earlier time, which no checksum of its own can find.
func TestVerifyFindsDamage(t *testing.T) {
	s := testState(t, 1, 2, 3)
	for i := range 50 {
		if _, err := s.set(fmt.Appendf(nil, "k%d", i), []byte("old")); err != nil {
			t.Fatal(err)
		}
	}
	old := bytes.Clone(s.mem)
	for i := range 50 {
		if _, err := s.set(fmt.Appendf(nil, "k%d", i), []byte("new")); err != nil {
			t.Fatal(err)
		}
	}
	for range 500 {
		s.dirtyPage()
	}
	good := bytes.Clone(s.mem)
	stale := 0
	for off := int64(0); off < s.layout.size; off += pageSize {
		if bytes.Equal(old[off:off+pageSize], good[off:off+pageSize]) {
			continue
		}
		copy(s.mem[off:off+pageSize], old[off:off+pageSize])
		if _, err := s.verify(); err == nil {
			t.Errorf("page %d is of an earlier time: not found", off/pageSize)
		}
		copy(s.mem, good)
		stale++
	}
	if stale < 20 {
		t.Fatalf("only %d pages differ: the test tests nothing", stale)
	}
	for _, off := range []int64{offScale, vCounter, vHeapDigest, s.layout.heapOff + 100, s.layout.heapOff, s.layout.size - 1} {
		s.mem[off] ^= 4
		if _, err := s.verify(); err == nil {
			t.Errorf("flipped bit at %d: not found", off)
		}
		copy(s.mem, good)
	}
	if _, err := s.verify(); err != nil {
		t.Fatal(err)
	}
}

func TestDemandFollowsTheLoadClock(t *testing.T) {
	s := testState(t, 10, 20, 30)
	for _, c := range []struct {
		machine time.Duration // after the clock's wall time; a second is a tick
		want    float64
	}{{0, 25}, {999 * time.Millisecond, 25}, {time.Second, 50}, {2 * time.Second, 75}, {3 * time.Second, 25}, {-time.Second, 75}, {301 * time.Second, 50}} {
		if got := s.demand(testClock.Wall.Add(c.machine)); got != c.want {
			t.Errorf("after %s: %v millicores, want %v", c.machine, got, c.want)
		}
	}
	if got := testState(t).demand(testClock.Wall); got != 0 {
		t.Errorf("without a trace: %v", got)
	}
}

// TestHeaderGolden pins version 1: a region that was saved must stay readable.
func TestHeaderGolden(t *testing.T) {
	h := testHeader()
	h.size, h.traceCount = MinSize, 3
	page := make([]byte, pageSize)
	h.encodeTo(page)
	got := hex.Dump(page[:offID+16])
	path := filepath.Join("testdata", "header.golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || got != string(want) {
		t.Fatalf("header is\n%s\nwant (%v)\n%s", got, err, want)
	}
	back, err := decodeHeader(page)
	if err != nil || back != h {
		t.Fatalf("decoded %+v, %v; want %+v", back, err, h)
	}
}

func FuzzDecodeHeader(f *testing.F) {
	h := testHeader()
	h.size, h.traceCount = MinSize, 3
	page := make([]byte, pageSize)
	h.encodeTo(page)
	f.Add(page)
	f.Add(page[:100])
	f.Add(make([]byte, pageSize))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := decodeHeader(data)
		if err != nil {
			return
		}
		l := layoutOf(h.size, h.traceCount)
		if l.heapPages < 1 || l.kvSlots < 8 || l.heapOff+l.heapPages*pageSize > h.size || l.kvOff+l.kvSlots*slotSize > l.heapOff {
			t.Fatalf("accepted %+v with layout %+v", h, l)
		}
	})
}

func FuzzDecodeSavedTrailer(f *testing.F) {
	f.Add(make([]byte, savedTrailer))
	f.Add([]byte("placedSV"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := decodeSavedTrailer(data, MinSize); err == nil && [8]byte(data[:8]) != savedMagic {
			t.Fatal("accepted without its magic word")
		}
	})
}

func TestParseTrace(t *testing.T) {
	const text = "\"\",\"17\",b\n0,1.5,9\n1,2.5,8\n2,x,7\n"
	for _, c := range []struct {
		column   string
		from, to int
		want     string
		err      string
	}{
		{"17", 0, 2, "[1.5 2.5]", ""},
		{"b", 0, 0, "[9 8 7]", ""},
		{"#2", 1, 2, "[8]", ""},
		{"#3", 0, 0, "", "columns #0 to #2"},
		{"c", 0, 0, "", `no column "c"`},
		{"17", 0, 0, "", `line 4, column 17: "x" is no percentage`},
		{"b", 0, 9, "", "has 3 rows, rows 0 to 9"},
		{"b", 3, 0, "", "no rows from 3"},
	} {
		got, err := parseTrace(strings.NewReader(text), c.column, c.from, c.to)
		if c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s [%d,%d): %v, want %q", c.column, c.from, c.to, err, c.err)
		}
		if c.err == "" && (err != nil || fmt.Sprint(got) != c.want) {
			t.Errorf("%s [%d,%d): %v %v, want %s", c.column, c.from, c.to, got, err, c.want)
		}
	}
}

func TestParseArgs(t *testing.T) {
	c, err := ParseArgs([]string{"-id=w", "-dir=/d", "-mode=incoming", "-size=4194304", "-clock-wall=2026-01-02T03:04:05.000000006Z",
		"-clock-load=2020-01-01T00:00:00Z", "-clock-scale=300"})
	if err != nil || c.ID != "w" || c.Mode != ModeIncoming || c.Size != 4<<20 || c.Clock != testClock || c.DirtyRate != DefaultDirtyRate {
		t.Fatalf("%+v %v", c, err)
	}
	for args, want := range map[string]string{
		"-id=w -dir=/d -size=5000":                "size 5000",
		"-id=w -dir=d":                            "absolute",
		"-dir=/d":                                 "id \"\"",
		"-id=w -dir=/d -mode=old":                 "want new, restore or incoming",
		"-id=w -dir=/d -listen=nowhere":           "want ip:port",
		"-id=w -dir=/d -scale=NaN":                "scale NaN",
		"-id=w -dir=/d -clock-wall=noon":          "-clock-wall",
		"-id=w -dir=/d -clock-scale=2":            "1970",
		"-id=w -dir=/d more":                      `unexpected argument "more"`,
		"-id=w -dir=/d -what=1":                   "flag provided but not defined",
		"-id=w -dir=/d -trace-from=5 -trace-to=5": "rows [5, 5)",
	} {
		if _, err := ParseArgs(strings.Fields(args)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
}

func BenchmarkVerify64MiB(b *testing.B) {
	h := testHeader()
	s, err := newState(make([]byte, 64<<20), h, nil)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := s.verify(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDirtyPage(b *testing.B) {
	s := testState(b)
	for b.Loop() {
		s.dirtyPage()
	}
}
