package consensus

import (
	"sync/atomic"
	"time"
)

// EntryBounds are the upper bounds of ProposerFigures.Took.
var EntryBounds = [...]time.Duration{
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, time.Second, 5 * time.Second,
}

// ProposerFigures counts what this node has put into the log since it started,
// and what waits. Proposals by entries is how many callers share an fsync.
type ProposerFigures struct {
	Entries, Proposals, Bytes uint64
	// Waiting have not been taken yet; InFlight entries wait for raft's answer.
	Waiting, InFlight int
	// Took counts the answered entries by how long raft took, cumulatively per
	// bound of EntryBounds; Answered and Total are all of them.
	Took     [len(EntryBounds)]uint64
	Answered uint64
	Total    time.Duration
}

// counters of one gatherer; written by its goroutines, read by anybody.
type counters struct {
	entries, proposals, bytes atomic.Uint64
	answered                  atomic.Uint64
	total                     atomic.Int64
	took                      [len(EntryBounds)]atomic.Uint64
}

func (c *counters) sent(proposals, bytes int) {
	c.entries.Add(1)
	c.proposals.Add(uint64(proposals))
	c.bytes.Add(uint64(bytes))
}

func (c *counters) answer(took time.Duration) {
	for i, bound := range EntryBounds {
		if took <= bound {
			c.took[i].Add(1)
		}
	}
	c.total.Add(int64(took))
	c.answered.Add(1)
}

// Proposer returns the figures of this node's proposer.
func (n *Node) Proposer() ProposerFigures {
	c := &n.gather.counted
	out := ProposerFigures{
		Waiting: len(n.gather.queue), InFlight: int(n.gather.inFlight.Load()),
		// Read before what they are compared with, so that no bucket
		// exceeds the whole.
		Entries: c.entries.Load(), Proposals: c.proposals.Load(), Bytes: c.bytes.Load(),
	}
	for i := range c.took {
		out.Took[i] = c.took[i].Load()
	}
	out.Answered, out.Total = c.answered.Load(), time.Duration(c.total.Load())
	return out
}
