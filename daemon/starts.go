package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/placed-dev/placed/fleet"
)

// starts notes on disk which first starts are under way, one small file each.
type starts struct{ dir string }

func (s starts) file(id fleet.WorkloadID) string {
	return filepath.Join(s.dir, url.PathEscape(string(id)))
}

// note returns once the note is on disk.
func (s starts) note(id fleet.WorkloadID, lease fleet.Lease) error {
	data, err := json.Marshal(lease)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("noting the start of %s: %w", id, err)
	}
	if err := writeSynced(s.file(id), data); err != nil {
		return fmt.Errorf("noting the start of %s: %w", id, err)
	}
	return nil
}

// read returns the lease of a start that was interrupted. A note that cannot be
// read was never finished: its start has not been claimed.
func (s starts) read(id fleet.WorkloadID) (lease fleet.Lease, ok bool) {
	data, err := os.ReadFile(s.file(id))
	if err != nil || json.Unmarshal(data, &lease) != nil {
		return fleet.Lease{}, false
	}
	return lease, true
}

func (s starts) done(id fleet.WorkloadID) error {
	if err := os.Remove(s.file(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the start of %s is done, but its note stays: %w", id, err)
	}
	return nil
}

// writeSynced replaces a file whole or not at all, and returns when it is on disk.
func writeSynced(path string, data []byte) (err error) {
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
