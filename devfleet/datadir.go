package devfleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/placed-dev/placed/durable"
)

// dataDir is the directory of one fleet. The lock keeps a second `placed dev`
// out; the kernel drops it when this process ends, however it ends.
type dataDir struct {
	path string
	lock *os.File
}

// openDataDir makes the directory if it is not there and locks it.
func openDataDir(path string) (*dataDir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w; choose a writable one with --data-dir", err)
	}
	lock, err := os.OpenFile(filepath.Join(path, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w; choose a writable one with --data-dir", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("data directory %s is in use by another `placed dev`: end that one first, or choose another --data-dir", path)
		}
		return nil, fmt.Errorf("data directory %s: lock: %w", path, err)
	}
	return &dataDir{path: path, lock: lock}, nil
}

func (d *dataDir) close() { d.lock.Close() }

func (d *dataDir) file(parts ...string) string {
	return filepath.Join(append([]string{d.path}, parts...)...)
}

// readBlueprint returns false when the directory holds no fleet yet.
func (d *dataDir) readBlueprint() (Blueprint, bool, error) {
	data, err := os.ReadFile(d.file("fleet.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return Blueprint{}, false, nil
	}
	if err != nil {
		return Blueprint{}, false, fmt.Errorf("data directory: %w", err)
	}
	var b Blueprint
	if err := json.Unmarshal(data, &b); err != nil {
		return Blueprint{}, false, fmt.Errorf("%s is damaged (%w): restore it, or start a new fleet with another --data-dir", d.file("fleet.json"), err)
	}
	if b.Version != blueprintVersion {
		return Blueprint{}, false, fmt.Errorf("%s has version %d, this placed reads %d: start a new fleet with another --data-dir", d.file("fleet.json"), b.Version, blueprintVersion)
	}
	return b, true, nil
}

func (d *dataDir) writeBlueprint(b Blueprint) error {
	data, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return err
	}
	return d.write("fleet.json", data, 0o600)
}

// write replaces a file whole or not at all.
func (d *dataDir) write(name string, data []byte, mode os.FileMode) error {
	path := d.file(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := durable.WriteFile(path, data, mode); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
