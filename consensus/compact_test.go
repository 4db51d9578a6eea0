package consensus

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Entries go to disk, snapshots are taken and what they hold is dropped, all at
// once and file after file, while nobody waits long; afterwards every server still
// starts from what is left.
func TestLogIsDroppedBehindSnapshots(t *testing.T) {
	if testing.Short() {
		t.Skip("short: some thousand entries with an fsync each")
	}
	patient := DefaultTimeouts() // a busy machine must not change the leader
	patient.StoreStall = time.Minute
	c := newClusterOf(t, 3, func(cfg *Config) {
		cfg.Timeouts = patient
		cfg.LogSize, cfg.Bundle = 64<<10, nil // files of 32 KiB, an entry for each proposal
		cfg.TrailingLogs, cfg.SnapshotThreshold, cfg.SnapshotInterval = 100, 100, 50*time.Millisecond
	}, nil)
	const callers, each = 8, 250
	commit := func(v uint64) error { // with whoever leads
		err := errors.New("nobody leads")
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
			for _, m := range c.members {
				if m.IsLeader() {
					if _, _, err = m.Propose(t.Context(), command(v)); err == nil {
						return nil
					}
				}
			}
			time.Sleep(5 * time.Millisecond) // a poll with a deadline
		}
		return err
	}
	var group sync.WaitGroup
	for caller := range uint64(callers) {
		group.Go(func() {
			for i := range uint64(each) {
				if err := commit(caller*each + i); err != nil {
					t.Errorf("value %d: %v", caller*each+i, err)
					return
				}
			}
		})
	}
	group.Wait()
	for _, m := range c.members {
		eventually(t, m.id+" has dropped what its snapshots hold", func() error {
			first, err := m.logs.FirstIndex()
			if err == nil && first < callers*each/2 {
				err = fmt.Errorf("the log begins with entry %d", first)
			}
			return err
		})
	}
	for _, m := range c.members {
		m.stop()
		files, err := filepath.Glob(filepath.Join(m.dir, logDir, "*.seg"))
		if _, gone := os.Stat(filepath.Join(m.dir, logDir, "0000000000000001.seg")); err != nil || len(files) == 0 || !errors.Is(gone, os.ErrNotExist) {
			t.Errorf("%s: %d files of the log, %v, %v", m.id, len(files), err, gone)
		}
	}
	for _, m := range c.members {
		m.state, m.fatal = newRegister(), make(chan error, 1)
		c.start(m, nil)
	}
	for _, m := range c.members {
		eventually(t, m.id+" has everything", func() error {
			for v := range uint64(callers * each) {
				if !m.state.has(v) {
					return fmt.Errorf("value %d is missing", v)
				}
			}
			return nil
		})
	}
}
