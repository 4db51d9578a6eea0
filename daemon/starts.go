package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/placed-dev/placed/durable"
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
	if err := durable.WriteFile(s.file(id), data, 0o600); err != nil {
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
