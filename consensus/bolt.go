package consensus

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// lockWait bounds how long opening waits for another process to let go.
const lockWait = time.Second

func boltOptions(wait time.Duration) *bbolt.Options {
	return &bbolt.Options{Timeout: wait, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType}
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
