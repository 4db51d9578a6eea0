package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const netnsDir = "/run/netns"

// Down removes a lab: every process that lives in its namespaces, the
// namespaces, the directory. It may be called at any time, also after a crash of
// whatever started the lab, and when there is none.
func Down(ctx context.Context, cfg Config) error {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	names, err := filepath.Glob(filepath.Join(netnsDir, cfg.namespace("*")))
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range names {
		if err := endNamespace(ctx, path); err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, run(ctx, "ip", "netns", "delete", filepath.Base(path)))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("lab %s is not down: %w", cfg.Name, err)
	}
	return os.RemoveAll(cfg.Dir)
}

// endNamespace kills what lives in a network namespace and returns when nothing
// does. A process may be about to start another, so it looks again until none is
// left.
func endNamespace(ctx context.Context, path string) error {
	for {
		pids, err := inNamespace(path)
		if err != nil || len(pids) == 0 {
			return err
		}
		for _, pid := range pids {
			kill(pid, path)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("processes %v in %s do not end: %w", pids, filepath.Base(path), ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// kill ends a process if it still lives in the namespace: the descriptor is taken
// before the second look, so a reused number is never hit.
func kill(pid int, path string) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if lives, _ := livesIn(pid, path); lives {
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) // gone meanwhile: as good
	}
}

// inNamespace lists the processes of a network namespace, zombies aside.
func inNamespace(path string) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if lives, err := livesIn(pid, path); err != nil {
			return nil, err
		} else if lives {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

func livesIn(pid int, path string) (bool, error) {
	var want, have unix.Stat_t
	if err := unix.Stat(path, &want); err != nil {
		return false, fmt.Errorf("namespace %s: %w", path, err)
	}
	if unix.Stat(fmt.Sprintf("/proc/%d/ns/net", pid), &have) != nil {
		return false, nil // it has ended
	}
	return have.Ino == want.Ino && have.Dev == want.Dev, nil
}

// commandOf returns the argv of a process, or nil.
func commandOf(pid int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(text) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
}
