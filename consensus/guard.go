package consensus

import (
	"errors"
	"runtime"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// guard makes the node stop rather than go on with a store that fails or hangs.
// Raft alone does not: a leader whose disk hangs keeps leading and freezes all
// writes (hashicorp/raft #503), a full disk leaves a cluster without a leader
// (#614) or goes unnoticed on a follower.
type guard struct {
	path               string
	stall, deleteStall time.Duration
	onFatal            func(error)

	mu       sync.Mutex
	err      error
	opened   bool
	failed   chan struct{} // closed with the first fatal error
	released chan struct{} // closed when the node has ended
}

func newGuard(path string, t Timeouts, onFatal func(error)) *guard {
	return &guard{
		path: path, stall: t.StoreStall, deleteStall: t.DeleteStall, onFatal: onFatal,
		failed: make(chan struct{}), released: make(chan struct{}),
	}
}

// fail records the first fatal error and reports it; later ones are its echo.
func (g *guard) fail(err *StoreError) {
	g.mu.Lock()
	first := g.err == nil
	if first {
		g.err = err
		close(g.failed)
	}
	g.mu.Unlock()
	if first {
		g.onFatal(err)
	}
}

func (g *guard) failure() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

func (g *guard) release() { close(g.released) }

// write runs one write under the guard. A write that ends well after its stall
// was declared fatal is an error all the same: nothing may be acknowledged on it.
func (g *guard) write(op string, limit time.Duration, do func() error) error {
	if err := g.failure(); err != nil {
		return err
	}
	timer := time.AfterFunc(limit, func() {
		g.fail(&StoreError{Kind: ErrStoreStalled, Op: op, Path: g.path, Limit: limit, Hint: hintDisk})
	})
	err := do()
	timer.Stop()
	if err != nil {
		g.fail(&StoreError{Kind: ErrStoreFailed, Op: op, Path: g.path, Err: err, Hint: hintDisk})
	}
	return g.failure()
}

func (g *guard) damaged(op string, err error) {
	g.fail(&StoreError{Kind: ErrStoreDamaged, Op: op, Path: g.path, Err: err, Hint: hintDamaged})
}

// running marks the end of the opening, in which errors go to the caller.
func (g *guard) running() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.opened = true
}

// park ends the calling goroutine once the node has ended. Raft panics when it
// can not save its term or read its log; the fatal error has been reported, and
// a stack trace would only hide it. Goexit runs raft's own clean-up.
func (g *guard) park() {
	g.mu.Lock()
	opened := g.opened
	g.mu.Unlock()
	if !opened {
		return
	}
	<-g.released
	runtime.Goexit()
}

type guardedLogs struct {
	raft.LogStore
	g *guard
	// stored is called after the first write, before it is acknowledged.
	stored func() error
}

func (s *guardedLogs) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

func (s *guardedLogs) StoreLogs(logs []*raft.Log) error {
	return s.g.write("append to the log", s.g.stall, func() error {
		if err := s.LogStore.StoreLogs(logs); err != nil {
			return err
		}
		return s.stored()
	})
}

func (s *guardedLogs) DeleteRange(low, high uint64) error {
	return s.g.write("truncate the log", s.g.deleteStall, func() error { return s.LogStore.DeleteRange(low, high) })
}

func (s *guardedLogs) GetLog(index uint64, l *raft.Log) error {
	err := s.LogStore.GetLog(index, l)
	if err == nil || errors.Is(err, raft.ErrLogNotFound) {
		return err
	}
	s.g.damaged("read the log", err)
	s.g.park()
	return err
}

type guardedVote struct {
	raft.StableStore
	g *guard
	// voted is called after the first term is written, before raft acts on it.
	voted func() error
}

func (s *guardedVote) Set(key, value []byte) error {
	return s.g.write("save the vote", s.g.stall, func() error { return s.StableStore.Set(key, value) })
}

func (s *guardedVote) SetUint64(key []byte, value uint64) error {
	err := s.g.write("save the term", s.g.stall, func() error {
		if err := s.StableStore.SetUint64(key, value); err != nil {
			return err
		}
		if string(key) == keyTerm && value > 0 {
			return s.voted()
		}
		return nil
	})
	if err != nil && string(key) == keyTerm {
		s.g.park()
	}
	return err
}

type guardedSnapshots struct {
	raft.SnapshotStore
	g      *guard
	stored func() error
}

// Create starts a snapshot. Writing one may take long, so the sink is guarded
// against errors only.
func (s *guardedSnapshots) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration,
	configurationIndex uint64, trans raft.Transport,
) (raft.SnapshotSink, error) {
	if err := s.g.failure(); err != nil {
		return nil, err
	}
	sink, err := s.SnapshotStore.Create(version, index, term, configuration, configurationIndex, trans)
	if err != nil {
		s.fail(err)
		return nil, err
	}
	return &guardedSink{SnapshotSink: sink, s: s}, nil
}

func (s *guardedSnapshots) fail(err error) {
	s.g.fail(&StoreError{Kind: ErrStoreFailed, Op: "write a snapshot", Path: s.g.path, Err: err, Hint: hintDisk})
}

type guardedSink struct {
	raft.SnapshotSink
	s *guardedSnapshots
}

func (k *guardedSink) Write(p []byte) (int, error) {
	n, err := k.SnapshotSink.Write(p)
	if err != nil {
		k.s.fail(err)
	}
	return n, err
}

func (k *guardedSink) Close() error {
	err := k.SnapshotSink.Close()
	if err == nil {
		err = k.s.stored()
	}
	if err != nil {
		k.s.fail(err)
	}
	return err
}
