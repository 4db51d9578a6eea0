package consensus

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/hashicorp/raft"
)

// What an error of raft proves. ErrLeadershipLost comes also for entries that the
// next leader commits: it must never be taken for a refusal.
func TestOutcomeOfRaftErrors(t *testing.T) {
	n := &Node{cfg: Config{ID: "h1"}}
	for err, want := range map[error]string{
		raft.ErrNotLeader:                    "refused",
		raft.ErrLeadershipTransferInProgress: "refused",
		raft.ErrEnqueueTimeout:               "refused",
		raft.ErrLeadershipLost:               "unknown",
		raft.ErrAbortedByRestore:             "unknown",
		raft.ErrRaftShutdown:                 "unknown",
		errors.New("disk on fire"):           "unknown",
	} {
		var not *ErrNotLeader
		var unknown *ErrUnknownOutcome
		got := n.outcome(err)
		kind := ""
		switch {
		case errors.As(got, &not), errors.Is(got, ErrBusy):
			kind = "refused"
		case errors.As(got, &unknown) && errors.Is(got, err):
			kind = "unknown"
		}
		if kind != want {
			t.Errorf("%v: %v is %q, want %s", err, got, kind, want)
		}
	}
}

// A deposed leader with more uncommitted entries than its successor's snapshot
// index never catches up (hashicorp/raft #697). What may be uncommitted is what
// may be in flight: entries that wait for raft and the queue in front of it. It
// stays far below the entries that are kept behind a snapshot, so that a peer
// that was just in contact needs no snapshot at all.
func TestUncommittedStaysBelowTrailing(t *testing.T) {
	rc := Config{ID: "h1"}.filled().raft()
	if rc.TrailingLogs < 40*maxInFlight {
		t.Errorf("%d trailing entries for %d in flight", rc.TrailingLogs, maxInFlight)
	}
	if rc.SnapshotThreshold < 4*maxInFlight {
		t.Errorf("a snapshot every %d entries, %d in flight", rc.SnapshotThreshold, maxInFlight)
	}
	if !rc.ShutdownOnRemove || rc.MaxAppendEntries != 64 {
		t.Errorf("%+v", rc)
	}
}

// A disk that is really full ends the node with a word, and the store opens again
// when there is room (hashicorp/raft #614).
func TestFullDiskIsFatal(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("a file system of 2 MiB cannot be mounted here (root can): %v", err)
	}
	defer func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	c := newCluster(t, 1)
	m := c.members[0]
	m.stop()
	m.dir = dir
	c.start(m, nil)
	c.leader()
	large := make([]byte, 11*5000)
	for i := 0; i < len(large); i += 11 {
		copy(large[i:], command(uint64(i)))
	}
	acked := 0
	for m.guard.failure() == nil {
		_, _, err := m.Propose(t.Context(), large)
		var unknown *ErrUnknownOutcome
		switch {
		case err == nil:
			acked++
		case !errors.As(err, &unknown):
			var not *ErrNotLeader
			if !errors.As(err, &not) {
				t.Fatal(err)
			}
		}
		if acked > 1000 {
			t.Fatal("55 MB fit onto 2 MiB")
		}
	}
	if err := <-m.fatal; !errors.Is(err, ErrStoreFailed) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("fatal: %v", err)
	}
	if err := <-m.done; !errors.Is(err, ErrStoreFailed) {
		t.Errorf("Run: %v", err)
	}
	m.cancel()
	m.cancel = nil
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	c.start(m, nil)
	c.leader()
	eventually(t, "everything acknowledged is there", func() error {
		if n := len(m.state.values()); n < 5000*acked {
			return fmt.Errorf("%d values of %d acknowledged entries", n, acked)
		}
		return nil
	})
	m.stop()
}
