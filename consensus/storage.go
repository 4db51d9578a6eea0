package consensus

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"

	"github.com/placed-dev/placed/consensus/wal"
)

// Names in the directory of a node.
const (
	voteFile = "vote.db"
	logDir   = "log"
)

// opened is the storage of a node and what must be closed after it.
type opened struct {
	Storage
	identity *identity // nil when the storage was handed in
	// prepare makes room for the log ahead of its use until its context ends;
	// nil when there is nothing to prepare.
	prepare func(context.Context)
	closers []func() error
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
// never deletes or repairs anything but the rest of an append that a power cut
// has torn before it was acknowledged. A log in the format of older versions is
// carried over first, unless the caller only looks.
func openStorage(cfg Config, look bool) (o *opened, err error) {
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
	// The vote comes first: its lock keeps another process off all the files.
	votePath := filepath.Join(cfg.Dir, voteFile)
	if err := inspect(votePath, o.identity.Voted, o.identity); err != nil {
		return o, err
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
	if err := o.openLog(cfg, look); err != nil {
		return o, err
	}
	if o.Snapshots, err = raft.NewFileSnapshotStoreWithLogger(cfg.Dir, snapshots, cfg.Logger.Named("snapshot")); err != nil {
		return o, fmt.Errorf("raft snapshots in %s: %w", cfg.Dir, err)
	}
	return o, nil
}

func (o *opened) openLog(cfg Config, look bool) error {
	if o.identity.Format < formatSegments && look {
		old, err := openBoltLog(cfg.Dir, o.identity)
		if err != nil {
			return err
		}
		if o.Logs = raft.NewInmemStore(); old != nil {
			o.Logs, o.closers = old, append(o.closers, old.Close)
		}
		return nil
	}
	if err := carryLog(cfg, o.identity, func(string) error { return nil }); err != nil {
		return err
	}
	path := filepath.Join(cfg.Dir, logDir)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) && o.identity.Stored {
		return o.identity.lost(path + " is missing")
	}
	logs, err := openSegments(path, cfg)
	if err != nil {
		return err
	}
	o.Logs, o.prepare, o.closers = logs, logs.Prepare, append(o.closers, logs.Close)
	return nil
}

// openSegments opens the log itself. Half of what is set aside is in use, the
// other half is the segment after it.
func openSegments(path string, cfg Config) (*wal.Log, error) {
	logs, err := wal.Open(wal.Config{Dir: path, Segment: cfg.LogSize / 2, Logger: cfg.Logger.Named("log")})
	switch {
	case err == nil:
		return logs, nil
	case errors.Is(err, wal.ErrDamaged):
		return nil, damagedFile(path, err)
	}
	return nil, &StoreError{Kind: ErrStoreFailed, Op: "open", Path: path, Err: err, Hint: hintDisk}
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
