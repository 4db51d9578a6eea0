package libvirt

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/placed-dev/placed/durable"
	"github.com/placed-dev/placed/fleet"
)

// note is what must survive the agent about an outgoing move: which process is
// the workload's, and what was taken from it for the move.
type note struct {
	Token fleet.Token  `json:"token"`
	To    fleet.HostID `json:"to"`
	UUID  string       `json:"uuid"`
	Name  string       `json:"name"`
	// Disks that it writes, for the guard.
	Disks     []string `json:"disks,omitempty"`
	Left      []string `json:"left,omitempty"`
	Process   process  `json:"process"`
	Autostart bool     `json:"autostart"`
	// Persistent: the domain had a definition on disk.
	Persistent bool `json:"persistent"`
}

// writeNote returns when the note is on disk.
func (c Config) writeNote(id fleet.WorkloadID, n note) error {
	if err := putRecord(c.noteFile(id), n); err != nil {
		return fmt.Errorf("note of the move of %s: %w", id, err)
	}
	return nil
}

// putRecord replaces one file of what must survive the agent, and makes its
// directory; it returns when both are on disk.
func putRecord(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return durable.WriteFile(path, data, 0o600)
}

// readNote returns the note of an outgoing move, if there is one.
func (c Config) readNote(id fleet.WorkloadID) (n note, ok bool, err error) {
	data, err := os.ReadFile(c.noteFile(id))
	if errors.Is(err, fs.ErrNotExist) {
		return note{}, false, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &n)
	}
	if err != nil {
		return note{}, false, fmt.Errorf("note of the move of %s: %w", id, err)
	}
	return n, true, nil
}

func (c Config) dropNote(id fleet.WorkloadID) error {
	if err := os.Remove(c.noteFile(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("note of the move of %s: %w", id, err)
	}
	return nil
}
