package region

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/workload"
)

var trackers = []string{TrackerPagemapScan, TrackerCompare}

func openSource(t testing.TB, d *Driver, tracker string) driver.Source {
	t.Helper()
	src, err := d.Source(deadline(t), "w")
	if err != nil {
		if tracker == TrackerPagemapScan && kernelBefore(6, 7) {
			t.Skipf("this kernel has no PAGEMAP_SCAN: %v", err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	if tracker != "" && src.Tracker() != tracker {
		t.Fatalf("tracker is %s, want %s", src.Tracker(), tracker)
	}
	return src
}

// kernelBefore compares the running kernel, so that a tracker that ought to work
// is never skipped.
func kernelBefore(major, minor int) bool {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return false
	}
	parts := strings.SplitN(unix.ByteSliceToString(name.Release[:]), ".", 3)
	a, _ := strconv.Atoi(parts[0])
	b, _ := strconv.Atoi(parts[1])
	return a < major || a == major && b < minor
}

func dirty(t testing.TB, src driver.Source) []driver.Range {
	t.Helper()
	runs, err := src.Dirty(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	return runs
}

// pagesOf checks that ranges are ascending, disjoint and whole pages.
func pagesOf(t testing.TB, runs []driver.Range) map[int64]bool {
	t.Helper()
	pages, end := map[int64]bool{}, int64(-1)
	for _, r := range runs {
		if r.Offset <= end || r.Length <= 0 || r.Offset%pageSize != 0 || r.Length%pageSize != 0 || r.Offset+r.Length > testSize {
			t.Fatalf("ranges %v are not ascending, disjoint, merged and whole", runs)
		}
		end = r.Offset + r.Length
		for off := r.Offset; off < end; off += pageSize {
			pages[off/pageSize] = true
		}
	}
	return pages
}

// TestDirtyFindsExactlyWhatChanged writes keys into a workload without any load
// and compares the answer with the bytes themselves.
func TestDirtyFindsExactlyWhatChanged(t *testing.T) {
	for _, tracker := range trackers {
		t.Run(tracker, func(t *testing.T) {
			d := newHost(t, tracker)
			_, c := start(t, d, testSpec("w", nil))
			set(t, c, "first", "v")
			src := openSource(t, d, tracker)
			first := pagesOf(t, dirty(t, src))
			before := readAll(t, src)
			for page := range int64(testSize / pageSize) {
				if !first[page] && !isZero(before[page*pageSize:(page+1)*pageSize]) {
					t.Fatalf("page %d holds something, the first answer lacks it", page)
				}
			}
			if again := dirty(t, src); len(again) != 0 {
				t.Fatalf("nothing was written, changed: %v", again)
			}
			for round := range 4 {
				for i := range 5 * round * round {
					set(t, c, "k"+strconv.Itoa(i), strconv.Itoa(round))
				}
				got := pagesOf(t, dirty(t, src))
				after := readAll(t, src)
				for page := range int64(testSize / pageSize) {
					changed := !bytes.Equal(before[page*pageSize:(page+1)*pageSize], after[page*pageSize:(page+1)*pageSize])
					if changed != got[page] {
						t.Errorf("round %d page %d: changed %v, reported %v", round, page, changed, got[page])
					}
				}
				before = after
			}
		})
	}
}

// copyRound copies what changed and returns how many bytes.
func copyRound(t testing.TB, src driver.Source, dst driver.Sink) int64 {
	t.Helper()
	var n int64
	block := make([]byte, 256<<10)
	for _, r := range dirty(t, src) {
		for off := r.Offset; off < r.Offset+r.Length; off += int64(len(block)) {
			part := block[:min(int64(len(block)), r.Offset+r.Length-off)]
			if _, err := src.ReadAt(part, off); err != nil {
				t.Fatal(err)
			}
			if _, err := dst.WriteAt(part, off); err != nil {
				t.Fatal(err)
			}
			n += int64(len(part))
		}
	}
	return n
}

// move copies w from one host to another while it runs and returns how long it
// stood still, the comparison of both ends not counted.
func move(t testing.TB, from, to *Driver, tracker string) (driver.Found, time.Duration) {
	t.Helper()
	src := openSource(t, from, tracker)
	spec := inventory(t, from)[0].Spec
	dst, err := to.Sink(deadline(t), spec, testToken(9))
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	for range 4 {
		copyRound(t, src, dst)
	}
	still := time.Now()
	if err := src.Freeze(deadline(t)); err != nil {
		t.Fatal(err)
	}
	copyRound(t, src, dst)
	downtime := time.Since(still)
	if !bytes.Equal(readAll(t, src), readAll(t, dst)) {
		t.Fatal("the frozen state and its copy differ")
	}
	still = time.Now()
	found, err := dst.Activate(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	downtime += time.Since(still)
	if err := src.Discard(deadline(t)); err != nil {
		t.Fatal(err)
	}
	return found, downtime
}

// TestMoveUnderLoad moves a workload there and back while it burns, dirties
// pages and serves: the tracking of the new process must work, too.
func TestMoveUnderLoad(t *testing.T) {
	for _, tracker := range trackers {
		t.Run(tracker, func(t *testing.T) {
			a, b := newHost(t, tracker), newHost(t, tracker)
			spec := testSpec("w", map[string]string{
				SettingTraceFile: busyTrace(t), SettingScale: "10", SettingDirtyRate: "20000", SettingSeed: "3"})
			found, c := start(t, a, spec)
			for i := range 200 {
				set(t, c, "k"+strconv.Itoa(i), "v"+strconv.Itoa(i))
			}
			counter := set(t, c, "last", "0")
			old := found.PID
			for hop, pair := range [][2]*Driver{{a, b}, {b, a}} {
				var downtime time.Duration
				found, downtime = move(t, pair[0], pair[1], tracker)
				t.Logf("hop %d: frozen for %s", hop, downtime)
				if found.State != driver.Running || found.Token != testToken(9) || found.PID == old {
					t.Fatalf("hop %d: %+v", hop, found)
				}
				if left := inventory(t, pair[0]); len(left) != 0 {
					t.Fatalf("hop %d: source still has %+v", hop, left)
				}
				c = clientOf(t, found)
				v := verify(t, c)
				if v.Counter != counter || v.Keys != 201 {
					t.Fatalf("hop %d: %+v, want counter %d and 201 keys", hop, v, counter)
				}
				want(t, c, "k150", "v150")
				if counter = set(t, c, "last", strconv.Itoa(hop)); counter != v.Counter+1 {
					t.Fatalf("hop %d: counter went from %d to %d", hop, v.Counter, counter)
				}
				old = found.PID
			}
			info, err := c.Info(deadline(t))
			if err != nil || info.Demand != 100 {
				t.Fatalf("the trace did not travel: %+v, %v", info, err)
			}
			eventually(t, func() bool {
				now, err := c.Info(deadline(t))
				return err == nil && now.HeapSeq > info.HeapSeq
			})
		})
	}
}

// TestFreezeStopsEveryWrite: nothing changes from the answer to Freeze on.
func TestFreezeStopsEveryWrite(t *testing.T) {
	d := newHost(t, "")
	spec := testSpec("w", map[string]string{SettingTraceFile: busyTrace(t), SettingScale: "50", SettingDirtyRate: "50000"})
	found, _ := start(t, d, spec)
	ctx, cancel := context.WithCancel(context.Background())
	load, err := workload.NewLoad(workload.LoadConfig{Addrs: []string{found.Backend}, Clients: 4, Interval: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- load.Run(ctx) }()
	src := openSource(t, d, "")
	for range 20 {
		acked := load.Summary().Acked
		eventually(t, func() bool { return load.Summary().Acked > acked+5 })
		if err := src.Freeze(deadline(t)); err != nil {
			t.Fatal(err)
		}
		dirty(t, src)
		before := readAll(t, src)
		// A write that was let through would be seen by this scan.
		if runs := dirty(t, src); len(runs) != 0 {
			t.Fatalf("written while frozen: %v", runs)
		}
		if !bytes.Equal(before, readAll(t, src)) {
			t.Fatal("bytes changed while frozen")
		}
		if err := src.Thaw(deadline(t)); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	sum, err := load.ReadBack(deadline(t))
	if err != nil || sum.Errors != 0 || sum.LostWrites != 0 || sum.Regressions != 0 || sum.Acked == 0 {
		t.Fatalf("%+v %v", sum, err)
	}
}

func TestLostTrackingStartsOver(t *testing.T) {
	d := newHost(t, TrackerPagemapScan)
	_, c := start(t, d, testSpec("w", nil))
	src := openSource(t, d, TrackerPagemapScan)
	all := dirty(t, src)
	if err := src.(*source).tracker.(*pagemap).unregister(); err != nil {
		t.Fatal(err)
	}
	set(t, c, "k", "v") // nobody saw this write
	if _, err := src.Dirty(deadline(t)); !errors.Is(err, driver.ErrTrackingLost) {
		t.Fatalf("%v, want ErrTrackingLost", err)
	}
	if again := pagesOf(t, dirty(t, src)); len(again) < len(pagesOf(t, all)) {
		t.Fatalf("after the loss only %d pages", len(again))
	}
	set(t, c, "k", "w")
	if runs := dirty(t, src); len(pagesOf(t, runs)) != 2 {
		t.Fatalf("a write of one slot and the counter: %v", runs)
	}
}

func TestDeathInMidCopyIsNamed(t *testing.T) {
	for _, tracker := range trackers {
		t.Run(tracker, func(t *testing.T) {
			d := newHost(t, tracker)
			found, _ := start(t, d, testSpec("w", nil))
			src := openSource(t, d, tracker)
			dirty(t, src)
			if err := unix.Kill(found.PID, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			eventually(t, func() bool { _, err := src.Dirty(deadline(t)); return err != nil })
			_, readErr := src.ReadAt(make([]byte, 8), 0)
			_, dirtyErr := src.Dirty(deadline(t))
			for op, err := range map[string]error{"dirty": dirtyErr, "read": readErr, "freeze": src.Freeze(deadline(t))} {
				var named *driver.Error
				if !errors.As(err, &named) || named.Workload != "w" || !errors.Is(err, ErrDied) {
					t.Errorf("%s: %v: want ErrDied of w", op, err)
				}
			}
		})
	}
}

func TestSinkGuards(t *testing.T) {
	dir := t.TempDir()
	t.Cleanup(func() { endAll(t, dir) })
	first := newTestDriver(t, dir, "")
	spec := testSpec("w", nil)
	if _, err := first.Sink(deadline(t), spec, testToken(5)); err != nil {
		t.Fatal(err)
	}
	if _, err := first.Sink(deadline(t), spec, testToken(6)); err == nil {
		t.Fatal("two sinks of one workload")
	}
	first.Close()

	d := newTestDriver(t, dir, "")
	if all := inventory(t, d); len(all) != 1 || all[0].State != driver.Incoming || all[0].Token != testToken(5) {
		t.Fatalf("found %+v", all)
	}
	if _, err := d.Source(deadline(t), "w"); err == nil {
		t.Fatal("an incoming workload was opened as a source")
	}
	if err := d.Save(deadline(t), "w"); err == nil {
		t.Fatal("an incoming workload was saved")
	}
	dst, err := d.OpenSink(deadline(t), "w")
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	if _, err := dst.Activate(deadline(t)); err == nil {
		t.Fatal("an empty region was activated")
	}
	if _, err := dst.WriteAt([]byte{1}, testSize); err == nil {
		t.Fatal("written behind the end")
	}
	if _, err := dst.WriteAt([]byte{1}, 0); err != nil {
		t.Fatalf("a refused activation must leave the sink writable: %v", err)
	}
	if err := dst.Discard(deadline(t)); err != nil {
		t.Fatal(err)
	}
	if all := inventory(t, d); len(all) != 0 {
		t.Fatalf("found %+v", all)
	}
}

// TestActivateIsIdempotent also over a restart of the agent, and an activated
// sink neither writes nor discards.
func TestActivateIsIdempotent(t *testing.T) {
	a := newHost(t, "")
	dir := t.TempDir()
	t.Cleanup(func() { endAll(t, dir) })
	_, c := start(t, a, testSpec("w", nil))
	set(t, c, "k", "v")
	b := newTestDriver(t, dir, "")
	found, _ := move(t, a, b, "")
	b.Close()

	again := newTestDriver(t, dir, "")
	dst, err := again.OpenSink(deadline(t), "w")
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	for range 2 {
		twice, err := dst.Activate(deadline(t))
		if err != nil || twice.PID != found.PID || twice.State != driver.Running || twice.Token != testToken(9) {
			t.Fatalf("%+v %v", twice, err)
		}
	}
	if _, err := dst.WriteAt([]byte{0}, 0); err == nil {
		t.Fatal("a running workload was written to")
	}
	if err := dst.Discard(deadline(t)); err == nil {
		t.Fatal("a running workload was discarded as if it had never run")
	}
	c = clientOf(t, found)
	want(t, c, "k", "v")
	verify(t, c)
}

func TestSourceGuards(t *testing.T) {
	d := newHost(t, "")
	found, c := start(t, d, testSpec("w", nil))
	src := openSource(t, d, "")
	if _, err := d.Source(deadline(t), "w"); err == nil {
		t.Fatal("two sources of one workload")
	}
	if err := src.Discard(deadline(t)); err == nil {
		t.Fatal("a running workload was discarded")
	}
	if err := d.Stop(deadline(t), "w"); err == nil {
		t.Fatal("a workload was stopped under a copy")
	}
	if err := src.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := src.Dirty(deadline(t)); !errors.Is(err, errClosed) {
		t.Fatalf("dirty after close: %v", err)
	}
	set(t, c, "k", "v")
	openSource(t, d, "")
	if _, err := unix.Getpgid(found.PID); err != nil {
		t.Fatal(err)
	}
}

// TestThawRetiresSavedState: a file that was written and not used must not be
// taken for the newest state once the workload has run on.
func TestThawRetiresSavedState(t *testing.T) {
	d := newHost(t, "")
	_, c := start(t, d, testSpec("w", nil))
	s, leave, err := d.enter(deadline(t), "w")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.save(deadline(t), s, true); err != nil { // the agent dies here
		t.Fatal(err)
	}
	leave()
	if all := inventory(t, d); len(all) != 1 || all[0].State != driver.Frozen {
		t.Fatalf("found %+v", all)
	}
	src := openSource(t, d, "")
	if err := src.Thaw(deadline(t)); err != nil {
		t.Fatal(err)
	}
	set(t, c, "k", "v")
	if f := folder(filepath.Join(d.config.Dir, "w")); f.saved() {
		t.Fatal("the old state still claims to be the newest")
	}
}
