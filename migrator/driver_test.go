package migrator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

// machine is what a host's workloads live in. It outlives every life of the
// agent, as real workloads do.
type machine struct {
	host *host
	mu   sync.Mutex
	has  map[fleet.WorkloadID]*region
}

type region struct {
	spec    driver.Spec
	token   fleet.Token
	state   driver.State
	data    []byte
	written []bool // ever, by page
	dirty   []bool // since the last Dirty
	first   bool   // the next Dirty is the first of its Source
	lose    int    // Dirty calls until tracking is lost; 0 = never
	dieAt   int    // ReadAt calls until the workload dies; 0 = never
	writes  int    // changes made so far
}

func newRegion(spec driver.Spec, token fleet.Token, state driver.State) *region {
	pages := (spec.Size + pageSize - 1) / pageSize
	return &region{spec: spec, token: token, state: state, data: make([]byte, spec.Size),
		written: make([]bool, pages), dirty: make([]bool, pages)}
}

// mutate is one write of a running workload.
func (m *machine) mutate(id fleet.WorkloadID, r *rand.Rand, hot int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w := m.has[id]
	if w == nil || w.state != driver.Running {
		return
	}
	at := r.Int64N(min(hot, w.spec.Size))
	w.data[at] = byte(r.Uint32())
	w.written[at/pageSize], w.dirty[at/pageSize] = true, true
	w.writes++
}

func (m *machine) state(id fleet.WorkloadID) driver.State {
	m.mu.Lock()
	defer m.mu.Unlock()
	if w := m.has[id]; w != nil {
		return w.state
	}
	return ""
}

// agentDriver is the driver as one life of the agent sees it.
type agentDriver struct {
	*machine
	life *life
}

var _ driver.Driver = agentDriver{}

func (d agentDriver) Name() string { return "test" }

func (d agentDriver) Inventory(context.Context) ([]driver.Found, error) {
	if d.life.dead() {
		return nil, errDead
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []driver.Found
	for _, w := range d.has {
		out = append(out, w.found())
	}
	return out, nil
}

func (w *region) found() driver.Found {
	return driver.Found{Spec: w.spec, State: w.state, Token: w.token}
}

// effect runs f between the gates of the life.
func (d agentDriver) effect(op string, id fleet.WorkloadID, f func(w *region) error) error {
	if err := d.life.gate(op, true); err != nil {
		return err
	}
	d.mu.Lock()
	w := d.has[id]
	if w == nil {
		d.mu.Unlock()
		return driver.ErrNotFound
	}
	err := f(w)
	d.mu.Unlock()
	if after := d.life.gate(op, false); after != nil {
		return after
	}
	return err
}

func (d agentDriver) Start(_ context.Context, spec driver.Spec, _ fleet.Token) (driver.Found, error) {
	var f driver.Found
	err := d.effect("start", spec.ID, func(w *region) error {
		if w.state != driver.Stopped {
			return fmt.Errorf("it is %s", w.state)
		}
		w.state = driver.Running
		d.host.net.oneRuns(spec.ID, d.machine)
		f = w.found()
		return nil
	})
	return f, err
}

func (d agentDriver) Save(_ context.Context, id fleet.WorkloadID) error {
	return d.effect("save", id, func(w *region) error { w.state = driver.Stopped; return nil })
}

func (d agentDriver) Stop(_ context.Context, id fleet.WorkloadID) error {
	return d.effect("stop", id, func(*region) error { delete(d.has, id); return nil })
}

func (d agentDriver) Inspect(context.Context, fleet.WorkloadID) ([]driver.Blocker, error) {
	return d.host.blockers, nil
}

func (d agentDriver) Source(_ context.Context, id fleet.WorkloadID) (driver.Source, error) {
	s := &testSource{d: d, id: id}
	return s, d.effect("source", id, func(w *region) error {
		w.first = true
		s.size = w.spec.Size
		return nil
	})
}

func (d agentDriver) Sink(_ context.Context, spec driver.Spec, token fleet.Token) (driver.Sink, error) {
	if err := d.life.gate("sink", true); err != nil {
		return nil, err
	}
	d.mu.Lock()
	if d.has[spec.ID] != nil {
		d.mu.Unlock()
		return nil, errors.New("it is here already")
	}
	d.has[spec.ID] = newRegion(spec, token, driver.Incoming)
	d.mu.Unlock()
	return testSink{d, spec.ID}, d.life.gate("sink", false)
}

func (d agentDriver) OpenSink(_ context.Context, id fleet.WorkloadID) (driver.Sink, error) {
	return testSink{d, id}, d.effect("opensink", id, func(*region) error { return nil })
}

type testSource struct {
	d    agentDriver
	id   fleet.WorkloadID
	size int64
}

func (s *testSource) Size() int64     { return s.size }
func (s *testSource) Tracker() string { return "bitmap" }
func (s *testSource) Close() error    { return nil }

func (s *testSource) Dirty(context.Context) ([]driver.Range, error) {
	var out []driver.Range
	err := s.d.effect("dirty", s.id, func(w *region) error {
		if w.lose > 0 {
			if w.lose--; w.lose == 0 {
				clear(w.dirty) // what was dirty is forgotten
				return driver.ErrTrackingLost
			}
		}
		pages := w.dirty
		if w.first {
			pages, w.first = w.written, false
		}
		for n, dirty := range pages {
			if dirty {
				at := int64(n) * pageSize
				out = append(out, driver.Range{Offset: at, Length: min(pageSize, w.spec.Size-at)})
			}
		}
		clear(w.dirty)
		return nil
	})
	return out, err
}

func (s *testSource) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	err := s.d.effect("read", s.id, func(w *region) error {
		if w.dieAt > 0 {
			if w.dieAt--; w.dieAt == 0 {
				delete(s.d.has, s.id)
				return errors.New("the process has ended")
			}
		}
		n = copy(p, w.data[off:])
		return nil
	})
	return n, err
}

