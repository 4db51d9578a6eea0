package consensus

import (
	"math"
	"slices"
	"sort"
	"sync"

	"github.com/hashicorp/raft"
)

// aheadLogs lets a leader send its entries while its own disk is still busy with
// them. Raft writes the leader's log first and asks the followers then, so that
// the fsyncs of both lie one behind the other; here the leader's append returns at
// once, a goroutine writes what has come together meanwhile, with one fsync, and
// the followers write at the same time.
//
// Raft counts the leader's own copy as soon as the append returns, hence too
// early. What makes that safe: until an entry is on this disk, this host lets
// nobody know that it counts as committed.
//
//   - Its replica applies an entry, and so answers the proposer, only once the
//     entry is on disk here (see heldReplica): no acknowledgement, no read and no
//     snapshot shows more.
//   - Followers are told a commit index no higher than what is on disk here (see
//     transport), so neither do they.
//   - While the process lives, its memory is as good as its disk: it refuses its
//     vote to whoever lacks the entry. When it dies, what was not on disk is as if
//     it had never been appended here, and nobody had been told otherwise.
//   - Everything but commands (changes of membership, above all, which take effect
//     when they are appended) waits for the disk as before, and so does everything
//     that a follower appends. Both wait for what is still to be written, so the
//     log on disk never has a gap.
type aheadLogs struct {
	raft.LogStore // on disk
	// leading says whether this host leads; raft's main goroutine, the only
	// one to append, is also the only one to change it.
	leading func() bool
	failed  <-chan struct{} // closed when the store has failed
	failure func() error
	wake    chan struct{} // room for one: there is something to write

	mu      sync.Mutex
	writing bool          // somebody writes what waits
	waiting []*raft.Log   // appended, not yet on disk, by index
	changed chan struct{} // closed and replaced when something has been written
}

func newAheadLogs(disk raft.LogStore, g *guard, leading func() bool) *aheadLogs {
	return &aheadLogs{
		LogStore: disk, leading: leading, failed: g.failed, failure: g.failure,
		wake: make(chan struct{}, 1), changed: make(chan struct{}),
	}
}

// start lets appends run ahead of the disk and returns a channel that is closed
// once nothing writes them any more, after stop or a failure of the store.
func (s *aheadLogs) start() <-chan struct{} {
	s.mu.Lock()
	s.writing = true
	s.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.write()
	}()
	return ended
}

// stop lets no more entries run ahead; what waits is still written.
func (s *aheadLogs) stop() {
	s.mu.Lock()
	s.writing = false
	s.mu.Unlock()
	s.nudge()
}

func (s *aheadLogs) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *aheadLogs) write() {
	for {
		for s.writeWaiting() {
		}
		s.mu.Lock()
		done := !s.writing && len(s.waiting) == 0
		s.mu.Unlock()
		if done {
			return
		}
		select {
		case <-s.wake:
		case <-s.failed:
			return
		}
	}
}

// writeWaiting writes what waits in one go; false: nothing waited, or it failed.
func (s *aheadLogs) writeWaiting() bool {
	s.mu.Lock()
	batch := slices.Clone(s.waiting)
	s.mu.Unlock()
	if len(batch) == 0 || s.LogStore.StoreLogs(batch) != nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = append([]*raft.Log(nil), s.waiting[len(batch):]...)
	close(s.changed)
	s.changed = make(chan struct{})
	return true
}

func (s *aheadLogs) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs returns before the entries are on disk only if all of them are
// commands and this host leads. How many may wait is bounded by the entries in
// flight, which are not answered before they are written.
func (s *aheadLogs) StoreLogs(logs []*raft.Log) error {
	if s.leading() && onlyCommands(logs) && s.append(logs) {
		return s.failure()
	}
	if err := s.settled(math.MaxUint64); err != nil {
		return err
	}
	return s.LogStore.StoreLogs(logs)
}

func onlyCommands(logs []*raft.Log) bool {
	return !slices.ContainsFunc(logs, func(l *raft.Log) bool { return l.Type != raft.LogCommand })
}

// append hands entries over to be written; false: nobody would write them.
func (s *aheadLogs) append(logs []*raft.Log) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.writing {
		return false
	}
	s.waiting = append(s.waiting, logs...)
	s.nudge()
	return true
}

// settled returns once every entry up to index is on disk, or the failure of the
// store: then it may never be.
func (s *aheadLogs) settled(index uint64) error {
	for {
		s.mu.Lock()
		done, changed := len(s.waiting) == 0 || s.waiting[0].Index > index, s.changed
		s.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-s.failed:
			return s.failure()
		}
	}
}

// reach is the index up to which everything that was appended is on disk.
func (s *aheadLogs) reach() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) == 0 {
		return math.MaxUint64
	}
	return s.waiting[0].Index - 1
}

// GetLog finds also what is not yet on disk.
func (s *aheadLogs) GetLog(index uint64, l *raft.Log) error {
	s.mu.Lock()
	i := sort.Search(len(s.waiting), func(i int) bool { return s.waiting[i].Index >= index })
	if i < len(s.waiting) && s.waiting[i].Index == index {
		*l = *s.waiting[i]
		s.mu.Unlock()
		return nil
	}
	s.mu.Unlock()
	return s.LogStore.GetLog(index, l)
}

func (s *aheadLogs) FirstIndex() (uint64, error) {
	first, err := s.LogStore.FirstIndex()
	if err != nil || first > 0 {
		return first, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) > 0 {
		return s.waiting[0].Index, nil
	}
	return 0, nil
}

func (s *aheadLogs) LastIndex() (uint64, error) {
	s.mu.Lock()
	if n := len(s.waiting); n > 0 {
		defer s.mu.Unlock()
		return s.waiting[n-1].Index, nil
	}
	s.mu.Unlock()
	return s.LogStore.LastIndex()
}

// DeleteRange waits for what it is to delete.
func (s *aheadLogs) DeleteRange(low, high uint64) error {
	if err := s.settled(high); err != nil {
		return err
	}
	return s.LogStore.DeleteRange(low, high)
}

// heldReplica applies what is on this host's disk.
type heldReplica struct {
	Replica
	logs *aheadLogs
}

// notApplied stands for a result after the store has failed: this host applied
// neither the entry nor any after it.
type notApplied struct{ err error }

func (r heldReplica) Apply(l *raft.Log) any {
	if err := r.logs.settled(l.Index); err != nil {
		return notApplied{err}
	}
	return r.Replica.Apply(l)
}

type heldBatchReplica struct {
	heldReplica
	batch raft.BatchingFSM
}

func (r heldBatchReplica) ApplyBatch(logs []*raft.Log) []any {
	err := r.logs.settled(logs[len(logs)-1].Index)
	if err == nil {
		return r.batch.ApplyBatch(logs)
	}
	answers := make([]any, len(logs))
	for i := range answers {
		answers[i] = notApplied{err}
	}
	return answers
}

// hold puts the wait for the disk before a replica.
func hold(r Replica, logs *aheadLogs) raft.FSM {
	one := heldReplica{Replica: r, logs: logs}
	if batch, ok := r.(raft.BatchingFSM); ok {
		return heldBatchReplica{heldReplica: one, batch: batch}
	}
	return one
}
