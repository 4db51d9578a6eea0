package consensus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// Propose replicates one entry and returns what the Replica's Apply returned
// for it, and the entry's index. The error is one of
//
//	*ErrNotLeader, ErrBusy, ErrTooLarge  certainly not applied
//	*ErrUnknownOutcome                   may be applied, now or later
//
// An idle node sends at once; what is one entry is up to the caller, who may
// put several commands into it.
func (n *Node) Propose(ctx context.Context, data []byte) (result any, index uint64, err error) {
	if len(data) > MaxEntry {
		return nil, 0, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(data), MaxEntry)
	}
	ctx, cancel := n.bounded(ctx)
	defer cancel()
	if !n.IsLeader() {
		return nil, 0, n.notLeader()
	}
	select {
	case n.flight <- struct{}{}:
	case <-ctx.Done():
		return nil, 0, fmt.Errorf("%w: %w", ErrBusy, ctx.Err())
	}
	if !n.calls.enter() {
		<-n.flight
		return nil, 0, n.notLeader()
	}
	answer := make(chan applied, 1)
	deadline, _ := ctx.Deadline()
	go func() {
		defer n.calls.leave()
		defer func() { <-n.flight }()
		answer <- n.submit(data, time.Until(deadline))
	}()
	select {
	case a := <-answer:
		return a.result, a.index, a.err
	case <-ctx.Done():
		return nil, 0, &ErrUnknownOutcome{Err: ctx.Err()}
	}
}

type applied struct {
	result any
	index  uint64
	err    error
}

func (n *Node) submit(data []byte, wait time.Duration) applied {
	// Zero would mean: wait for a place in the queue for ever.
	future := n.raft.Load().Apply(data, max(wait, time.Millisecond))
	if err := future.Error(); err != nil {
		return applied{err: n.outcome(err)}
	}
	return applied{result: future.Response(), index: future.Index()}
}

// outcome says what an error of raft proves about the entry.
func (n *Node) outcome(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return n.notLeader()
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return ErrBusy
	}
	return &ErrUnknownOutcome{Err: err}
}

func (n *Node) notLeader() error {
	id, address := n.Leader()
	if id == n.cfg.ID {
		id, address = "", "" // stepping down, or not started
	}
	return &ErrNotLeader{Leader: id, Address: address}
}
