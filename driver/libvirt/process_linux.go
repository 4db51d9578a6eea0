package libvirt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// process is a QEMU beyond the reuse of its number.
type process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks since boot
	Boot  string `json:"boot"`  // of the machine
}

// processStat returns the start time and the state letter of a process.
func processStat(pid int) (start uint64, state byte, err error) {
	fields, err := statFields(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	start, err = strconv.ParseUint(fields[19], 10, 64)
	return start, fields[0][0], err
}

// statFields are what the kernel says of a process or a thread behind its name, from
// the state on, which is the third field of proc(5).
func statFields(path string) ([]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	_, rest, ok := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 {
		return nil, fmt.Errorf("%s has an unknown form", path)
	}
	return fields, nil
}

// alive says whether that very process still exists; a zombie does not: it has
// released its memory and runs no instruction any more.
func (p process) alive() bool {
	if p.PID == 0 || p.Boot != bootID() {
		return false
	}
	start, state, err := processStat(p.PID)
	return err == nil && start == p.Start && state != 'Z' && state != 'X'
}

// open takes a descriptor of the process; ok is false when it has ended.
func (p process) open() (fd int, ok bool, err error) {
	fd, err = unix.PidfdOpen(p.PID, 0)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
		return -1, false, nil
	}
	if err != nil {
		return -1, false, fmt.Errorf("process %d: %w", p.PID, err)
	}
	if !p.alive() { // looked at after the descriptor was taken: no reuse in between
		return -1, false, unix.Close(fd)
	}
	return fd, true, nil
}

// ended waits until the process has ended: its memory and files are released.
func ended(ctx context.Context, fd int) error {
	for {
		done, err := endedWithin(fd, 20*time.Millisecond)
		if done || err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

func endedWithin(fd int, limit time.Duration) (bool, error) {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(limit.Milliseconds()))
	if errors.Is(err, unix.EINTR) {
		err = nil
	}
	return n > 0 && err == nil, err
}

// gone waits until nothing of the process can run its program any more: it has ended,
// or is about to. The kernel may take long to take back what it held, a second for
// large guests, and the workload runs nowhere meanwhile.
func gone(ctx context.Context, fd, pid int) error {
	for {
		if done, err := endedWithin(fd, time.Millisecond); done || err != nil {
			return err
		}
		if exiting(pid) {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// pfExiting is the kernel's mark of a thread that has begun to exit (PF_EXITING in
// include/linux/sched.h, shown in /proc/PID/stat, see proc(5)): no thread comes back
// from there to its program.
const pfExiting = 0x4

// exiting says whether every thread of a process has ended or has begun to exit. The
// caller holds a descriptor of the process, so that its number is not another's. One
// thread may have begun another between the list and the look at it: so none may be
// there afterwards that was not there before.
func exiting(pid int) bool {
	before, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return false
	}
	seen := map[string]bool{}
	for _, e := range before {
		seen[e.Name()] = true
		fields, err := statFields(fmt.Sprintf("/proc/%d/task/%s/stat", pid, e.Name()))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // it has ended since
		}
		if err != nil {
			return false
		}
		flags, err := strconv.ParseUint(fields[6], 10, 64)
		if err != nil || flags&pfExiting == 0 {
			return false
		}
	}
	after, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, e := range after {
		if !seen[e.Name()] {
			return false
		}
	}
	return err == nil && len(before) > 0
}

// endStill ends a QEMU that stands still: its CPUs' time must be what it was when
// the move had stopped them. Then it is stopped, so that nothing can start its
// CPUs any more, the time is compared once more, and only then it is killed. If
// they have run, it goes on as if nothing had happened. What it held may be released
// a little later.
func endStill(ctx context.Context, p process, before map[int]uint64) error {
	fd, ok, err := p.open()
	if err != nil || !ok {
		return err
	}
	defer unix.Close(fd)
	if exiting(p.PID) {
		return nil // libvirtd was first
	}
	if len(before) == 0 {
		return errors.New("it is not known how long its CPUs had run when the move stopped them")
	}
	if err := unchanged(p.PID, before, 0); err != nil {
		return err
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGSTOP, nil, 0); err != nil {
		return fmt.Errorf("stop process %d: %w", p.PID, err)
	}
	if err = awaitStopped(ctx, p.PID); err == nil {
		err = unchanged(p.PID, before, stopCost)
	}
	if err != nil {
		return errors.Join(err, unix.PidfdSendSignal(fd, unix.SIGCONT, nil, 0))
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("end process %d: %w", p.PID, err)
	}
	return gone(ctx, fd, p.PID)
}

var errRan = errors.New("its CPUs have run since the move had stopped them")

// stopCost is what a resting thread spends on being stopped: it wakes up for the
// signal, in the kernel, and rests again (30 to 200 µs were seen).
const stopCost = uint64(time.Millisecond)

// unchanged compares the CPUs' times with those of before.
func unchanged(pid int, before map[int]uint64, tolerance uint64) error {
	now, err := cpuTimes(pid)
	if err != nil {
		return err
	}
	if len(now) != len(before) {
		return errRan
	}
	for tid, ns := range before {
		if spent, ok := now[tid]; !ok || spent-ns > tolerance {
			return errRan
		}
	}
	return nil
}

func awaitStopped(ctx context.Context, pid int) error {
	for {
		stopped, err := allStopped(pid)
		if err != nil || stopped {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		time.Sleep(200 * time.Microsecond) // the kernel tells nobody when the last thread has stopped
	}
}

// awaitEnd waits until the process has released what it held.
func (p process) awaitEnd(ctx context.Context) error {
	fd, ok, err := p.open()
	if err != nil || !ok {
		return err
	}
	defer unix.Close(fd)
	return ended(ctx, fd)
}

// threads lists the thread numbers of a process with their names.
func threads(pid int) (map[int]string, error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil, err
	}
	out := make(map[int]string, len(entries))
	for _, e := range entries {
		tid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/comm", pid, tid))
		if err != nil {
			continue // the thread has just ended
		}
		out[tid] = strings.TrimSpace(string(name))
	}
	return out, nil
}

func allStopped(pid int) (bool, error) {
	list, err := threads(pid)
	if err != nil {
		return false, err
	}
	for tid := range list {
		fields, err := statFields(fmt.Sprintf("/proc/%d/task/%d/stat", pid, tid))
		if err == nil && fields[0] != "T" {
			return false, nil
		}
	}
	return true, nil
}

// cpuTimes returns how long each virtual CPU's thread has run, in nanoseconds.
// QEMU names them "CPU n/KVM" or "CPU n/TCG" ("ALL CPUs/TCG" for all in one).
func cpuTimes(pid int) (map[int]uint64, error) {
	list, err := threads(pid)
	if err != nil {
		return nil, err
	}
	out := map[int]uint64{}
	for tid, name := range list {
		if !strings.HasPrefix(name, "CPU ") && !strings.HasPrefix(name, "ALL CPUs") {
			continue
		}
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/schedstat", pid, tid))
		if err != nil {
			return nil, err
		}
		ns, err := strconv.ParseUint(strings.Fields(string(text) + " ?")[0], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("schedstat of thread %d: %w", tid, err)
		}
		out[tid] = ns
	}
	return out, nil
}
