package fsm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// Replica adapts a State to Raft: it guards the state, tells who waits that it
// has changed, and stops when an entry cannot be read. It starts no goroutine.
type Replica struct {
	onFatal func(error)

	mu      sync.RWMutex
	state   *State        // guarded by mu; written by Raft's apply thread only
	changed chan struct{} // guarded by mu; closed and replaced at every change
	fatal   error         // guarded by mu; once set, nothing is applied
	// applied is the state's index, for those who need no more than it and
	// should not wait for what is being applied. Who sees it and then reads
	// finds that index or a later one.
	applied atomic.Uint64
}

var (
	_ raft.BatchingFSM = (*Replica)(nil)
	_ raft.FSMSnapshot = Snapshot{}
)

// NewReplica returns a replica of an empty state. onFatal is called once, from
// Raft's apply thread, when an entry cannot be read; it must bring the process
// to an end, because a replica that skipped an entry would diverge. It may be
// called while Raft waits for it and must not wait for Raft.
func NewReplica(onFatal func(error)) *Replica {
	return &Replica{onFatal: onFatal, state: New(), changed: make(chan struct{})}
}

// Read calls f with the state. The state must not be kept after f returns, and
// f must not wait for anything: the next entry waits for f.
func (r *Replica) Read(f func(*State)) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	f(r.state)
}

// Applied is the index of the last entry whose effect Read shows. Entries of
// Raft's own do not count.
func (r *Replica) Applied() uint64 { return r.applied.Load() }

// Changed returns a channel that is closed at the next change. Take it before
// reading, so that no change falls in between.
func (r *Replica) Changed() <-chan struct{} {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.changed
}

// WaitApplied waits until Applied has reached the index.
func (r *Replica) WaitApplied(ctx context.Context, index uint64) error {
	for {
		if r.Applied() >= index {
			return nil
		}
		changed := r.Changed()
		r.mu.RLock()
		applied, fatal := r.state.index, r.fatal
		r.mu.RUnlock()
		switch {
		case applied >= index:
			return nil
		case fatal != nil:
			return fatal
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("waiting for index %d, %d is applied: %w", index, applied, ctx.Err())
		}
	}
}

// Apply implements raft.FSM; the response is a Result.
func (r *Replica) Apply(log *raft.Log) any { return r.ApplyBatch([]*raft.Log{log})[0] }

// ApplyBatch implements raft.BatchingFSM. Each response is a Result, for a
// Bundle a []any of Results in its order, nil for what is not a command. Their
// leases and refusals are the state's own and must not be changed: only one
// replica has somebody who waits for them, and copies would cost all of them.
func (r *Replica) ApplyBatch(logs []*raft.Log) []any {
	out := make([]any, len(logs))
	if err := r.applyAll(logs, out); err != nil && r.onFatal != nil {
		r.onFatal(err)
	}
	return out
}

// applyAll returns the error that has just become fatal.
func (r *Replica) applyAll(logs []*raft.Log, out []any) (news error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, log := range logs {
		switch {
		case log.Type != raft.LogCommand:
			// Configuration changes are Raft's own, but readers wait
			// for indexes: what came before them is applied.
			r.state.passOver(log.Index)
		case r.fatal != nil:
			out[i] = Result{Index: log.Index, Fatal: r.fatal}
		default:
			var fatal error
			out[i], fatal = r.applyOne(log)
			if fatal != nil {
				r.fatal = stopping(fatal)
				news = r.fatal
			}
		}
	}
	r.broadcast()
	return news
}

func stopping(fatal error) error {
	if errors.Is(fatal, ErrDiverged) {
		return fmt.Errorf("%w; this host stops here: %w", ErrDiverged, fatal)
	}
	return fmt.Errorf("the replicated log cannot be applied on this host; it stops here rather than diverge: %w", fatal)
}

// applyOne needs mu. It answers a Result, or one for each proposal of a bundle.
func (r *Replica) applyOne(log *raft.Log) (answer any, fatal error) {
	if !IsBundle(log.Data) {
		result := r.state.applyShared(log.Index, log.Data)
		return result, result.Fatal
	}
	results, err := r.state.applyBundleShared(log.Index, log.Data)
	if err != nil {
		return Result{Index: log.Index, Fatal: err}, err
	}
	answers := make([]any, len(results))
	for i, result := range results {
		answers[i] = result
	}
	return answers, nil
}

// broadcast needs mu.
func (r *Replica) broadcast() {
	r.applied.Store(r.state.index)
	close(r.changed)
	r.changed = make(chan struct{})
}

// Snapshot implements raft.FSM. It only captures; Persist writes later.
func (r *Replica) Snapshot() (raft.FSMSnapshot, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.fatal != nil {
		return nil, r.fatal
	}
	return r.state.Capture(), nil
}

// Restore implements raft.FSM: it fills a new state and then swaps it in.
func (r *Replica) Restore(from io.ReadCloser) error {
	defer from.Close()
	state, err := Restore(from)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state = state
	r.broadcast()
	return nil
}

// Persist implements raft.FSMSnapshot.
func (s Snapshot) Persist(sink raft.SnapshotSink) error {
	if _, err := s.WriteTo(sink); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot; there is nothing to let go of.
func (Snapshot) Release() {}
