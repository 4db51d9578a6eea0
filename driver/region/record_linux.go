package region

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/durable"
	"github.com/placed-dev/placed/fleet"
)

// Names in a workload's directory (doc.go says what they are).
const (
	recordFile   = "spec.json"
	socketFile   = "control.sock"
	lockFile     = "lock"
	logFile      = "log"
	oldLogFile   = "log.old"
	savedFile    = "state.region"
	oldSavedFile = "state.region.old"
	deadDir      = ".dead"
	// doomedPrefix marks a directory whose removal has begun.
	doomedPrefix = ".doomed-"
)

const recordVersion = 1

// record is what the driver must still know after a restart.
type record struct {
	Version int         `json:"version"`
	Spec    driver.Spec `json:"spec"`
	Token   fleet.Token `json:"token"`
	// Incoming: it was started to be filled. It may run by now; the process
	// knows.
	Incoming bool `json:"incoming,omitempty"`
	// Ending: its end was ordered; a process that is gone was not lost.
	Ending  bool     `json:"ending,omitempty"`
	Process identity `json:"process"`
	Backend string   `json:"backend,omitempty"`
}

// folder is the directory of one workload.
type folder string

func (f folder) path(name string) string { return filepath.Join(string(f), name) }

func (f folder) exists() bool {
	info, err := os.Stat(string(f))
	return err == nil && info.IsDir()
}

// saved says whether the folder holds a saved state.
func (f folder) saved() bool {
	_, err := os.Stat(f.path(savedFile))
	return err == nil
}

func (f folder) read() (record, error) {
	text, err := os.ReadFile(f.path(recordFile))
	if err != nil {
		return record{}, err
	}
	var r record
	if err := json.Unmarshal(text, &r); err != nil {
		return record{}, fmt.Errorf("%s: %w", f.path(recordFile), err)
	}
	if r.Version != recordVersion {
		return record{}, fmt.Errorf("%s: version %d, this program reads %d", f.path(recordFile), r.Version, recordVersion)
	}
	return r, nil
}

// write replaces the record so that a power cut leaves the old or the new one.
func (f folder) write(r record) error {
	r.Version = recordVersion
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return durable.Replace(f.path(recordFile), 0o600, func(w *os.File) error {
		_, err := w.Write(append(text, '\n'))
		return err
	})
}

// retireSaved puts the saved state out of the way before the workload runs.
func (f folder) retireSaved() error {
	err := os.Rename(f.path(savedFile), f.path(oldSavedFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("put the saved state out of the way: %w", err)
	}
	return durable.SyncDir(string(f))
}

// takeLock takes the folder's lock, or returns nil when a process lives.
func (f folder) takeLock() (*os.File, error) {
	l, err := os.OpenFile(f.path(lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(l.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return l, nil
	}
	l.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, nil
	}
	return nil, fmt.Errorf("lock %s: %w", f.path(lockFile), err)
}

// lockTime outlasts a child of this agent between fork and exec, which holds for
// a moment whatever its parent has open.
const lockTime = time.Second

// awaitLock takes the folder's lock, or says that somebody else keeps it.
func (f folder) awaitLock() (*os.File, error) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for end := time.Now().Add(lockTime); ; {
		<-timer.C
		l, err := f.takeLock()
		if l != nil || err != nil {
			return l, err
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("another process holds %s: find it with fuser", f.path(lockFile))
		}
		timer.Reset(2 * time.Millisecond)
	}
}

// lastLog returns the last line of the log: where a process says why it ended.
func (f folder) lastLog() string {
	text, err := os.ReadFile(f.path(logFile))
	if err != nil {
		return ""
	}
	if len(text) > 4096 {
		text = text[len(text)-4096:]
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[len(lines)-1]
}

// fileName writes an id as a file name: ids may contain "/" and begin with ".",
// but never contain "+" or "=".
func fileName(id fleet.WorkloadID) string {
	name := strings.ReplaceAll(string(id), "/", "+")
	if strings.HasPrefix(name, ".") {
		name = "=" + name
	}
	return name
}

// workloadID is the inverse of fileName; false for other names in the directory.
func workloadID(name string) (fleet.WorkloadID, bool) {
	id := fleet.WorkloadID(strings.ReplaceAll(strings.TrimPrefix(name, "="), "+", "/"))
	if id.Validate() != nil || fileName(id) != name {
		return "", false
	}
	return id, true
}
