package consensus

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// lockWait bounds how long opening waits for another process to let go.
const lockWait = time.Second

func boltOptions(wait time.Duration) *bbolt.Options {
	return &bbolt.Options{Timeout: wait, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType}
}

// opened is the storage of a node and what must be closed after it.
type opened struct {
	Storage
	identity *identity // nil when the storage was handed in
	closers  []func() error
}

func (o *opened) close() error {
	var errs []error
	for i := len(o.closers) - 1; i >= 0; i-- {
		errs = append(errs, o.closers[i]())
	}
	o.closers = nil
	return errors.Join(errs...)
}

// openStorage opens the files in dir and refuses what can not be trusted. It
// never deletes or repairs anything.
func openStorage(cfg Config) (o *opened, err error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("raft store: %w", err)
	}
	o = &opened{}
	defer func() {
		if err != nil {
			err = errors.Join(err, o.close())
			o = nil
		}
	}()
	if o.identity, err = openIdentity(cfg.Dir, cfg.ID, cfg.Cluster); err != nil {
		return o, err
	}

	votePath, logPath := filepath.Join(cfg.Dir, "vote.db"), filepath.Join(cfg.Dir, "raft.db")
	for path, used := range map[string]bool{votePath: o.identity.Voted, logPath: o.identity.Stored} {
		if err := inspect(path, used, o.identity); err != nil {
			return o, err
		}
	}
	err = guardOpen(votePath, func() error {
		vote, err := openVoteStore(votePath, lockWait)
		if err != nil {
			return err
		}
		o.Vote, o.closers = vote, append(o.closers, vote.Close)
		return nil
	})
	if err != nil {
		return o, err
	}
	err = guardOpen(logPath, func() error {
		logs, err := raftboltdb.New(raftboltdb.Options{Path: logPath, BoltOptions: boltOptions(lockWait), MsgpackUseNewTimeFormat: true})
		if err != nil {
			return err
		}
		o.Logs, o.closers = logs, append(o.closers, logs.Close)
		return occupy(logPath, cfg.LogSize)
	})
	if err != nil {
		return o, err
	}
	if o.Snapshots, err = raft.NewFileSnapshotStoreWithLogger(cfg.Dir, snapshots, cfg.Logger.Named("snapshot")); err != nil {
		return o, fmt.Errorf("raft snapshots in %s: %w", cfg.Dir, err)
	}
	return o, nil
}

// occupy writes zeros behind the end of a file until it has the size. bbolt uses
// what the file holds before it makes it longer, and ignores what lies behind its
// last page. Space that is merely set aside would not do: the first write to each
// of its blocks would still go through the journal.
func occupy(path string, size int64) error {
	if size == 0 {
		return nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	zeros := make([]byte, 1<<20)
	for at := info.Size(); at < size; at += int64(len(zeros)) {
		zeros = zeros[:min(int64(len(zeros)), size-at)]
		if _, err := f.WriteAt(zeros, at); err != nil {
			return &StoreError{Kind: ErrStoreFailed, Op: fmt.Sprintf("set %d bytes aside", size), Path: path, Err: err, Hint: hintDisk}
		}
	}
	return f.Sync()
}

// inspect walks a bolt file read-only before bbolt opens it for good: opening
// rebuilds the freelist in a goroutine of its own, where a fault of a truncated
// file would end the process without a word. used says that the file once held
// something, so that a missing or empty one is not a new one.
func inspect(path string, used bool, id *identity) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist) && used:
		return id.lost(path + " is missing")
	case errors.Is(err, os.ErrNotExist):
		return nil
	}
	if err != nil {
		return fmt.Errorf("raft store: %w", err)
	}
	if info.Size() == 0 {
		if !used {
			return nil // the host died while the file was made
		}
		return damagedFile(path, errors.New("the file is empty"))
	}
	return guardOpen(path, func() (err error) {
		db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: lockWait})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, db.Close()) }()
		return db.View(func(tx *bbolt.Tx) error {
			return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
				return ascending(string(name), b.Cursor())
			})
		})
	})
}

// ascending reads every key and value. Keys out of order mean that a page is
// referenced twice or not at all.
func ascending(bucket string, c *bbolt.Cursor) error {
	var last []byte
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if last != nil && bytes.Compare(last, k) >= 0 {
			return fmt.Errorf("bucket %s: key %x follows key %x", bucket, k, last)
		}
		last = append(last[:0], k...)
		_ = bytes.Count(v, []byte{0}) // touch every page, also of a long value
	}
	return nil
}

// guardOpen turns what bbolt does on a damaged file (errors, panics, faults of
// the memory map) into one clear error.
func guardOpen(path string, open func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = damagedFile(path, fmt.Errorf("%v", p))
		}
	}()
	err = open()
	var known *StoreError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return err
	case errors.Is(err, bolterrors.ErrTimeout):
		return &StoreError{Kind: ErrStoreInUse, Path: path, Hint: "another placed agent runs on this data directory: stop it, or give this one its own"}
	case errors.Is(err, os.ErrPermission), errors.Is(err, os.ErrNotExist):
		return &StoreError{Kind: ErrStoreFailed, Op: "open", Path: path, Err: err, Hint: "check owner and mode of the data directory"}
	}
	return damagedFile(path, err)
}

func damagedFile(path string, err error) error {
	return &StoreError{Kind: ErrStoreDamaged, Op: "open", Path: path, Err: err, Hint: hintDamaged}
}

// verifyAll reads the whole log once, so that damage shows at the start and not
// in the middle of an election.
func verifyAll(path string, s Storage) (err error) {
	return guardOpen(path, func() error {
		list, err := s.Snapshots.List()
		if err != nil {
			return err
		}
		var snapshot uint64
		if len(list) > 0 {
			snapshot = list[0].Index
		}
		first, err := s.Logs.FirstIndex()
		if err != nil {
			return err
		}
		last, err := s.Logs.LastIndex()
		if err != nil {
			return err
		}
		if first > snapshot+1 {
			return fmt.Errorf("entries %d to %d are missing", snapshot+1, first-1)
		}
		for i := first; i > 0 && i <= last; i++ {
			err := s.Logs.GetLog(i, new(raft.Log))
			// After an operator's restore the log has a gap below the snapshot.
			if errors.Is(err, raft.ErrLogNotFound) && i <= snapshot {
				continue
			}
			if err != nil {
				return fmt.Errorf("entry %d: %w", i, err)
			}
		}
		return nil
	})
}

// held says what the storage holds: a term, and entries or a snapshot.
func held(s Storage) (hasTerm, hasLog bool, err error) {
	term, err := s.Vote.GetUint64([]byte(keyTerm))
	if err != nil && err.Error() != errNotFound.Error() {
		return false, false, err
	}
	last, err := s.Logs.LastIndex()
	if err != nil {
		return false, false, err
	}
	list, err := s.Snapshots.List()
	if err != nil {
		return false, false, err
	}
	return term > 0, last > 0 || len(list) > 0, nil
}
