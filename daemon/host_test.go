package daemon

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestLockOfADyingAgent: a start right after a kill waits for the killed agent's
// last thread; a start beside a living agent is refused at once.
func TestLockOfADyingAgent(t *testing.T) {
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	hold := func(pid int) (string, *os.File) {
		path := filepath.Join(t.TempDir(), "agent.lock")
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(f, pid)
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			t.Fatal(err)
		}
		return path, f
	}

	path, holder := hold(dead.Process.Pid)
	first := holder
	released := time.AfterFunc(100*time.Millisecond, func() { first.Close() })
	defer released.Stop()
	lock, err := flock(path)
	if err != nil {
		t.Fatalf("the holder is dead, its lock was released: %v", err)
	}
	defer lock.Close()
	if text, _ := os.ReadFile(path); strings.TrimSpace(string(text)) != fmt.Sprint(os.Getpid()) {
		t.Errorf("the lock names %q, want this process", text)
	}

	path, holder = hold(os.Getpid())
	defer holder.Close()
	if _, err := flock(path); err == nil || !strings.Contains(err.Error(), "another agent runs") {
		t.Errorf("beside a living agent: %v", err)
	}
}
