package fsm

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/placed-dev/placed/fleet"
)

// TestFigures prints what applying and capturing cost in a cell of 300 hosts and
// 10,200 instances at the newest feature level (make bench-fsm). CPU is that of
// the applying thread, so that a busy machine does not spoil it; wall time does.
func TestFigures(t *testing.T) {
	if os.Getenv("PLACED_BENCH") == "" {
		t.Skip("PLACED_BENCH is not set: make bench-fsm prints these figures")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	t.Log("FIGURE | work | cpu per operation | wall p50 | wall p99 |")
	t.Log("FIGURE |---|---|---|---|")

	w, entries := grants(t, 1)
	printFigure(t, "one grant in an entry", 1, applyAll(t, w, entries))
	printFigure(t, "one release in an entry", 1, applyAll(t, w, releases(t, w, 1)))
	w, entries = grants(t, 64)
	printFigure(t, "64 grants in an entry", 64, applyAll(t, w, entries))
	printFigure(t, "64 releases in an entry", 64, applyAll(t, w, releases(t, w, 64)))

	w = newestCell(t, 300, 34)
	var captured Snapshot
	printFigure(t, "capture of 300 hosts × 10,200 instances", 1, timed(t, 200, func(int) { captured = w.state.Capture() }))
	printFigure(t, "writing that capture", 1, timed(t, 20, func(int) {
		if _, err := captured.WriteTo(io.Discard); err != nil {
			t.Fatal(err)
		}
	}))
	data := snapshotBytes(t, w.state)
	printFigure(t, "restoring it", 1, timed(t, 20, func(int) {
		if _, err := Restore(bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
	}))
	w.past(t)
	printFigure(t, "the hash of an index", 1, timed(t, 200, func(int) { w.state.hash() }))
	t.Logf("FIGURE snapshot of 300 hosts × 10,200 instances: %d bytes", len(data))
}

// newestCell is newCell at the newest feature level.
func newestCell(t testing.TB, n, per int) *world {
	w := newCell(t, n, per)
	w.must(t, "h0", RaiseFeatureLevel{Level: FeatureLevel})
	w.must(t, "h1", RegisterWorkloads{Host: "h1", Workloads: append(w.owned("h1"), instance("w3", gib))})
	return w
}

// grants makes one grant for every instance of a cell, per of them in an entry.
func grants(t testing.TB, per int) (*world, [][]byte) {
	w := newestCell(t, 300, 34)
	var entries [][]byte
	var ops []Operation
	for k := range 10200 {
		ops = append(ops, Grant{Workload: fleet.WorkloadID(fmt.Sprintf("w%d-%d", k%300, k/300)),
			Destination: fleet.HostID(fmt.Sprintf("h%d", (k+1)%300)), Type: fleet.Preemptive, Decision: "p1234.7", Reason: "cpu of host h17 is full at 14:05"})
		if len(ops) == per {
			entries, ops = append(entries, w.encode(t, "h0", ops...)), nil
		}
	}
	return w, entries
}

func releases(t testing.TB, w *world, per int) (entries [][]byte) {
	for part := range slices.Chunk(w.state.Leases(), per) {
		var ops []Operation
		for _, l := range part {
			ops = append(ops, Release{Lease: l.ID})
		}
		entries = append(entries, w.encode(t, "h0", ops...))
	}
	return entries
}

type spent struct {
	cpu  time.Duration // of all runs
	wall []time.Duration
}

func applyAll(t testing.TB, w *world, entries [][]byte) spent {
	var bad error
	out := timed(t, len(entries), func(i int) {
		w.index++
		if err := w.state.Apply(w.index, entries[i]).Refused(); err != nil {
			bad = err
		}
	})
	if bad != nil {
		t.Fatal(bad)
	}
	return out
}

func timed(t testing.TB, n int, do func(int)) (out spent) {
	runtime.GC()
	before := threadTime(t)
	for i := range n {
		began := time.Now()
		do(i)
		out.wall = append(out.wall, time.Since(began))
	}
	out.cpu = threadTime(t) - before
	slices.Sort(out.wall)
	return out
}

func threadTime(t testing.TB) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		t.Fatal(err)
	}
	return time.Duration(ts.Nano())
}

func printFigure(t *testing.T, work string, per int, s spent) {
	n := len(s.wall)
	t.Logf("FIGURE | %s | %s | %s | %s |", work, s.cpu/time.Duration(n*per), s.wall[n/2], s.wall[n*99/100])
}
