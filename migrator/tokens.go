package migrator

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/placed-dev/placed/cutover"
	"github.com/placed-dev/placed/durable"
	"github.com/placed-dev/placed/fleet"
)

// tokenMagic opens the file; its last byte is the version of the format.
const tokenMagic = "placedt\x01"

// compactAt bytes the log is rewritten with one record per workload.
const compactAt = 1 << 20

// tokens is the host's token store: an append-only log of records, the newest of
// each workload in memory. A Put returns after the record is on disk.
type tokens struct {
	path string

	mu   sync.Mutex // guards all below
	file *os.File
	size int64
	last map[fleet.WorkloadID]Record
	// broken: a write or fsync failed. What the disk holds is unknown from
	// then on, so no further word may be given.
	broken error
	closed bool
}

// openTokens reads the store, cuts a torn last record off, and locks it against
// a second agent.
func openTokens(dir string) (*tokens, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("token store: %w", err)
	}
	t := &tokens{path: filepath.Join(dir, "tokens"), last: map[fleet.WorkloadID]Record{}}
	file, err := os.OpenFile(t.path, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("token store: %w", err)
	}
	t.file = file
	if err := t.load(); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return t, nil
}

func (t *tokens) load() error {
	if err := unix.Flock(int(t.file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("token store %s is in use by another agent of this host (%w): stop it first", t.path, err)
	}
	data, err := os.ReadFile(t.path)
	if err != nil {
		return fmt.Errorf("token store: %w", err)
	}
	good, err := t.replay(data)
	if err != nil {
		return err
	}
	if good == 0 {
		// New, or a crash before the first fsync: nothing was ever said.
		return t.rewrite()
	}
	if good < int64(len(data)) {
		if err := t.file.Truncate(good); err != nil {
			return fmt.Errorf("token store %s: cutting the torn last record off: %w", t.path, err)
		}
	}
	t.size = good
	if err := t.file.Sync(); err != nil {
		return fmt.Errorf("token store %s: %w", t.path, err)
	}
	return nil
}

// replay returns how many bytes are good. Only the last record can be torn, for
// each was fsynced before the next began; damage before it is a disk's fault and
// must not be taken for "nothing was said".
func (t *tokens) replay(data []byte) (int64, error) {
	if len(data) < len(tokenMagic) {
		if tokenMagic[:len(data)] != string(data) {
			return 0, t.damaged(0, errors.New("it does not begin like a token store"))
		}
		return 0, nil
	}
	if string(data[:len(tokenMagic)]) != tokenMagic {
		return 0, t.damaged(0, fmt.Errorf("it begins with %q, want %q", data[:len(tokenMagic)], tokenMagic))
	}
	rest := data[len(tokenMagic):]
	for len(rest) > 0 {
		r, after, err := readRecord(rest)
		at := int64(len(data) - len(rest))
		if err == nil {
			t.last[r.Workload] = r
			rest = after
			continue
		}
		if len(rest) > recordHeader+maxRecord {
			return 0, t.damaged(at, err)
		}
		for skip := 1; skip < len(rest); skip++ {
			if _, _, found := readRecord(rest[skip:]); found == nil {
				return 0, t.damaged(at, err)
			}
		}
		return at, nil
	}
	return int64(len(data)), nil
}

func (t *tokens) damaged(at int64, err error) error {
	return fmt.Errorf("token store %s is damaged at byte %d: %w: bring the file back from a backup, or drain this host, "+
		"prove that none of its workloads runs twice, remove the file and register the host anew", t.path, at, err)
}

// Get returns the record of a workload.
func (t *tokens) Get(id fleet.WorkloadID) (Record, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r, ok := t.last[id]
	return r, ok
}

// All returns every record, sorted by workload.
func (t *tokens) All() []Record {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]Record, 0, len(t.last))
	for _, id := range slices.Sorted(maps.Keys(t.last)) {
		out = append(out, t.last[id])
	}
	return out
}

// Put stores a record and returns once it is on disk. It refuses an older token
// and a word that would take back a final one.
func (t *tokens) Put(r Record) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.broken != nil {
		return fmt.Errorf("token store %s failed before and takes no more words; check the disk, then restart the agent: %w", t.path, t.broken)
	}
	if old, ok := t.last[r.Workload]; ok {
		if err := follows(old, r); err != nil {
			return err
		}
	}
	line, err := appendRecord(nil, r)
	if err != nil {
		return err
	}
	if _, err := t.file.WriteAt(line, t.size); err != nil {
		return t.fail(err)
	}
	if err := t.file.Sync(); err != nil {
		return t.fail(err)
	}
	t.size += int64(len(line))
	t.last[r.Workload] = r
	if t.size > compactAt && t.size > 4*int64(len(t.last))*maxRecord/8 {
		return t.rewrite()
	}
	return nil
}

func (t *tokens) fail(err error) error {
	t.broken = err
	return fmt.Errorf("token store %s: %w", t.path, err)
}

// follows says whether r may replace old.
func follows(old, r Record) error {
	if r.Token == old.Token {
		if r.Source != old.Source {
			return fmt.Errorf("workload %s: this host cannot be both ends of token %s", r.Workload, r.Token)
		}
		if old.Word == cutover.Refused && r.Word != cutover.Refused {
			return fmt.Errorf("workload %s: %s under token %s cannot be taken back to %s", r.Workload, old.Word, r.Token, r.Word)
		}
		return nil
	}
	if !r.Token.NewerThan(old.Token) {
		return fmt.Errorf("workload %s: token %s, stored is %s: %w", r.Workload, r.Token, old.Token, ErrStaleToken)
	}
	return nil
}

// rewrite replaces the file by one with a record per workload. The caller holds
// the lock or is alone.
func (t *tokens) rewrite() error {
	data := []byte(tokenMagic)
	for _, id := range slices.Sorted(maps.Keys(t.last)) {
		var err error
		if data, err = appendRecord(data, t.last[id]); err != nil {
			return err
		}
	}
	next, err := os.OpenFile(t.path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return t.fail(err)
	}
	if err := t.swap(next, data); err != nil {
		return errors.Join(t.fail(err), next.Close())
	}
	return nil
}

func (t *tokens) swap(next *os.File, data []byte) error {
	if _, err := next.Write(data); err != nil {
		return err
	}
	if err := next.Sync(); err != nil {
		return err
	}
	// Locked before it has the name: a second agent never finds it free.
	if err := unix.Flock(int(next.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return err
	}
	if err := os.Rename(t.path+".new", t.path); err != nil {
		return err
	}
	if err := durable.SyncDir(filepath.Dir(t.path)); err != nil {
		return err
	}
	old := t.file
	t.file, t.size = next, int64(len(data))
	return old.Close()
}

// Close lets go of the file.
func (t *tokens) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	t.closed = true
	if t.broken == nil {
		t.broken = os.ErrClosed
	}
	return t.file.Close()
}
