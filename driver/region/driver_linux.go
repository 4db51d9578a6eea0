package region

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	hclog "github.com/hashicorp/go-hclog"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

// Driver runs region workloads on this host. It has no goroutines.
type Driver struct {
	config Config
	log    hclog.Logger

	mu    sync.Mutex // guards slots
	slots map[fleet.WorkloadID]*slot
}

var _ driver.Driver = (*Driver)(nil)

// slot serializes everything that is done to one workload: an inventory must
// not see a workload that is half started or half ended.
type slot struct {
	id     fleet.WorkloadID
	folder folder
	busy   chan struct{} // holds one value while somebody is inside

	// Guarded by busy.
	process *process // nil: none known
	source  *source  // the one that is open
	silent  error    // why the process did not answer the last observation
}

// New makes sure that the directory is there and finishes removals that an
// earlier agent began. It starts nothing: Inventory finds what runs.
func New(c Config) (*Driver, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("region driver: %w", err)
	}
	d := &Driver{config: c, log: c.Logger, slots: map[fleet.WorkloadID]*slot{}}
	entries, err := os.ReadDir(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("region driver: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), doomedPrefix) {
			if err := os.RemoveAll(filepath.Join(c.Dir, e.Name())); err != nil {
				return nil, fmt.Errorf("region driver: finish a removal: %w", err)
			}
		}
	}
	return d, nil
}

// Name is the word in driver.Spec.Driver.
func (d *Driver) Name() string { return Name }

// Close lets go of every workload without touching it. The Driver and what it
// opened must not be used afterwards.
func (d *Driver) Close() error {
	d.mu.Lock()
	slots := make([]*slot, 0, len(d.slots))
	for _, s := range d.slots {
		slots = append(slots, s)
	}
	d.mu.Unlock()
	for _, s := range slots {
		s.busy <- struct{}{}
		if s.source != nil {
			s.source.letGo()
		}
		s.forget()
		<-s.busy
	}
	return nil
}

// enter takes the slot of a workload, waiting for whoever is inside.
func (d *Driver) enter(ctx context.Context, id fleet.WorkloadID) (*slot, func(), error) {
	if err := id.Validate(); err != nil {
		return nil, nil, err
	}
	d.mu.Lock()
	s := d.slots[id]
	if s == nil {
		s = &slot{id: id, folder: folder(filepath.Join(d.config.Dir, fileName(id))), busy: make(chan struct{}, 1)}
		d.slots[id] = s
	}
	d.mu.Unlock()
	select {
	case s.busy <- struct{}{}:
		return s, func() { <-s.busy }, nil
	case <-ctx.Done():
		return nil, nil, fmt.Errorf("another operation on it is under way: %w", ctx.Err())
	}
}

// bound gives every operation a deadline.
func (d *Driver) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, d.config.Timeout)
}

// fail wraps an error for the operator.
func fail(op string, id fleet.WorkloadID, err error, hint string) error {
	if err == nil {
		return nil
	}
	var inner *driver.Error
	if errors.As(err, &inner) {
		return err
	}
	return &driver.Error{Driver: Name, Workload: id, Op: op, Hint: hint, Err: err}
}

// forget lets go of a process that has ended or is to be left alone.
func (s *slot) forget() {
	s.silent = nil
	if s.process != nil {
		s.process.release()
		s.process = nil
	}
}

// Inventory observes every workload of this driver on this host. One that died
// without a saved state is absent: its directory is moved to ".dead".
func (d *Driver) Inventory(ctx context.Context) ([]driver.Found, error) {
	entries, err := os.ReadDir(d.config.Dir)
	if err != nil {
		return nil, fmt.Errorf("region driver: inventory: %w", err)
	}
	var all []driver.Found
	for _, e := range entries {
		id, ok := workloadID(e.Name())
		if !ok || !e.IsDir() {
			continue
		}
		found, err := d.lookAt(ctx, id)
		if errors.Is(err, driver.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fail("inventory", id, err, "")
		}
		all = append(all, found)
	}
	slices.SortFunc(all, func(a, b driver.Found) int { return strings.Compare(string(a.Spec.ID), string(b.Spec.ID)) })
	return all, nil
}

func (d *Driver) lookAt(ctx context.Context, id fleet.WorkloadID) (driver.Found, error) {
	ctx, cancel := d.bound(ctx)
	defer cancel()
	s, leave, err := d.enter(ctx, id)
	if err != nil {
		return driver.Found{}, err
	}
	defer leave()
	return d.observe(ctx, s)
}

// Inspect lists what would keep the workload from moving.
func (d *Driver) Inspect(ctx context.Context, id fleet.WorkloadID) ([]driver.Blocker, error) {
	ctx, cancel := d.bound(ctx)
	defer cancel()
	s, leave, err := d.enter(ctx, id)
	if err != nil {
		return nil, fail("inspect", id, err, "")
	}
	defer leave()
	found, err := d.observe(ctx, s)
	if err != nil {
		return nil, fail("inspect", id, err, "")
	}
	var blockers []driver.Blocker
	if found.State != driver.Running {
		blockers = append(blockers, driver.Blocker{
			Reason: fmt.Sprintf("it is %s, not running", found.State),
			Remedy: "start it, or let the migration under way end",
		})
	}
	if s.copying() {
		blockers = append(blockers, driver.Blocker{Reason: errCopying.Error(), Remedy: "wait for that migration to end"})
	}
	if s.silent != nil {
		blockers = append(blockers, driver.Blocker{
			Reason: fmt.Sprintf("process %d does not answer on its control socket: %v", found.PID, s.silent),
			Remedy: fmt.Sprintf("look at %s and at the process; continue it if it was stopped by a signal", s.folder.path(logFile)),
		})
	}
	return blockers, nil
}
