package region

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	hclog "github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/workload"
)

// The test binary is also the program that the driver starts.
const workloadWord = "run-as-workload"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == workloadWord {
		c, err := workload.ParseArgs(os.Args[2:])
		if err == nil {
			c.Log = os.Stderr
			err = workload.Run(context.Background(), c)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// Children built with the race detector sleep a second before they end.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

const testSize = 4 << 20

func newTestDriver(t testing.TB, dir, tracker string) *Driver {
	t.Helper()
	logger := hclog.NewNullLogger()
	if testing.Verbose() {
		logger = hclog.New(&hclog.LoggerOptions{Name: "region", Output: os.Stderr, Level: hclog.Debug})
	}
	d, err := New(Config{Dir: dir, Command: []string{"/proc/self/exe", workloadWord}, ForceTracker: tracker, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// newHost makes a driver whose workloads are ended with the test.
func newHost(t testing.TB, tracker string) *Driver {
	t.Helper()
	dir := t.TempDir()
	t.Cleanup(func() { endAll(t, dir) })
	return newTestDriver(t, dir, tracker)
}

// endAll ends whatever a test left running.
func endAll(t testing.TB, dir string) {
	t.Helper()
	d, err := New(Config{Dir: dir, Command: []string{"/proc/self/exe", workloadWord}})
	if err != nil {
		t.Error(err)
		return
	}
	defer d.Close()
	all, err := d.Inventory(context.Background())
	if err != nil {
		t.Error(err)
	}
	for _, found := range all {
		if err := d.Stop(context.Background(), found.Spec.ID); err != nil {
			t.Error(err)
		}
	}
}

func deadline(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func testSpec(id string, settings map[string]string) driver.Spec {
	return driver.Spec{ID: fleet.WorkloadID(id), Driver: Name, Size: testSize, Settings: settings,
		Reserve: fleet.Vector{Memory: testSize}, Port: 7000, Priority: 3}
}

func testToken(index uint64) fleet.Token {
	return fleet.Token{Cluster: "test", Generation: 1, Index: index}
}

func start(t testing.TB, d *Driver, spec driver.Spec) (driver.Found, *workload.Client) {
	t.Helper()
	found, err := d.Start(deadline(t), spec, testToken(1))
	if err != nil {
		t.Fatal(err)
	}
	return found, clientOf(t, found)
}

func clientOf(t testing.TB, found driver.Found) *workload.Client {
	t.Helper()
	c := workload.NewClient([]string{found.Backend})
	t.Cleanup(func() { c.Close() })
	return c
}

func set(t testing.TB, c *workload.Client, key, value string) uint64 {
	t.Helper()
	n, err := c.Set(deadline(t), key, value)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func want(t testing.TB, c *workload.Client, key, value string) {
	t.Helper()
	got, found, err := c.Get(deadline(t), key)
	if err != nil || !found || got != value {
		t.Fatalf("GET %s: %q, %v, %v; want %q", key, got, found, err, value)
	}
}

func verify(t testing.TB, c *workload.Client) workload.Verified {
	t.Helper()
	v, err := c.Verify(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func inventory(t testing.TB, d *Driver) []driver.Found {
	t.Helper()
	all, err := d.Inventory(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// busyTrace asks for a constant load.
func busyTrace(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "trace.csv")
	if err := os.WriteFile(path, []byte("t,cpu\n0,10\n1,10\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestStartServesAndStops(t *testing.T) {
	d := newHost(t, "")
	spec := testSpec("vm-1/cache", map[string]string{SettingSeed: "7"})
	found, c := start(t, d, spec)
	if found.State != driver.Running || found.PID == 0 || found.StartTime == 0 || found.BootID == "" {
		t.Fatalf("found %+v", found)
	}
	id, pid, _, err := c.Ping(deadline(t))
	if err != nil || id != "vm-1/cache" || pid != found.PID {
		t.Fatalf("PING: %s %d %v", id, pid, err)
	}
	first := set(t, c, "k", "v")
	if second := set(t, c, "k", "w"); second != first+1 {
		t.Fatalf("counter went from %d to %d", first, second)
	}
	want(t, c, "k", "w")
	if _, err := d.Start(deadline(t), spec, testToken(2)); err == nil {
		t.Fatal("a second start was accepted")
	}
	if err := d.Stop(deadline(t), spec.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/proc/" + fmt.Sprint(found.PID)); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("process %d is still there: %v", found.PID, err)
	}
	if all := inventory(t, d); len(all) != 0 {
		t.Fatalf("still found: %+v", all)
	}
	if err := d.Stop(deadline(t), spec.ID); !errors.Is(err, driver.ErrNotFound) {
		t.Fatalf("stop of nothing: %v", err)
	}
}

// TestAgentDiesWorkloadLives: another driver adopts what one left, frozen stays
// frozen over the change, and the first one's connection does not matter.
func TestAgentDiesWorkloadLives(t *testing.T) {
	dir := t.TempDir()
	t.Cleanup(func() { endAll(t, dir) })
	first := newTestDriver(t, dir, "")
	spec := testSpec("w", nil)
	found, c := start(t, first, spec)
	set(t, c, "k", "v")
	src, err := first.Source(deadline(t), "w")
	if err != nil {
		t.Fatal(err)
	}
	if err := src.Freeze(deadline(t)); err != nil {
		t.Fatal(err)
	}
	first.Close() // as far as the workload can see, the agent died

	second := newTestDriver(t, dir, "")
	all := inventory(t, second)
	if len(all) != 1 || all[0].State != driver.Frozen || all[0].PID != found.PID || all[0].StartTime != found.StartTime ||
		all[0].Token != testToken(1) || all[0].Backend != found.Backend || all[0].Spec.Port != 7000 {
		t.Fatalf("adopted %+v, want %+v", all, found)
	}
	short, cancel := context.WithTimeout(context.Background(), 150*time.Millisecond)
	defer cancel()
	if answer, err := workload.NewClient([]string{found.Backend}).Do(short, "PING"); err == nil {
		t.Fatalf("a frozen workload answered %q", answer)
	}
	src, err = second.Source(deadline(t), "w")
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if err := src.Thaw(deadline(t)); err != nil {
		t.Fatal(err)
	}
	want(t, c, "k", "v")
}

func TestSignalsOfTheTerminalAreIgnored(t *testing.T) {
	d := newHost(t, "")
	found, c := start(t, d, testSpec("w", nil))
	for _, s := range []unix.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP} {
		if err := unix.Kill(found.PID, s); err != nil {
			t.Fatal(err)
		}
	}
	set(t, c, "k", "v")
	if group, err := unix.Getpgid(found.PID); err != nil || group != found.PID {
		t.Fatalf("process group %d, %v: want its own", group, err)
	}
}

func TestSaveAndStartGoOn(t *testing.T) {
	d := newHost(t, "")
	spec := testSpec("w", map[string]string{SettingTraceFile: busyTrace(t), SettingScale: "5"})
	_, c := start(t, d, spec)
	for i := range 100 {
		set(t, c, fmt.Sprint("k", i), fmt.Sprint("v", i))
	}
	counter := set(t, c, "last", "x")
	if err := d.Save(deadline(t), "w"); err != nil {
		t.Fatal(err)
	}
	if err := d.Save(deadline(t), "w"); err != nil {
		t.Fatalf("saving what is saved: %v", err)
	}
	all := inventory(t, d)
	if len(all) != 1 || all[0].State != driver.Stopped || all[0].PID != 0 || all[0].Token != testToken(1) {
		t.Fatalf("saved: %+v", all)
	}
	found, err := d.Start(deadline(t), spec, testToken(2))
	if err != nil {
		t.Fatal(err)
	}
	c = clientOf(t, found)
	verify(t, c)
	want(t, c, "k42", "v42")
	if next := set(t, c, "last", "y"); next != counter+1 {
		t.Fatalf("counter went from %d to %d", counter, next)
	}
	if f := (folder)(filepath.Join(d.config.Dir, "w")); f.saved() {
		t.Fatal("the saved state still claims to be the newest one")
	}
}

func TestDamagedSavedStateIsRefusedAndKept(t *testing.T) {
	d := newHost(t, "")
	spec := testSpec("w", nil)
	start(t, d, spec)
	if err := d.Save(deadline(t), "w"); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(d.config.Dir, "w", savedFile)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func([]byte) []byte{
		"a flipped bit": func(b []byte) []byte { b[testSize/2] ^= 1; return b },
		"cut off":       func(b []byte) []byte { return b[:len(b)-1] },
		"empty":         func([]byte) []byte { return nil },
		"trailer":       func(b []byte) []byte { b[testSize+20] ^= 1; return b },
	} {
		if err := os.WriteFile(path, damage(slices.Clone(good)), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := d.Start(deadline(t), spec, testToken(2))
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("%s: %v: want an error that names %s", name, err, path)
		}
		if all := inventory(t, d); len(all) != 1 || all[0].State != driver.Stopped {
			t.Fatalf("%s: found %+v, want it stopped", name, all)
		}
	}
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Start(deadline(t), spec, testToken(2)); err != nil {
		t.Fatal(err)
	}
}

func TestDeadWorkloadIsAbsentAndKept(t *testing.T) {
	d := newHost(t, "")
	spec := testSpec("vm/a", nil)
	found, _ := start(t, d, spec)
	if err := unix.Kill(found.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return len(inventory(t, d)) == 0 })
	kept, err := os.ReadDir(filepath.Join(d.config.Dir, deadDir))
	if err != nil || len(kept) != 1 || !strings.HasSuffix(kept[0].Name(), "-vm+a") {
		t.Fatalf("kept: %v %v", kept, err)
	}
	if _, err := d.Start(deadline(t), spec, testToken(2)); err != nil {
		t.Fatalf("start after death: %v", err)
	}
}

func TestSilentWorkloadCountsAsRunning(t *testing.T) {
	d := newHost(t, "")
	found, _ := start(t, d, testSpec("w", nil))
	d.config.Timeout = 2500 * time.Millisecond
	if err := unix.Kill(found.PID, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return stopped(t, found.PID) })
	all := inventory(t, d)
	if len(all) != 1 || all[0].State != driver.Running || all[0].PID != found.PID {
		t.Fatalf("found %+v", all)
	}
	blockers, err := d.Inspect(deadline(t), "w")
	if err != nil || len(blockers) != 1 || !strings.Contains(blockers[0].Reason, "does not answer") {
		t.Fatalf("blockers %+v, %v", blockers, err)
	}
	if err := d.Stop(deadline(t), "w"); err != nil {
		t.Fatalf("a stopped process must still be ended by force: %v", err)
	}
}

func TestBadSettingIsNamedAndLeavesNothing(t *testing.T) {
	d := newHost(t, "")
	missing := filepath.Join(t.TempDir(), "nothing.csv")
	_, err := d.Start(deadline(t), testSpec("w", map[string]string{SettingTraceFile: missing}), testToken(1))
	if err == nil || !strings.Contains(err.Error(), missing) {
		t.Fatalf("error %v does not name %s", err, missing)
	}
	entries, err := os.ReadDir(d.config.Dir)
	if err != nil || len(entries) != 0 {
		t.Fatalf("left behind: %v %v", entries, err)
	}
}

// eventually polls with a deadline.
func eventually(t testing.TB, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(5 * time.Second); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatal("it did not happen within 5s")
		}
	}
}

// stopped says whether a signal has stopped every thread: they stop one by one,
// and until the last has the process may answer.
func stopped(t testing.TB, pid int) bool {
	t.Helper()
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(stats) == 0 {
		t.Fatalf("process %d: %v", pid, err)
	}
	return !slices.ContainsFunc(stats, func(path string) bool {
		text, err := os.ReadFile(path)
		return err != nil || !strings.Contains(string(text), ") T ")
	})
}

func readAll(t testing.TB, r io.ReaderAt) []byte {
	t.Helper()
	all := make([]byte, testSize)
	if _, err := r.ReadAt(all, 0); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return all
}
