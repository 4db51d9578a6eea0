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

// sink fills a workload that has never run here.
type sink struct {
	driver *Driver
	slot   *slot
	size   int64

	mu     sync.RWMutex // readers: WriteAt, ReadAt; writers: the rest
	memory *memory
	pidfd  int
	// sealed: it was activated, or may have been. A write that came late
	// would change a running workload behind its back.
	sealed bool
	closed bool
}

var _ driver.Sink = (*sink)(nil)

// Sink makes an incoming workload that a migration will fill.
func (d *Driver) Sink(ctx context.Context, spec driver.Spec, token fleet.Token) (driver.Sink, error) {
	ctx, cancel := d.bound(ctx)
	defer cancel()
	k, err := d.makeSink(ctx, spec, token)
	if err != nil {
		return nil, fail("make room", spec.ID, err, "")
	}
	return k, nil
}

func (d *Driver) makeSink(ctx context.Context, spec driver.Spec, token fleet.Token) (*sink, error) {
	if err := checkSpec(&spec); err != nil {
		return nil, err
	}
	s, leave, err := d.enter(ctx, spec.ID)
	if err != nil {
		return nil, err
	}
	defer leave()
	switch found, err := d.observe(ctx, s); {
	case err == nil:
		return nil, fmt.Errorf("it is %s here already", found.State)
	case !errors.Is(err, driver.ErrNotFound):
		return nil, err
	}
	if _, err := d.launch(ctx, s, record{Spec: spec, Token: token}, modeIncoming); err != nil {
		return nil, err
	}
	k, err := d.newSink(ctx, s, driver.Incoming)
	if err != nil {
		return nil, errors.Join(err, d.destroy(ctx, s))
	}
	return k, nil
}

// OpenSink reopens what a restarted agent finds: incoming, or already running
// because the agent died before it learned so. The latter can only be activated
// again, which changes nothing.
func (d *Driver) OpenSink(ctx context.Context, id fleet.WorkloadID) (driver.Sink, error) {
	ctx, cancel := d.bound(ctx)
	defer cancel()
	s, leave, err := d.enter(ctx, id)
	if err != nil {
		return nil, fail("open sink", id, err, "")
	}
	defer leave()
	found, err := d.observe(ctx, s)
	switch {
	case err != nil:
		return nil, fail("open sink", id, err, "")
	case s.process == nil:
		return nil, fail("open sink", id, errors.New("its process does not answer"), "look at "+s.folder.path(logFile))
	case found.State != driver.Incoming && found.State != driver.Running:
		return nil, fail("open sink", id, fmt.Errorf("it is %s", found.State), "")
	}
	k, err := d.newSink(ctx, s, found.State)
	if err != nil {
		return nil, fail("open sink", id, err, "")
	}
	return k, nil
}

func (d *Driver) newSink(ctx context.Context, s *slot, state driver.State) (*sink, error) {
	m, err := s.openMemory(ctx)
	if err != nil {
		return nil, err
	}
	pidfd, err := unix.FcntlInt(uintptr(s.process.pidfd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		m.close()
		return nil, err
	}
	return &sink{driver: d, slot: s, size: m.size, memory: m, pidfd: pidfd, sealed: state != driver.Incoming}, nil
}

// WriteAt fills state.
func (k *sink) WriteAt(p []byte, off int64) (int, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	err := k.usable()
	switch {
	case err != nil:
	case k.sealed:
		err = errors.New("it was activated: its state is its own")
	case off < 0 || int64(len(p)) > k.size-off:
		err = fmt.Errorf("%d bytes at %d are outside the state of %d bytes", len(p), off, k.size)
	default:
		return k.memory.file.WriteAt(p, off)
	}
	return 0, k.fail("write", err)
}

// ReadAt reads back what was written.
func (k *sink) ReadAt(p []byte, off int64) (int, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if err := k.usable(); err != nil {
		return 0, k.fail("read", err)
	}
	return k.memory.file.ReadAt(p, off)
}

func (k *sink) usable() error {
	if k.closed {
		return errClosed
	}
	if exited(k.pidfd) {
		return ErrDied
	}
	return nil
}

// Activate makes the workload run from the state written.
func (k *sink) Activate(ctx context.Context) (driver.Found, error) {
	found, err := k.activate(ctx)
	return found, k.fail("activate", err)
}

func (k *sink) activate(ctx context.Context) (driver.Found, error) {
	ctx, cancel := k.driver.bound(ctx)
	defer cancel()
	s, leave, err := k.driver.enter(ctx, k.slot.id)
	if err != nil {
		return driver.Found{}, err
	}
	defer leave()
	if s.process == nil {
		return driver.Found{}, ErrDied
	}
	rec, err := s.folder.read()
	if err != nil {
		return driver.Found{}, err
	}
	if err := k.seal(); err != nil {
		return driver.Found{}, err
	}
	// Nothing is written to disk here: clients wait. The token is in the
	// record since the sink was made; the next inventory notes the rest.
	a, _, err := s.process.ask(ctx, controlRequest{Op: "activate", Token: tokenText(rec.Token)})
	if err != nil {
		if errors.Is(err, errRefused) && a.State == string(driver.Incoming) {
			k.unseal()
		}
		return driver.Found{}, err
	}
	return s.found(rec, a), nil
}

// seal ends writing before the request leaves: after it nobody knows.
func (k *sink) seal() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sealed = true
	return k.usable()
}

// unseal allows to fill again what the process refused to run from.
func (k *sink) unseal() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sealed = false
}

// Discard ends it; it is refused if the workload runs.
func (k *sink) Discard(ctx context.Context) error {
	return k.fail("discard", k.discard(ctx))
}

func (k *sink) discard(ctx context.Context) error {
	ctx, cancel := k.driver.bound(ctx)
	defer cancel()
	s, leave, err := k.driver.enter(ctx, k.slot.id)
	if err != nil {
		return err
	}
	defer leave()
	found, err := k.driver.observe(ctx, s)
	switch {
	case errors.Is(err, driver.ErrNotFound):
		k.letGo()
		return nil
	case err != nil:
		return err
	case found.State != driver.Incoming:
		return fmt.Errorf("it is %s here: only what has never run may be discarded", found.State)
	}
	k.letGo()
	return k.driver.destroy(ctx, s)
}

// Close lets go without touching the workload.
func (k *sink) Close() error {
	k.letGo()
	return nil
}

func (k *sink) letGo() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return
	}
	k.closed = true
	k.memory.close()
	unix.Close(k.pidfd)
}

func (k *sink) fail(op string, err error) error { return fail(op, k.slot.id, err, "") }
