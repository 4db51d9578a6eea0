package region

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// identity names a process beyond reuse of its number.
type identity struct {
	PID       int    `json:"pid"`
	StartTime uint64 `json:"start_time"` // clock ticks since boot
	BootID    string `json:"boot_id"`
}

// bootID names this boot of the machine.
func bootID() (string, error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(text)), err
}

// startTime reads field 22 of /proc/PID/stat; the command name before it may
// contain anything, so fields are counted from its last parenthesis.
func startTime(pid int) (uint64, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 20 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields behind the name", pid, len(fields))
	}
	return strconv.ParseUint(string(fields[19]), 10, 64)
}

// openIdentity takes a pidfd of exactly that process. The start time is read
// after the pidfd was taken: if it matches then, the pidfd is the one.
func openIdentity(who identity) (int, error) {
	boot, err := bootID()
	if err != nil {
		return -1, err
	}
	if boot != who.BootID {
		return -1, fmt.Errorf("process %d belongs to another boot", who.PID)
	}
	fd, err := unix.PidfdOpen(who.PID, 0)
	if err != nil {
		return -1, fmt.Errorf("pidfd of process %d: %w", who.PID, err)
	}
	started, err := startTime(who.PID)
	if err == nil && started != who.StartTime {
		err = fmt.Errorf("process %d started at %d, not at %d: the number was reused", who.PID, started, who.StartTime)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// exited polls a pidfd without waiting.
func exited(pidfd int) bool { return pollExit(pidfd, 0) }

func pollExit(pidfd int, wait time.Duration) bool {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, int(wait.Milliseconds()))
	return err == nil && n == 1 && fds[0].Revents&(unix.POLLIN|unix.POLLHUP|unix.POLLERR) != 0
}

// awaitExit waits for the end of a process; false when the time is over or ctx
// ends first.
func awaitExit(ctx context.Context, pidfd int, limit time.Duration) bool {
	for end := time.Now().Add(limit); ; {
		left := min(time.Until(end), 20*time.Millisecond)
		if pollExit(pidfd, max(left, 0)) {
			return true
		}
		if left <= 0 || ctx.Err() != nil {
			return false
		}
	}
}

// reap collects a child that has ended, so that it does not stay a zombie. A
// process of an earlier agent is not our child: somebody else collects it.
func reap(pidfd int) {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PIDFD, pidfd, &info, unix.WEXITED|unix.WNOHANG, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
