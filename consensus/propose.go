package consensus

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// Propose replicates one proposal and returns what the Replica's Apply returned
// for it, and the index of its entry. The error is one of
//
//	*ErrNotLeader, ErrBusy, ErrTooLarge  certainly not applied
//	*ErrUnknownOutcome                   may be applied, now or later
//
// An idle node sends at once. While an entry is in flight, proposals gather and
// share the next one (see Config.Bundle).
func (n *Node) Propose(ctx context.Context, data []byte) (result any, index uint64, err error) {
	if most := MaxEntry - bundleOverhead - entryOverhead; len(data) > most {
		return nil, 0, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(data), most)
	}
	ctx, cancel := n.bounded(ctx)
	defer cancel()
	if !n.IsLeader() {
		return nil, 0, n.notLeader()
	}
	p := &proposal{data: data, answer: make(chan applied, 1)}
	p.deadline, _ = ctx.Deadline()
	if err := n.queue(ctx, p); err != nil {
		return nil, 0, err
	}
	select {
	case a := <-p.answer:
		return a.result, a.index, a.err
	case <-ctx.Done():
		if p.take() {
			return nil, 0, fmt.Errorf("%w: %w", ErrBusy, ctx.Err())
		}
		return nil, 0, &ErrUnknownOutcome{Err: ctx.Err()}
	case <-n.gather.ended:
	}
	if p.take() {
		return nil, 0, n.notLeader()
	}
	select {
	case a := <-p.answer:
		return a.result, a.index, a.err
	case <-ctx.Done():
		return nil, 0, &ErrUnknownOutcome{Err: ctx.Err()}
	}
}

// queue hands a proposal to the gatherer, which answers it from then on.
func (n *Node) queue(ctx context.Context, p *proposal) error {
	if !n.calls.enter() {
		return n.notLeader()
	}
	defer n.calls.leave()
	select {
	case n.gather.queue <- p:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrBusy, ctx.Err())
	}
}

// proposal is what one caller wants replicated.
type proposal struct {
	data     []byte
	deadline time.Time
	answer   chan applied // room for one
	taken    atomic.Bool
}

type applied struct {
	result any
	index  uint64
	err    error
}

// take decides once for all: the gatherer takes a proposal before it may reach
// the log, or its caller takes it back and knows that it never will.
func (p *proposal) take() bool { return p.taken.CompareAndSwap(false, true) }

func refuseAll(batch []*proposal, err error) {
	for _, p := range batch {
		p.answer <- applied{err: err}
	}
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
