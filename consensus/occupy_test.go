package consensus

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/hashicorp/raft"
)

// The log has its space from the start, and is read as well where it was begun
// with another size.
func TestLogOccupiesItsSpace(t *testing.T) {
	cfg := Config{ID: "h1", Cluster: "test", Dir: t.TempDir()}.filled()
	for round, size := range []int64{0, 5 << 20, 0, 0} {
		cfg.LogSize = size
		o, err := openStorage(cfg, false)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		sealed := &sealedLogs{LogStore: o.Logs}
		for i := range uint64(100) {
			if err := sealed.StoreLog(&raft.Log{Index: uint64(round)*100 + i + 1, Data: make([]byte, 9000)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := verifyAll(cfg.Dir, Storage{Logs: sealed, Vote: o.Vote, Snapshots: o.Snapshots}); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
		if last, err := sealed.LastIndex(); err != nil || last != uint64(round+1)*100 {
			t.Errorf("round %d: last entry %d: %v", round, last, err)
		}
		if err := o.close(); err != nil {
			t.Fatal(err)
		}
	}
	sizes := map[int64]int{}
	for path := range files(t, filepath.Join(cfg.Dir, logDir)) {
		info, err := os.Stat(filepath.Join(cfg.Dir, logDir, path))
		if err != nil {
			t.Fatal(err)
		}
		sizes[info.Size()]++
	}
	if sizes[1<<20] == 0 || sizes[5<<19] == 0 || len(sizes) != 2 {
		t.Errorf("files by size: %v", sizes)
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
	_, err := openStorage(Config{ID: "h1", Cluster: "test", Dir: dir, LogSize: 8 << 20}.filled(), false)
	if !errors.Is(err, ErrStoreFailed) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v", err)
	}
}
