package libvirt

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// standIn is this test binary in the place of a QEMU: a process with a thread
// named like a virtual CPU, which rests or runs.
func TestMain(m *testing.M) {
	if mode := os.Getenv("PLACED_STAND_IN"); mode != "" {
		standIn(mode)
	}
	os.Exit(m.Run())
}

func standIn(mode string) {
	name, err := unix.BytePtrFromString("CPU 0/TCG")
	if err != nil {
		os.Exit(2)
	}
	ready := make(chan struct{})
	go func() {
		lockThread()
		if err := prctlName(name); err != nil {
			os.Exit(2)
		}
		close(ready)
		for mode == "run" {
			spin++
		}
		var fds [2]int
		if unix.Pipe(fds[:]) != nil {
			os.Exit(2)
		}
		_, _ = unix.Read(fds[0], make([]byte, 1)) // for ever, on this thread
	}()
	<-ready
	if mode == "write" {
		writeOn()
	}
	if mode == "memory" {
		for _, size := range []int{standInGuest, standInOwn} {
			memory, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
			if err != nil {
				os.Exit(2)
			}
			held = append(held, memory)
		}
	}
	os.Stdout.WriteString("ready\n")
	select {}
}

// writeOn counts on in a file without a name, descriptor 100, from two threads, with
// memory that takes a while to be taken back.
func writeOn() {
	fd, err := unix.MemfdCreate("word", 0)
	if err != nil || unix.Dup2(fd, 100) != nil || unix.Ftruncate(100, 8) != nil {
		os.Exit(2)
	}
	word, err := unix.Mmap(100, 0, 8, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	memory, err2 := unix.Mmap(-1, 0, standInGuest, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	if err != nil || err2 != nil {
		os.Exit(2)
	}
	held = append(held, word, memory)
	for range 2 {
		go func() {
			for {
				atomic.AddUint64((*uint64)(unsafe.Pointer(&word[0])), 1)
			}
		}()
	}
}

// standInGuest and standInOwn are the bytes of a stand-in that plays a QEMU with
// memory: its guest's, and what it uses beside it.
const standInGuest, standInOwn = 96<<20 + 1<<16, 24 << 20

var held [][]byte

var spin uint64

func startStandIn(t *testing.T, mode string) process {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), "PLACED_STAND_IN="+mode)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("stand-in: %q, %v", line, err)
	}
	start, _, err := processStat(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return process{PID: cmd.Process.Pid, Start: start, Boot: bootID()}
}

// settledTimes waits until the CPUs' times stand, and returns them.
func settledTimes(t *testing.T, pid int) map[int]uint64 {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		before, err := cpuTimes(pid)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond) // between two readings of a counter
		after, err := cpuTimes(pid)
		if err != nil {
			t.Fatal(err)
		}
		if len(before) == 1 && equal(before, after) {
			return after
		}
	}
	t.Fatal("the stand-in's CPU never rests")
	return nil
}

func equal(a, b map[int]uint64) bool {
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return len(a) == len(b)
}

// TestEndStill: a process whose CPUs have not run is ended, and proved gone.
func TestEndStill(t *testing.T) {
	p := startStandIn(t, "rest")
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := endStill(ctx, p, settledTimes(t, p.PID)); err != nil {
		t.Fatal(err)
	}
	if err := p.awaitEnd(ctx); err != nil || p.alive() {
		t.Errorf("it is said to be gone, and lives: %v", err)
	}
	if err := endStill(ctx, p, nil); err != nil {
		t.Errorf("a process that is gone is ended already: %v", err)
	}
}

// TestGone: what is exiting runs its program no more, though its memory is still being
// taken back: the last word that it wrote into a shared file stays the last. A process
// that runs, rests or is stopped is not exiting, and one whose end is waited for has
// released everything.
func TestGone(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	early := 0
	for range 20 {
		p := startStandIn(t, "write")
		shared, err := os.OpenFile(fmt.Sprintf("/proc/%d/fd/100", p.PID), os.O_RDONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		word, err := unix.Mmap(int(shared.Fd()), 0, 8, unix.PROT_READ, unix.MAP_SHARED)
		if err != nil {
			t.Fatal(err)
		}
		read := func() uint64 { return atomic.LoadUint64((*uint64)(unsafe.Pointer(&word[0]))) }
		fd, ok, err := p.open()
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		for began := read(); read() == began; { // it writes
			runtime.Gosched()
		}
		if exiting(p.PID) {
			t.Fatal("it runs")
		}
		if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
			t.Fatal(err)
		}
		if err := gone(ctx, fd, p.PID); err != nil {
			t.Fatal(err)
		}
		last := read()
		if done, _ := endedWithin(fd, 0); !done {
			early++
		}
		if err := p.awaitEnd(ctx); err != nil {
			t.Fatal(err)
		}
		if now := read(); now != last {
			t.Fatalf("it was said to be gone at %d, and went on to %d", last, now)
		}
		_ = unix.Close(fd)
		_ = shared.Close()
		_ = unix.Munmap(word)
	}
	t.Logf("%d of 20 were seen to be gone before they had ended", early)
}

// TestEndStillSpares: a process whose CPUs have run since is not ended and goes
// on; so does one of which it is not known how long they had run.
func TestEndStillSpares(t *testing.T) {
	p := startStandIn(t, "run")
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	before, err := cpuTimes(p.PID)
	if err != nil || len(before) != 1 {
		t.Fatalf("%v, %v", before, err)
	}
	for now := before; equal(now, before); {
		if now, err = cpuTimes(p.PID); err != nil {
			t.Fatal(err)
		}
	}
	if err := endStill(ctx, p, before); !errors.Is(err, errRan) {
		t.Errorf("error %v, want %v", err, errRan)
	}
	if err := endStill(ctx, p, nil); err == nil {
		t.Error("without a reading nothing proves that it stands still")
	}
	if !p.alive() {
		t.Fatal("it was ended")
	}
	rest, err := cpuTimes(p.PID)
	if err != nil {
		t.Fatal(err)
	}
	for now := rest; equal(now, rest); { // until it is seen to go on
		if ctx.Err() != nil {
			t.Fatal("it stands still after it was spared")
		}
		if now, err = cpuTimes(p.PID); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAlive: a number that another process has now is not the process.
func TestAlive(t *testing.T) {
	p := startStandIn(t, "rest")
	if !p.alive() {
		t.Error("a living process is not seen")
	}
	for name, q := range map[string]process{"another start": {p.PID, p.Start + 1, p.Boot}, "another boot": {p.PID, p.Start, "x"}, "none": {}} {
		if q.alive() {
			t.Errorf("%s: taken for alive", name)
		}
	}
}
