package consensus

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	"github.com/placed-dev/placed/durable"
)

// boltFile is the log as versions before the segments kept it.
const boltFile = "raft.db"

// carriedAtOnce is how many entries share an fdatasync when a log is carried over.
const carriedAtOnce = 256

// openBoltLog opens an old log to be read only; nil: there is none.
func openBoltLog(dir string, id *identity) (logs *raftboltdb.BoltStore, err error) {
	path := filepath.Join(dir, boltFile)
	if err := inspect(path, id.Stored, id); err != nil {
		return nil, err
	}
	if info, err := os.Stat(path); errors.Is(err, os.ErrNotExist) || err == nil && info.Size() == 0 {
		return nil, nil // the host died before it had a log
	}
	err = guardOpen(path, func() error {
		var err error
		logs, err = raftboltdb.New(raftboltdb.Options{Path: path, MsgpackUseNewTimeFormat: true, BoltOptions: &bbolt.Options{ReadOnly: true, Timeout: lockWait}})
		return err
	})
	return logs, err
}

// carryLog moves the log of an older version into segments. Until the identity
// says that this is done, the old file is the log, however far a copy has come, and
// the older version may be started again. From then on the copy is, the older
// version refuses to start, and the old file is taken away: brought back later it
// would lack what came after it. reached is called before each step; its error ends
// everything there, as a crash would.
func carryLog(cfg Config, id *identity, reached func(step string) error) error {
	old := filepath.Join(cfg.Dir, boltFile)
	if id.Format >= formatSegments {
		return removeCarried(old)
	}
	path := filepath.Join(cfg.Dir, logDir)
	for _, half := range []string{path + ".new", path} {
		if err := os.RemoveAll(half); err != nil {
			return fmt.Errorf("carry the log over: %w", err)
		}
	}
	if err := copyLog(cfg, id, path+".new", reached); err != nil {
		return err
	}
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"rename", func() error { return os.Rename(path+".new", path) }},
		{"sync the directory", func() error { return durable.SyncDir(cfg.Dir) }},
		{"mark", id.markCarried},
		{"remove", func() error { return removeCarried(old) }},
	} {
		if err := reached(step.name); err != nil {
			return err
		}
		if err := step.do(); err != nil {
			return &StoreError{Kind: ErrStoreFailed, Op: "carry the log over, " + step.name, Path: path, Err: err, Hint: hintDisk}
		}
	}
	cfg.Logger.Info("the log was carried over into segments: older versions cannot start here any more", "path", path)
	return nil
}

func removeCarried(old string) error {
	err := os.Remove(old)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove the log that was carried over: %w", err)
	}
	return durable.SyncDir(filepath.Dir(old))
}

// copyLog makes a new log of what the old one holds, checked on the way out and,
// entry by entry, after it is on disk.
func copyLog(cfg Config, id *identity, to string, reached func(step string) error) (err error) {
	bolt, err := openBoltLog(cfg.Dir, id)
	if err != nil {
		return err
	}
	logs, err := openSegments(to, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, logs.Close()) }()
	if bolt == nil {
		return nil
	}
	defer func() { err = errors.Join(err, bolt.Close()) }()
	return guardOpen(filepath.Join(cfg.Dir, boltFile), func() error {
		from, into := &sealedLogs{LogStore: bolt, verify: cfg.Verify}, &sealedLogs{LogStore: logs, verify: cfg.Verify}
		if err := reached("copy"); err != nil {
			return err
		}
		err := eachEntry(from, func(batch []*raft.Log) error {
			if err := into.StoreLogs(batch); err != nil {
				return &StoreError{Kind: ErrStoreFailed, Op: "carry the log over", Path: to, Err: err, Hint: hintDisk}
			}
			return reached("copied some")
		})
		if err != nil {
			return err
		}
		return eachEntry(from, func(batch []*raft.Log) error {
			for _, want := range batch {
				var got raft.Log
				if err := into.GetLog(want.Index, &got); err != nil {
					return err
				}
				if string(seal(&got, got.Extensions)) != string(seal(want, want.Extensions)) {
					return fmt.Errorf("entry %d was copied wrongly", want.Index)
				}
			}
			return nil
		})
	})
}

// eachEntry hands out the entries of a log in order, some at a time; a log has a
// gap where a snapshot has overtaken it.
func eachEntry(s raft.LogStore, do func(batch []*raft.Log) error) error {
	first, err := s.FirstIndex()
	if err != nil {
		return err
	}
	last, err := s.LastIndex()
	if err != nil || first == 0 {
		return err
	}
	var batch []*raft.Log
	for i := first; i <= last; i++ {
		l := new(raft.Log)
		switch err := s.GetLog(i, l); {
		case err == nil:
			batch = append(batch, l)
		case !errors.Is(err, raft.ErrLogNotFound):
			return fmt.Errorf("entry %d: %w", i, err)
		}
		if len(batch) == carriedAtOnce || i == last && len(batch) > 0 {
			if err := do(batch); err != nil {
				return err
			}
			batch = nil
		}
	}
	return nil
}
