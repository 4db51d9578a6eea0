package consensus

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// bundle joins the register's commands: "cmd" and a number each.
func bundle(proposals [][]byte) []byte { return bytes.Join(proposals, nil) }

// holdApply makes the register's Apply wait; the returned function lets it go on.
func holdApply(m *member) (release func()) {
	slow := make(chan struct{})
	m.state.mu.Lock()
	m.state.slow = slow
	m.state.mu.Unlock()
	return sync.OnceFunc(func() { close(slow) })
}

// An idle proposer sends at once; what comes while its entry is in flight shares
// the next ones, 64 at most in each, in order, and everyone gets his own result.
func TestProposalsGather(t *testing.T) {
	c := newCluster(t, 1)
	m := c.members[0]
	c.leader()
	release := holdApply(m)
	defer release()
	before := m.raft.Load().LastIndex()
	type outcome struct {
		value, result, index uint64
		err                  error
	}
	const many = 200
	outcomes := make(chan outcome, many+1)
	propose := func(v uint64) {
		got, index, err := m.Propose(context.Background(), command(v))
		result, _ := got.(uint64)
		outcomes <- outcome{v, result, index, err}
	}
	go propose(0)
	eventually(t, "the first is in the log by itself", func() error {
		if m.raft.Load().LastIndex() != before+1 {
			return errors.New("not yet")
		}
		return nil
	})
	for v := range uint64(many) {
		go propose(v + 1)
	}
	eventually(t, "all are in the log", func() error {
		taken := len(m.gather.queue)
		if n := m.raft.Load().LastIndex() - before - 1; taken > 0 || n < many/bundleProposals {
			return fmt.Errorf("%d entries, %d proposals wait", n, taken)
		}
		return nil
	})
	release()
	entries := map[uint64]int{}
	for range many + 1 {
		o := <-outcomes
		if o.err != nil || o.result != o.value {
			t.Fatalf("proposal %d: result %d, %v", o.value, o.result, o.err)
		}
		entries[o.index]++
	}
	for index, n := range entries {
		if n > bundleProposals {
			t.Errorf("%d proposals in entry %d", n, index)
		}
	}
	if entries[before+1] != 1 || len(entries) > many/4 {
		t.Errorf("%d proposals in %d entries, %d of them in the first", many+1, len(entries), entries[before+1])
	}
	if values := m.state.values(); len(values) != many+1 {
		t.Errorf("%d values applied, %d proposed", len(values), many+1)
	}
}

// Those who wait in line are served in the order in which they came.
func TestGatheredInOrder(t *testing.T) {
	c := newCluster(t, 1)
	m := c.members[0]
	c.leader()
	var wg sync.WaitGroup
	var want []uint64
	for v := range uint64(300) {
		p := &proposal{data: command(v), answer: make(chan applied, 1), deadline: time.Now().Add(10 * time.Second)}
		if err := m.Node.queue(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		want = append(want, v)
		wg.Go(func() {
			if a := <-p.answer; a.err != nil || a.result != v {
				t.Errorf("%d: %v, %v", v, a.result, a.err)
			}
		})
	}
	wg.Wait()
	if got := m.state.values(); !slices.Equal(got, want) {
		t.Errorf("applied in another order: %v", got)
	}
}

// Large proposals travel alone, and no entry exceeds the limit.
func TestLargeProposalsTravelAlone(t *testing.T) {
	var sizes []int
	g := &gatherer{node: &Node{cfg: Config{Bundle: bundle}}, timer: time.NewTimer(time.Hour)}
	for _, size := range []int{100, bundleBytes, 100, 100, MaxEntry} {
		p := &proposal{data: make([]byte, size)}
		g.add(p)
		if g.next != nil {
			sizes = append(sizes, len(g.batch))
			g.batch, g.bytes, g.next = nil, 0, nil
			g.add(p)
		}
	}
	if !slices.Equal(append(sizes, len(g.batch)), []int{1, 1, 2, 1}) {
		t.Errorf("bundles of %v", append(sizes, len(g.batch)))
	}
}

// At most maxInFlight entries wait for raft, whatever the callers want, and a
// caller whose deadline comes before its turn knows that nothing was applied;
// one whose entry was under way does not.
func TestInFlightIsBounded(t *testing.T) {
	c := newCluster(t, 1)
	c.members[0].stop()
	c.change = func(cfg *Config) { cfg.Bundle = nil } // every proposal an entry
	c.start(c.members[0], nil)
	m := c.leader()
	before := m.state.Applied()
	release := holdApply(m)
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	var busy, unknown int
	var wg sync.WaitGroup
	for v := range uint64(maxInFlight + 50) {
		wg.Go(func() {
			_, _, err := m.Propose(ctx, command(v))
			var u *ErrUnknownOutcome
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.Is(err, ErrBusy):
				busy++
			case errors.As(err, &u):
				unknown++
			default:
				t.Errorf("proposal %d: %v", v, err)
			}
		})
	}
	const all = maxInFlight + 50
	eventually(t, "everybody waits", func() error {
		inFlight, waiting := int(m.gather.inFlight.Load()), len(m.gather.queue)
		if inFlight+waiting < all-2 { // two more may be in the gatherer's hands
			return fmt.Errorf("%d in flight, %d wait", inFlight, waiting)
		}
		return nil
	})
	if n := m.gather.inFlight.Load(); n > maxInFlight {
		t.Errorf("%d entries in flight", n)
	}
	cancel()
	wg.Wait()
	// Fewer than the limit when raft's own queues are full of single entries.
	if busy+unknown != all || unknown > maxInFlight || unknown == 0 {
		t.Errorf("%d certainly not applied, %d unknown", busy, unknown)
	}
	release()
	eventually(t, "what was sent is applied, what was taken back is not", func() error {
		// One may have waited for a place in raft's queue in vain.
		if n := len(m.state.values()); n > unknown || n < unknown-1 {
			return fmt.Errorf("%d values of %d since index %d", n, unknown, before)
		}
		return nil
	})
}

