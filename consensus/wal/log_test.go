package wal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a file system in memory, where there is one: these tests are about
// what is written, not about the disk.
func memory() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return ""
}

func scratch(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(memory(), "wal")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

const small = 8 * sector // segments that a few entries fill

type failer interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func open(t failer, dir string) *Log {
	t.Helper()
	l, err := Open(Config{Dir: dir, Segment: small})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func closed(t failer, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// entry is the one that every test stores under a number.
func entry(i uint64, size int) *raft.Log {
	return &raft.Log{Index: i, Term: i / 7, Type: raft.LogCommand, Data: bytes.Repeat([]byte{byte(i)}, size), Extensions: []byte{1, 2}}
}

// batch is the entries of one append.
func batch(from uint64, sizes ...int) (out []*raft.Log) {
	for i, size := range sizes {
		out = append(out, entry(from+uint64(i), size))
	}
	return out
}

// holds compares a log with what it should hold: the sizes of entries by number.
func holds(t failer, l *Log, want map[uint64]int) {
	t.Helper()
	var first, last uint64
	for i := range want {
		if first == 0 || i < first {
			first = i
		}
		last = max(last, i)
	}
	if got, _ := l.FirstIndex(); got != first {
		t.Fatalf("the first entry is %d, want %d", got, first)
	}
	if got, _ := l.LastIndex(); got != last {
		t.Fatalf("the last entry is %d, want %d", got, last)
	}
	for i := max(first, 3) - 2; i <= last+2; i++ {
		var e raft.Log
		err := l.GetLog(i, &e)
		size, there := want[i]
		if !there && errors.Is(err, raft.ErrLogNotFound) {
			continue
		}
		if w := entry(i, size); err != nil || !there || e.Index != i || e.Term != w.Term || e.Type != w.Type || !bytes.Equal(e.Data, w.Data) || !bytes.Equal(e.Extensions, w.Extensions) {
			t.Fatalf("entry %d: %+v, %v", i, e, err)
		}
	}
}

// A log is a list of entries, whatever is appended, dropped at either end, opened
// again or made ahead.
func TestAsAList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(memory(), "wal")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		l := open(t, dir)
		defer func() { closed(t, l) }()
		want := map[uint64]int{}
		last := uint64(0)
		bounds := func() (first uint64) {
			if len(want) == 0 {
				t.Skip("empty")
			}
			for i := range want {
				if first == 0 || i < first {
					first = i
				}
			}
			return first
		}
		forget := func(low, high uint64) {
			if err := l.DeleteRange(low, high); err != nil {
				t.Fatal(err)
			}
			for i := low; i <= high; i++ {
				delete(want, i)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				if rapid.IntRange(0, 9).Draw(t, "gap") == 0 {
					last += rapid.Uint64Range(1, 40).Draw(t, "by")
				}
				sizes := rapid.SliceOfN(rapid.IntRange(0, 1200), 1, 9).Draw(t, "sizes")
				if err := l.StoreLogs(batch(last+1, sizes...)); err != nil {
					t.Fatal(err)
				}
				for _, size := range sizes {
					last++
					want[last] = size
				}
			},
			"compact": func(t *rapid.T) {
				first := bounds()
				forget(first-rapid.Uint64Range(0, 1).Draw(t, "below"), rapid.Uint64Range(first, last).Draw(t, "to"))
			},
			"contradict": func(t *rapid.T) {
				low := rapid.Uint64Range(bounds(), last).Draw(t, "from")
				forget(low, last)
				last = low - 1
			},
			"open again": func(*rapid.T) {
				closed(t, l)
				l = open(t, dir)
			},
			"make ahead": func(*rapid.T) {
				l.making.Lock()
				defer l.making.Unlock()
				if err := l.makeNext(); err != nil {
					t.Fatal(err)
				}
			},
			"": func(t *rapid.T) { holds(t, l, want) },
		})
	})
}

// What a log refuses leaves it as it was.
func TestRefusals(t *testing.T) {
	l := open(t, scratch(t))
	defer closed(t, l)
	if err := l.StoreLogs(batch(5, 10, 10, 10, 10)); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"overwritten":  l.StoreLog(entry(8, 1)),
		"out of order": l.StoreLogs([]*raft.Log{entry(10, 1), entry(9, 1)}),
		"too large":    l.StoreLog(entry(9, small)),
		"a hole":       l.DeleteRange(6, 7),
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for _, outside := range [][2]uint64{{1, 4}, {9, 12}, {7, 6}} {
		if err := l.DeleteRange(outside[0], outside[1]); err != nil {
			t.Error(err)
		}
	}
	holds(t, l, map[uint64]int{5: 10, 6: 10, 7: 10, 8: 10})
}

