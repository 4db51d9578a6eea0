package telemetry

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/placed-dev/placed/fleet"
	"github.com/prometheus/procfs"
	"pgregory.net/rapid"
)

// burner starts a process with one busy thread.
func burner(t *testing.T) (Process, *exec.Cmd) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", "while :; do :; done")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	proc, err := procfs.NewProc(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	stat, err := proc.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return Process{PID: cmd.Process.Pid, StartTime: stat.Starttime}, cmd
}

// TestSampleRealProcess: a thread that always wants to run either runs or waits,
// so both together are one core, however busy this machine is.
func TestSampleRealProcess(t *testing.T) {
	s, err := NewSampler(SamplerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	p, cmd := burner(t)
	pids := map[fleet.WorkloadID]Process{"busy": p, "gone": {PID: 1 << 30}}
	if got := s.Sample(time.Now(), day0, pids); len(got) != 0 {
		t.Errorf("a sample without an interval: %v", got)
	}
	timer := time.NewTimer(500 * time.Millisecond) // the interval to measure
	<-timer.C
	got, ok := s.Sample(time.Now(), day0, pids)["busy"]
	if !ok {
		t.Fatal("no sample")
	}
	if both := got.Usage.CPU + got.Wait; both < 800 || both > 1200 || got.Usage.CPU < 50 {
		t.Errorf("cpu %d + wait %d millicores, want about 1000", got.Usage.CPU, got.Wait)
	}
	if got.Usage.Memory < 64<<10 || got.Usage.Memory > 1<<30 || got.Usage.Net != fleet.Unknown || !got.At.Equal(day0) {
		t.Errorf("sample %+v", got)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if got := s.Sample(time.Now(), day0, pids); len(got) != 0 || len(s.watched) != 0 {
		t.Errorf("a dead process has a sample: %v", got)
	}
}

func TestHostUsage(t *testing.T) {
	s, err := NewSampler(SamplerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	burner(t)
	start := time.Now()
	first, ok, err := s.Host(start)
	if err != nil || ok || first.Cores < 1 || first.MemoryUsed <= 0 || first.MemoryUsed >= first.MemoryTotal {
		t.Fatalf("first %+v %v %v", first, ok, err)
	}
	timer := time.NewTimer(300 * time.Millisecond) // the interval to measure
	<-timer.C
	second, ok, err := s.Host(time.Now())
	if err != nil || !ok || second.CPU < 100 || second.CPU > int64(second.Cores)*1200 {
		t.Errorf("second %+v %v %v", second, ok, err)
	}
	if _, ok, _ := s.Host(start); ok {
		t.Error("a clock that stands still gave a rate")
	}
}

// tree writes what the sampler reads of procfs.
type tree struct {
	t    *testing.T
	root string
}

func (f tree) put(path, content string) {
	f.t.Helper()
	path = filepath.Join(f.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

func (f tree) process(pid int, start uint64, disk uint64) {
	f.put(fmt.Sprintf("%d/stat", pid), fmt.Sprintf("%d (a) b) S 1 1 1 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 %d 4096 256 18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n", pid, start))
	f.put(fmt.Sprintf("%d/io", pid), fmt.Sprintf("rchar: 1\nwchar: 1\nsyscr: 1\nsyscw: 1\nread_bytes: %d\nwrite_bytes: 4096\ncancelled_write_bytes: 0\n", disk))
}

func (f tree) thread(pid, tid int, cpu, wait uint64) {
	f.put(fmt.Sprintf("%d/task/%d/schedstat", pid, tid), fmt.Sprintf("%d %d 7\n", cpu, wait))
}

// TestSampleThreads: threads come, end and come back under the same number, and
// the process is replaced by another one; rates never jump back or up.
func TestSampleThreads(t *testing.T) {
	f := tree{t, t.TempDir()}
	var log bytes.Buffer
	s, err := NewSampler(SamplerConfig{ProcPath: f.root, Logger: hclog.New(&hclog.LoggerOptions{Output: &log})})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	sample := func(p Process) (fleet.Sample, bool) {
		now = now.Add(2 * time.Second)
		got, ok := s.Sample(now, day0, map[fleet.WorkloadID]Process{"vm": p})["vm"]
		return got, ok
	}
	p := Process{PID: 42, StartTime: 100}
	f.process(42, 100, 0)
	f.thread(42, 42, 5e9, 1e9)
	f.thread(42, 43, 9e9, 9e9)
	if got, ok := sample(p); ok {
		t.Errorf("first sight: %+v", got)
	}

	f.process(42, 100, 8192)
	f.thread(42, 42, 6e9, 1.5e9) // 500 and 250 millicores over 2 s
	f.thread(42, 44, 2e8, 0)     // new: 100 millicores
	if err := os.RemoveAll(filepath.Join(f.root, "42/task/43")); err != nil {
		t.Fatal(err)
	}
	got, ok := sample(p)
	if want := (fleet.Vector{CPU: 600, Memory: int64(256 * os.Getpagesize()), Net: fleet.Unknown, Disk: 4096}); !ok || !got.Usage.Equal(want) || got.Wait != 250 {
		t.Errorf("got %+v, want %+v", got, want)
	}

	f.thread(42, 44, 1e8, 0) // the number was reused: 50 millicores
	if got, ok := sample(p); !ok || got.Usage.CPU != 50 || got.Wait != 0 || got.Usage.Disk != 0 {
		t.Errorf("after reuse of a thread number: %+v", got)
	}

	f.process(42, 777, 0)
	f.thread(42, 42, 1e9, 0)
	for range 3 {
		if got, ok := sample(p); ok {
			t.Errorf("another process counted as the workload: %+v", got)
		}
	}
	if n := strings.Count(log.String(), "belongs to another process"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, log.String())
	}
	p.StartTime = 777
	if _, ok := sample(p); ok {
		t.Error("the new process had a sample at first sight")
	}
	f.thread(42, 42, 2e9, 0)
	if got, ok := sample(p); !ok || got.Usage.CPU != 500 {
		t.Errorf("the new process: %+v %v", got, ok)
	}

	f.put("42/task/42/schedstat", "rubbish\n")
	if got, ok := sample(p); ok {
		t.Errorf("an unreadable counter gave %+v", got)
	}
	if !strings.Contains(log.String(), "read the times of thread 42") {
		t.Errorf("log %q", log.String())
	}
}

func TestNewSamplerWithoutProcfs(t *testing.T) {
	_, err := NewSampler(SamplerConfig{ProcPath: filepath.Join(t.TempDir(), "none")})
	if err == nil || !strings.Contains(err.Error(), "mount it") {
		t.Errorf("got %v", err)
	}
}

// TestSpentNeverWraps: whatever the threads do, what was spent is at most what
// the counters say.
func TestSpentNeverWraps(t *testing.T) {
	threads := rapid.MapOfN(rapid.IntRange(1, 5), rapid.Custom(func(rt *rapid.T) threadTimes {
		return threadTimes{rapid.Uint64Range(0, 1e15).Draw(rt, "cpu"), rapid.Uint64Range(0, 1e15).Draw(rt, "wait")}
	}), 0, 5)
	rapid.Check(t, func(rt *rapid.T) {
		last, current := threads.Draw(rt, "last"), threads.Draw(rt, "current")
		cpu, wait := spent(last, current)
		var limit threadTimes
		for _, c := range current {
			limit.cpu, limit.wait = limit.cpu+c.cpu, limit.wait+c.wait
		}
		if cpu > limit.cpu || wait > limit.wait {
			rt.Fatalf("spent %d, %d of %+v", cpu, wait, limit)
		}
	})
}
