package consensus

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// What one bundle holds. A large proposal fills an entry by itself and gains
// nothing from company: raft writes the entries that wait together with one
// fsync anyway.
const (
	bundleProposals = 64
	bundleBytes     = 32 << 10
	// bundleOverhead is what Config.Bundle may add for each proposal, and
	// entryOverhead what it may add to them all.
	bundleOverhead = 16
	entryOverhead  = 64
	// gatherFor bounds how long a proposal waits for company.
	gatherFor = 2 * time.Millisecond
	// waitingProposals bounds the queue; who finds no place in it waits in
	// Propose until its deadline.
	waitingProposals = 1024
)

// gatherer puts proposals into entries, in the order in which they came. An idle
// one sends the first proposal at once. While an entry is in flight others
// gather, until the entry has been answered, bundleProposals wait, or the oldest
// has waited for gatherFor. At most maxInFlight entries wait for raft's answer.
type gatherer struct {
	node     *Node
	queue    chan *proposal
	inFlight atomic.Int64
	counted  counters
	answered chan struct{} // room for one: an entry has been answered
	ended    chan struct{} // closed when nothing is taken any more

	// Owned by run.
	batch   []*proposal
	bytes   int
	next    *proposal // did not fit into the batch
	expired bool      // the oldest of the batch has waited long enough
	timer   *time.Timer
}

func newGatherer(n *Node) *gatherer {
	return &gatherer{node: n, queue: make(chan *proposal, waitingProposals), answered: make(chan struct{}, 1), ended: make(chan struct{})}
}

// run gathers until ctx ends. What still waits then has not been taken, and its
// callers see that.
func (g *gatherer) run(ctx context.Context) {
	defer close(g.ended)
	g.timer = time.NewTimer(gatherFor)
	defer g.timer.Stop()
	for {
		if g.ready() {
			// Callers that were woken by the same answer are about to propose
			// again; they go into this entry, not each into one of its own.
			runtime.Gosched()
			g.fill()
			g.send()
			continue
		}
		queue := g.queue
		if g.next != nil {
			queue = nil // the batch is full
		}
		select {
		case p := <-queue:
			g.add(p)
		case <-g.answered:
		case <-g.timer.C:
			g.expired = true
		case <-ctx.Done():
			return
		}
	}
}

func (g *gatherer) ready() bool {
	inFlight := g.inFlight.Load()
	if len(g.batch) == 0 || inFlight >= maxInFlight {
		return false
	}
	return inFlight == 0 || g.expired || g.next != nil || len(g.batch) == g.limit()
}

func (g *gatherer) limit() int {
	if g.node.cfg.Bundle == nil {
		return 1
	}
	return bundleProposals
}

func (g *gatherer) add(p *proposal) {
	size := len(p.data) + bundleOverhead
	if len(g.batch) > 0 && (len(g.batch) == g.limit() || g.bytes+size > bundleBytes-entryOverhead) {
		g.next = p
		return
	}
	if len(g.batch) == 0 {
		g.expired = false
		g.timer.Reset(gatherFor)
	}
	g.batch, g.bytes = append(g.batch, p), g.bytes+size
}

// fill takes along what waits already.
func (g *gatherer) fill() {
	for g.next == nil && len(g.batch) < g.limit() {
		select {
		case p := <-g.queue:
			g.add(p)
		default:
			return
		}
	}
}

// send hands the batch to raft, without those whose callers have gone.
func (g *gatherer) send() {
	var batch []*proposal
	var latest time.Time
	for _, p := range g.batch {
		if p.take() {
			batch = append(batch, p)
			if p.deadline.After(latest) {
				latest = p.deadline
			}
		}
	}
	next := g.next
	g.batch, g.bytes, g.next = g.batch[:0], 0, nil
	if next != nil {
		g.add(next)
	}
	if len(batch) == 0 {
		return
	}
	n := g.node
	if !n.calls.enter() {
		refuseAll(batch, n.notLeader())
		return
	}
	data := n.entry(batch)
	if len(data) > MaxEntry {
		n.calls.leave()
		refuseAll(batch, fmt.Errorf("%w: %d bytes in an entry, at most %d", ErrTooLarge, len(data), MaxEntry))
		return
	}
	g.inFlight.Add(1)
	g.counted.sent(len(batch), len(data))
	begun := time.Now()
	// Zero would mean: wait for a place in raft's queue for ever.
	future := n.raft.Load().Apply(data, max(time.Until(latest), time.Millisecond))
	go func() {
		defer n.calls.leave()
		g.answer(batch, future)
		g.counted.answer(time.Since(begun))
		g.inFlight.Add(-1)
		select {
		case g.answered <- struct{}{}:
		default:
		}
	}()
}

// entry is what goes into the log for the batch.
func (n *Node) entry(batch []*proposal) []byte {
	if n.cfg.Bundle == nil {
		return batch[0].data
	}
	payload := make([][]byte, len(batch))
	for i, p := range batch {
		payload[i] = p.data
	}
	return n.cfg.Bundle(payload)
}

// answer waits for raft and gives every caller its own result.
func (g *gatherer) answer(batch []*proposal, future raft.ApplyFuture) {
	if err := future.Error(); err != nil {
		refuseAll(batch, g.node.outcome(err))
		return
	}
	index, response := future.Index(), future.Response()
	results, ok := response.([]any)
	if !ok && len(batch) == 1 {
		results, ok = []any{response}, true
	}
	if none, failed := response.(notApplied); failed {
		// Whether the others applied the entry nobody here knows.
		refuseAll(batch, &ErrUnknownOutcome{Err: none.err})
		return
	}
	if !ok || len(results) != len(batch) {
		// The replica stops itself on an entry it cannot read; whether the
		// others applied it nobody here knows.
		refuseAll(batch, &ErrUnknownOutcome{Err: fmt.Errorf("entry %d of %d proposals was answered with %T", index, len(batch), response)})
		return
	}
	for i, p := range batch {
		p.answer <- applied{result: results[i], index: index}
	}
}