// Thousands of entries are dropped with one short record, and their files go.
func TestDropIsShort(t *testing.T) {
	dir := scratch(t)
	l := open(t, dir)
	defer closed(t, l)
	for i := uint64(1); i <= 4000; i += 8 {
		if err := l.StoreLogs(batch(i, 20, 20, 20, 20, 20, 20, 20, 20)); err != nil {
			t.Fatal(err)
		}
	}
	files, err := listSegments(dir)
	if err != nil || len(files) < 30 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	before, tail := l.tail.end, l.tail
	if err := l.DeleteRange(1, 3999); err != nil {
		t.Fatal(err)
	}
	if l.tail != tail || l.tail.end-before > 40 {
		t.Errorf("the record has %d bytes", l.tail.end-before)
	}
	if files, err = listSegments(dir); err != nil || len(files) > 1 {
		t.Errorf("%d files are left, %v", len(files), err)
	}
	holds(t, l, map[uint64]int{4000: 20})
}

// After a write that failed, no other may follow: what it left is not known.
func TestNothingFollowsAFailure(t *testing.T) {
	l := open(t, scratch(t))
	if err := l.StoreLog(entry(1, 1)); err != nil {
		t.Fatal(err)
	}
	good := l.tail.file
	null, err := os.Open(os.DevNull) // refuses writes
	if err != nil {
		t.Fatal(err)
	}
	l.tail.file = null
	if err := l.StoreLog(entry(2, 1)); err == nil {
		t.Fatal("stored into nothing")
	}
	l.tail.file = good
	if err := l.StoreLog(entry(2, 1)); err == nil {
		t.Fatal("stored after a failure")
	}
	closed(t, l)
	_ = null.Close()
}

// Readers, an appender, a compaction and the making of segments do not disturb
// each other: what is there reads well, what is gone is not found.
func TestConcurrentUse(t *testing.T) {
	dir := scratch(t)
	l := open(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	var others, writer sync.WaitGroup
	others.Go(func() { l.Prepare(ctx) })
	for seed := range uint64(3) {
		others.Go(func() {
			dice := rand.New(rand.NewPCG(seed, 1))
			for ctx.Err() == nil {
				last, _ := l.LastIndex()
				i := 1 + dice.Uint64N(last+1)
				var e raft.Log
				if err := l.GetLog(i, &e); err != nil && !errors.Is(err, raft.ErrLogNotFound) || err == nil && e.Index != i {
					t.Errorf("entry %d: %+v, %v", i, e, err)
					return
				}
			}
		})
	}
	writer.Go(func() {
		for i := uint64(1); i <= 1500; i++ {
			if err := l.StoreLog(entry(i, 100)); err != nil {
				t.Error(err)
				return
			}
			if i%100 == 0 {
				if err := l.DeleteRange(1, i-20); err != nil {
					t.Error(err)
				}
			}
		}
	})
	writer.Wait()
	cancel()
	others.Wait()
	want := map[uint64]int{}
	for i := uint64(1481); i <= 1500; i++ {
		want[i] = 100
	}
	holds(t, l, want)
	closed(t, l)
	l = open(t, dir)
	holds(t, l, want)
	closed(t, l)
}

// copyDir is a directory as a power cut would leave it now.
func copyDir(t failer, from string) string {
	t.Helper()
	to, err := os.MkdirTemp(filepath.Dir(from), "copy")
	if err == nil {
		err = os.CopyFS(to, os.DirFS(from))
	}
	if err != nil {
		t.Fatal(err)
	}
	return to
}

func dump(l *Log) string {
	var out bytes.Buffer
	for _, r := range l.entries.runs {
		for i := r.first; i <= r.last(); i++ {
			var e raft.Log
			err := l.GetLog(i, &e)
			fmt.Fprintf(&out, "%d %d %x %x %v\n", e.Index, e.Term, e.Data, e.Extensions, err)
		}
	}
	return out.String()
}
