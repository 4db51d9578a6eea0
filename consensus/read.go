package consensus

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/raft"
)

// Linearizable returns once the local Replica shows every command that was
// acknowledged, or visible on any voter, before the call, and an index that any
// other Replica has to reach to show the same. Elsewhere than on the leader:
// *ErrNotLeader.
//
// Raft's own state does not suffice: State() == Leader may be stale, and
// AppliedIndex() means "handed to the state machine", not "applied".
func (n *Node) Linearizable(ctx context.Context) (index uint64, err error) {
	ctx, cancel := n.bounded(ctx)
	defer cancel()
	if !n.IsLeader() {
		return 0, n.notLeader()
	}
	// Until an entry of its own term is committed a leader does not know the
	// commit index.
	term := n.Term()
	if err := n.ensureBarrier(ctx, term); err != nil {
		return 0, n.readError(err)
	}
	index = n.raft.Load().CommitIndex()
	if err := n.call(ctx, func(r *raft.Raft) error { return r.VerifyLeader().Error() }); err != nil {
		return 0, n.readError(err)
	}
	if n.Term() != term {
		// Lost and won again in between: index belongs to the lost term.
		return 0, n.notLeader()
	}
	wait, err := n.lastCommand(index)
	if err != nil {
		return 0, err
	}
	if err := n.cfg.Replica.WaitApplied(ctx, wait); err != nil {
		return 0, fmt.Errorf("linearizable read: the state has not reached index %d: %w", wait, err)
	}
	// Above what is applied here lie entries of raft's own alone, such as the
	// one that opens a term: a Replica elsewhere would wait for their index
	// until the next command, which in an idle fleet may be hours.
	return min(index, n.cfg.Replica.Applied()), nil
}

// lastCommand is the newest command at or below index. The Replica never sees
// the entries of other types and would be waited for in vain.
func (n *Node) lastCommand(index uint64) (uint64, error) {
	for i := index; i > n.cfg.Replica.Applied(); i-- {
		var l raft.Log
		err := n.logs.GetLog(i, &l)
		if errors.Is(err, raft.ErrLogNotFound) {
			return 0, nil // truncated after a snapshot, hence applied
		}
		if err != nil {
			return 0, fmt.Errorf("linearizable read: entry %d: %w", i, err)
		}
		if l.Type == raft.LogCommand {
			return i, nil
		}
	}
	return 0, nil
}

func (n *Node) readError(err error) error {
	var not *ErrNotLeader
	switch {
	case errors.As(err, &not):
		return err
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipLost),
		errors.Is(err, raft.ErrLeadershipTransferInProgress), errors.Is(err, raft.ErrRaftShutdown):
		return n.notLeader()
	}
	return fmt.Errorf("linearizable read: no answer from a majority of the voters: %w", err)
}

// termBarrier remembers the last term in which a barrier has passed, so that
// each term pays for one.
type termBarrier struct {
	turn chan struct{} // holds one token: whoever has it may issue the barrier
	mu   sync.Mutex
	term uint64
}

func newTermBarrier() termBarrier { return termBarrier{turn: make(chan struct{}, 1)} }

func (b *termBarrier) passed(term uint64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.term == term
}

// ensureBarrier returns once everything of earlier terms is applied here.
func (n *Node) ensureBarrier(ctx context.Context, term uint64) error {
	b := &n.barrier
	if b.passed(term) {
		return nil
	}
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if b.passed(term) {
		return nil
	}
	err := n.call(ctx, func(r *raft.Raft) error { return r.Barrier(n.cfg.Timeouts.Propose).Error() })
	if err != nil {
		return err
	}
	if n.Term() != term {
		return n.notLeader()
	}
	b.mu.Lock()
	b.term = term
	b.mu.Unlock()
	return nil
}