// Nothing is sent while maxInFlight entries wait for raft.
func TestNothingIsSentAtTheLimit(t *testing.T) {
	g := newGatherer(&Node{})
	g.timer = time.NewTimer(time.Hour)
	defer g.timer.Stop()
	g.add(&proposal{data: command(1)})
	g.expired = true
	for _, row := range []struct {
		inFlight int64
		ready    bool
	}{{0, true}, {maxInFlight - 1, true}, {maxInFlight, false}, {maxInFlight + 1, false}} {
		g.inFlight.Store(row.inFlight)
		if got := g.ready(); got != row.ready {
			t.Errorf("%d in flight: ready %v", row.inFlight, got)
		}
	}
}

// A node that ends answers everybody who waits, and what it refused is not in
// the log.
func TestEndAnswersWhoWaits(t *testing.T) {
	c := newCluster(t, 1)
	m := c.members[0]
	c.leader()
	release := holdApply(m)
	defer release()
	var wg sync.WaitGroup
	var refused, others sync.Map
	for v := range uint64(100) {
		wg.Go(func() {
			_, _, err := m.Propose(context.Background(), command(v))
			var not *ErrNotLeader
			if errors.As(err, &not) {
				refused.Store(v, true)
			} else {
				others.Store(v, err)
			}
		})
	}
	eventually(t, "something is in flight", func() error {
		if m.gather.inFlight.Load() == 0 {
			return errors.New("nothing")
		}
		return nil
	})
	stopped := make(chan struct{})
	go func() { defer close(stopped); m.stop() }()
	<-m.gather.ended
	release()
	wg.Wait()
	<-stopped
	refused.Range(func(v, _ any) bool {
		if m.state.has(v.(uint64)) {
			t.Errorf("%d was refused and applied", v)
		}
		return true
	})
	others.Range(func(v, err any) bool {
		var unknown *ErrUnknownOutcome
		if e, _ := err.(error); e != nil && !errors.As(e, &unknown) {
			t.Errorf("%d: %v", v, e)
		}
		return true
	})
}

// numbers reads what bundle joined.
func numbers(data []byte) (out []uint64) {
	for ; len(data) >= 11; data = data[11:] {
		out = append(out, binary.BigEndian.Uint64(data[3:]))
	}
	return out
}

// What the proposer says of itself adds up: every proposal is in an entry, every
// entry is answered, and no bucket holds more than the next.
func TestProposerFigures(t *testing.T) {
	c := newCluster(t, 1)
	m := c.members[0]
	c.leader()
	before := m.Proposer()
	const many = 40
	var group sync.WaitGroup
	for v := range uint64(many) {
		group.Go(func() {
			if _, _, err := m.Propose(context.Background(), command(v)); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	var after ProposerFigures
	eventually(t, "every entry is counted as answered", func() error {
		if after = m.Proposer(); after.Answered != after.Entries || after.InFlight != 0 || after.Waiting != 0 {
			return fmt.Errorf("%+v", after)
		}
		return nil
	})
	entries := after.Entries - before.Entries
	if after.Proposals-before.Proposals != many || entries == 0 || entries > many || after.Bytes <= before.Bytes || after.Total <= before.Total {
		t.Errorf("%+v after %+v", after, before)
	}
	last := uint64(0)
	for i, n := range after.Took {
		if n < last || n > after.Answered {
			t.Errorf("bucket %s holds %d of %d, the one before %d", EntryBounds[i], n, after.Answered, last)
		}
		last = n
	}
}
