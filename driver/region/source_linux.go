package region

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

// source reads the state of a living workload and follows its changes.
//
// With the compare tracker, ReadAt shows the state as of the last Dirty, also
// when the workload is frozen: call Dirty once after Freeze, as any copy must.
type source struct {
	driver *Driver
	slot   *slot
	size   int64

	mu      sync.RWMutex // writers: Dirty, letting go; readers: ReadAt
	memory  *memory
	tracker tracker
	pidfd   int // its own: the slot's may be closed when the process has died
	closed  bool
}

var _ driver.Source = (*source)(nil)

// Source opens the workload for copying. A frozen one can be opened, too: a
// restarted agent must be able to thaw or discard what it finds.
func (d *Driver) Source(ctx context.Context, id fleet.WorkloadID) (driver.Source, error) {
	ctx, cancel := d.bound(ctx)
	defer cancel()
	s, leave, err := d.enter(ctx, id)
	if err != nil {
		return nil, fail("open source", id, err, "")
	}
	defer leave()
	found, err := d.observe(ctx, s)
	switch {
	case err != nil:
		return nil, fail("open source", id, err, "")
	case s.copying():
		return nil, fail("open source", id, errCopying, "one copy at a time")
	case found.State != driver.Running && found.State != driver.Frozen:
		return nil, fail("open source", id, fmt.Errorf("it is %s", found.State), "only what has run here can be copied")
	case s.process == nil:
		return nil, fail("open source", id, errors.New("its process does not answer"), "look at "+s.folder.path(logFile))
	}
	src, err := d.newSource(ctx, s)
	if err != nil {
		return nil, fail("open source", id, err, "")
	}
	s.source = src
	return src, nil
}

func (d *Driver) newSource(ctx context.Context, s *slot) (*source, error) {
	m, err := s.openMemory(ctx)
	if err != nil {
		return nil, err
	}
	t, err := d.newTracker(s, m)
	if err != nil {
		m.close()
		return nil, err
	}
	pidfd, err := unix.FcntlInt(uintptr(s.process.pidfd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.close()
		m.close()
		return nil, err
	}
	return &source{driver: d, slot: s, size: m.size, memory: m, tracker: t, pidfd: pidfd}, nil
}

// Size of the state in bytes.
func (s *source) Size() int64 { return s.size }

// Tracker names how changes are found.
func (s *source) Tracker() string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.tracker.name()
}

// Dirty returns what changed since the last call.
func (s *source) Dirty(ctx context.Context) ([]driver.Range, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return nil, s.fail("find changes", err)
	}
	runs, err := s.tracker.dirty(ctx)
	if err == nil || exited(s.pidfd) {
		err = s.usable() // it may have died under the scan
	}
	if errors.Is(err, driver.ErrTrackingLost) {
		err = s.trackAgain(err)
	}
	if err != nil {
		return nil, s.fail("find changes", err)
	}
	return runs, nil
}

// trackAgain makes the next Dirty start over: with the same tracker over what
// the mapping is now, or by comparing.
func (s *source) trackAgain(lost error) error {
	t, ok := s.tracker.(*pagemap)
	if !ok {
		return lost
	}
	err := t.register()
	if err == nil {
		return lost
	}
	if s.driver.config.ForceTracker == TrackerPagemapScan {
		return fmt.Errorf("change tracking is lost and cannot be set up again: %w", err)
	}
	c, compareErr := newComparer(s.memory)
	if compareErr != nil {
		return errors.Join(err, compareErr)
	}
	s.driver.log.Warn("change tracking cannot be set up again: comparing with a copy instead", "workload", s.slot.id, "error", err)
	t.close()
	s.tracker = c
	return lost
}

// ReadAt reads state.
func (s *source) ReadAt(p []byte, off int64) (int, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(); err != nil {
		return 0, s.fail("read", err)
	}
	return s.tracker.readAt(p, off)
}

// usable fails when the source was let go or its workload has died.
func (s *source) usable() error {
	if s.closed {
		return errClosed
	}
	if exited(s.pidfd) {
		return ErrDied
	}
	return nil
}

var errClosed = errors.New("the copy was closed")

// Freeze returns once no writer of the workload is active.
func (s *source) Freeze(ctx context.Context) error {
	return s.fail("freeze", s.control(ctx, func(ctx context.Context, p *process) error {
		_, _, err := p.ask(ctx, controlRequest{Op: "freeze"})
		return err
	}))
}

// Thaw undoes Freeze. A state that was saved meanwhile is put out of the way
// first: it must not be newer than nothing.
func (s *source) Thaw(ctx context.Context) error {
	return s.fail("thaw", s.control(ctx, func(ctx context.Context, p *process) error {
		if err := p.folder.retireSaved(); err != nil {
			return err
		}
		_, _, err := p.ask(ctx, controlRequest{Op: "thaw"})
		return err
	}))
}

// Discard ends the frozen workload and forgets it. A workload that is not
// frozen is refused; one that has died meanwhile is only cleared away.
func (s *source) Discard(ctx context.Context) error {
	return s.fail("discard", s.control(ctx, func(ctx context.Context, p *process) error {
		a, _, err := p.ask(ctx, controlRequest{Op: "hello"})
		if err != nil && p.alive() {
			return err
		}
		if err == nil && a.State != string(driver.Frozen) {
			return fmt.Errorf("it is %s, not frozen", a.State)
		}
		s.letGo() // our own hold on the memory
		return s.driver.destroy(ctx, s.slot)
	}))
}

// control does something with the process, alone in its slot.
func (s *source) control(ctx context.Context, do func(context.Context, *process) error) error {
	ctx, cancel := s.driver.bound(ctx)
	defer cancel()
	_, leave, err := s.driver.enter(ctx, s.slot.id)
	if err != nil {
		return err
	}
	defer leave()
	switch {
	case s.isClosed():
		return errClosed
	case s.slot.process == nil:
		return ErrDied
	}
	return do(ctx, s.slot.process)
}

func (s *source) isClosed() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.closed
}

// Close lets go without touching the workload.
func (s *source) Close() error {
	s.letGo()
	return nil
}

func (s *source) letGo() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	s.tracker.close()
	s.memory.close()
	unix.Close(s.pidfd)
}

func (s *source) fail(op string, err error) error { return fail(op, s.slot.id, err, "") }