func (s *testSource) Freeze(context.Context) error {
	return s.d.effect("freeze", s.id, func(w *region) error {
		w.state = driver.Frozen
		if !s.d.host.net.blind {
			s.d.host.net.setFrozen(s.id, bytes.Clone(w.data))
		}
		return nil
	})
}

func (s *testSource) Thaw(context.Context) error {
	return s.d.effect("thaw", s.id, func(w *region) error {
		if w.state != driver.Frozen {
			return fmt.Errorf("it is %s", w.state)
		}
		w.state = driver.Running
		s.d.host.net.oneRuns(s.id, s.d.machine)
		return nil
	})
}

func (s *testSource) Discard(context.Context) error {
	return s.d.effect("discard", s.id, func(w *region) error {
		if w.state != driver.Frozen {
			return fmt.Errorf("it is %s", w.state)
		}
		delete(s.d.has, s.id)
		return nil
	})
}

type testSink struct {
	d  agentDriver
	id fleet.WorkloadID
}

func (k testSink) Close() error { return nil }

func (k testSink) WriteAt(p []byte, off int64) (int, error) {
	n := 0
	return n, k.d.effect("write", k.id, func(w *region) error {
		if w.state != driver.Incoming {
			return fmt.Errorf("it is %s", w.state)
		}
		n = copy(w.data[off:], p)
		w.written[off/pageSize], w.dirty[off/pageSize] = true, true
		return nil
	})
}

func (k testSink) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	return n, k.d.effect("readback", k.id, func(w *region) error { n = copy(p, w.data[off:]); return nil })
}

func (k testSink) Activate(context.Context) (driver.Found, error) {
	var f driver.Found
	err := k.d.effect("activate", k.id, func(w *region) error {
		if w.state == driver.Incoming {
			w.state = driver.Running
			k.d.host.net.activated(k.id, k.d.machine, w.data)
		}
		f = w.found()
		return nil
	})
	return f, err
}

func (k testSink) Discard(context.Context) error {
	return k.d.effect("discardsink", k.id, func(w *region) error {
		if w.state != driver.Incoming {
			return fmt.Errorf("it is %s", w.state)
		}
		delete(k.d.has, k.id)
		return nil
	})
}

// die ends the workload's process.
func (m *machine) die(id fleet.WorkloadID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.has[id].dieAt = 1
}
