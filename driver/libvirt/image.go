package libvirt

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// qcow2Magic and the place of the virtual size are those of QEMU's
// docs/interop/qcow2.txt: a big-endian 64-bit number at byte 24.
const (
	qcow2Magic = "QFI\xfb"
	qcow2Size  = 24
)

// imageSize reads how large the guest sees an image, 0 if that cannot be told. It
// asks the file and not the hypervisor, whose answer may wait for the guest.
func imageSize(path, format string) int64 {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	if format != "qcow2" {
		info, err := f.Stat()
		if err != nil {
			return 0
		}
		return info.Size()
	}
	head := make([]byte, qcow2Size+8)
	if _, err := f.ReadAt(head, 0); err != nil || !strings.HasPrefix(string(head), qcow2Magic) {
		return 0
	}
	return int64(binary.BigEndian.Uint64(head[qcow2Size:]))
}

// arrival is what was made here for a domain that is expected, so that it can be
// removed when the domain does not come.
type arrival struct {
	Token fleet.Token `json:"token"`
	UUID  string      `json:"uuid"`
	Made  []string    `json:"made"`
}

func (c Config) arrivalFile(id fleet.WorkloadID) string {
	return filepath.Join(c.Dir, "arrivals", strings.ReplaceAll(string(id), "/", "%2F"))
}

func (c Config) writeArrival(id fleet.WorkloadID, a arrival) error {
	if err := putRecord(c.arrivalFile(id), a); err != nil {
		return fmt.Errorf("note of an arrival: %w", err)
	}
	return nil
}

func (c Config) readArrival(id fleet.WorkloadID) (a arrival, ok bool, err error) {
	data, err := os.ReadFile(c.arrivalFile(id))
	if errors.Is(err, fs.ErrNotExist) {
		return a, false, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &a)
	}
	if err != nil {
		return a, false, fmt.Errorf("note of the arrival of %s: %w", id, err)
	}
	return a, true, nil
}

// keepArrival forgets what was made: it belongs to a domain that runs here.
func (c Config) keepArrival(id fleet.WorkloadID) error {
	if err := os.Remove(c.arrivalFile(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("note of the arrival of %s: %w", id, err)
	}
	return nil
}

// dropArrival removes what was made here under the token, images first: without
// the note nobody would know whose they are.
func (c Config) dropArrival(id fleet.WorkloadID, token fleet.Token) error {
	a, ok, err := c.readArrival(id)
	if err != nil || !ok || a.Token != token {
		return err
	}
	for _, path := range a.Made {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("an image made for a move that came to nothing: %w", err)
		}
	}
	return c.keepArrival(id)
}

// arrivalAge is how old the note of an arrival is at least before it is taken for
// a remainder: by then its move has begun, or never will.
const arrivalAge = time.Minute

// arrivals lists the workloads with a note older than arrivalAge.
func (c Config) arrivals(now time.Time) []fleet.WorkloadID {
	entries, err := os.ReadDir(filepath.Join(c.Dir, "arrivals"))
	if err != nil {
		return nil // none was ever made
	}
	var out []fleet.WorkloadID
	for _, e := range entries {
		if info, err := e.Info(); err == nil && now.Sub(info.ModTime()) > arrivalAge {
			out = append(out, fleet.WorkloadID(strings.ReplaceAll(e.Name(), "%2F", "/")))
		}
	}
	slices.Sort(out)
	return out
}

// leftover is a file that a domain has left behind, as it was then. The path alone
// would not do: by now another storage may be mounted there, with the live disk.
type leftover struct {
	Path  string    `json:"path"`
	Inode uint64    `json:"inode"`
	Size  int64     `json:"size"`
	Time  time.Time `json:"time"` // of the last change
}

// leftovers describes files; one that is not there was not left.
func leftovers(paths []string) (out []leftover) {
	for _, path := range paths {
		if l, err := describe(path); err == nil {
			out = append(out, l)
		}
	}
	return out
}

func describe(path string) (leftover, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return leftover{}, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() {
		return leftover{}, fmt.Errorf("%s is no file", path)
	}
	return leftover{Path: path, Inode: stat.Ino, Size: info.Size(), Time: info.ModTime().UTC()}, nil
}

// mayReplace says whether a file here is what a domain left behind when it was
// given to another host, untouched since; then it is older than what comes back. Any
// other file in the way is somebody else's.
func mayReplace(dir, uuid, path string) (bool, error) {
	records, err := readElsewhere(dir)
	if err != nil {
		return false, err
	}
	now, err := describe(path)
	if err != nil {
		return false, nil
	}
	for _, r := range records {
		if r.UUID == uuid && slices.Contains(r.Left, now) {
			return true, nil
		}
	}
	return false, nil
}
