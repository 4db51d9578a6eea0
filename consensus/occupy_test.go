package consensus

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/hashicorp/raft"
)

// The file of the log has its size from the start, keeps it while the log grows
// inside it, and is read as if it had not: also where it was made without.
func TestLogOccupiesItsSpace(t *testing.T) {
	const size = 5<<20 + 123
	cfg := Config{ID: "h1", Cluster: "test", Dir: t.TempDir()}.filled()
	path := filepath.Join(cfg.Dir, "raft.db")
	for round, want := range []int64{0, size, size, 0} {
		cfg.LogSize = want
		o, err := openStorage(cfg)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		sealed := &sealedLogs{LogStore: o.Logs}
		for i := range uint64(100) {
			if err := sealed.StoreLog(&raft.Log{Index: uint64(round)*100 + i + 1, Data: make([]byte, 500)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := verifyAll(path, Storage{Logs: sealed, Vote: o.Vote, Snapshots: o.Snapshots}); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
		if last, err := sealed.LastIndex(); err != nil || last != uint64(round+1)*100 {
			t.Errorf("round %d: last entry %d: %v", round, last, err)
		}
		if err := o.close(); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if round > 0 && info.Size() != size {
			t.Errorf("round %d: the file has %d bytes, not %d", round, info.Size(), size)
		}
	}
}

// No room for the log is said before the host takes part.
func TestNoRoomForTheLog(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("a file system of 2 MiB cannot be mounted here (root can): %v", err)
	}
	defer func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	_, err := openStorage(Config{ID: "h1", Cluster: "test", Dir: dir, LogSize: 8 << 20}.filled())
	if !errors.Is(err, ErrStoreFailed) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v", err)
	}
}
