package telemetry

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// openTimeout is how long another process may take to let the file go: a
// restarted agent can overlap with the old one for an instant.
const openTimeout = 2 * time.Second

const remedy = "stop placed, move the file aside (a new one is made at the next start) and keep it for inspection"

// openStore opens or makes the database and reads it through once, because
// bbolt itself notices damage only where it happens to look, and then by a
// panic or a memory fault. The file is never changed or deleted when it is
// refused.
func openStore(path string) (db *bolt.DB, err error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("open the history %s: %w", path, err)
	case info.IsDir():
		return nil, fmt.Errorf("open the history %s: it is a directory, a file is needed", path)
	case info.Size() == 0:
		return nil, fmt.Errorf("open the history %s: the file is empty, its content was lost: %s", path, remedy)
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // a mapping that ends before its data
	defer func() {
		if cause := recover(); cause != nil {
			db, err = nil, fmt.Errorf("open the history %s: the file is damaged (%v): %s", path, cause, remedy)
		}
	}()
	db, err = bolt.Open(path, 0o600, &bolt.Options{Timeout: openTimeout, FreelistType: bolt.FreelistMapType})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("open the history %s: another process holds it: stop the other placed agent with this data directory: %w", path, err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("open the history %s: make its directory and give placed the right to write there: %w", path, err)
	case err != nil:
		return nil, fmt.Errorf("open the history %s: the file is damaged (%w): %s", path, err, remedy)
	}
	if err := probe(db, path); err != nil {
		return nil, errors.Join(fmt.Errorf("open the history %s: the file is damaged (%w): %s", path, err, remedy), db.Close())
	}
	return db, nil
}

// probe walks over every key. It reads no block: a damaged block is found when
// it is used, and costs one day of one series.
func probe(db *bolt.DB, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return db.View(func(tx *bolt.Tx) error {
		if info.Size() < tx.Size() {
			return fmt.Errorf("it ends after %d of %d bytes", info.Size(), tx.Size())
		}
		return tx.ForEach(func(_ []byte, b *bolt.Bucket) error {
			return b.ForEach(func(k, v []byte) error {
				if v != nil {
					return nil
				}
				return b.Bucket(k).ForEach(func(_, _ []byte) error { return nil })
			})
		})
	})
}
