package consensus

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"
)

// gate is a disk whose appends can be held up, and then let through or failed.
type gate struct {
	raft.LogStore
	mu   sync.Mutex
	open chan struct{} // closed: appends go through
	err  error         // what held appends return when they are let go
}

func newGate(s raft.LogStore) *gate {
	g := &gate{LogStore: s, open: make(chan struct{})}
	close(g.open)
	return g
}

func (g *gate) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = make(chan struct{})
}

func (g *gate) release(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.err = err
	close(g.open)
}

func (g *gate) StoreLogs(logs []*raft.Log) error {
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	<-open
	g.mu.Lock()
	err := g.err
	g.mu.Unlock()
	if err != nil {
		return err
	}
	return g.LogStore.StoreLogs(logs)
}

// gated puts a gate below the guard of every member.
func gated(t *testing.T) (*cluster, map[*member]*gate) {
	t.Helper()
	gates := map[*member]*gate{}
	patient := DefaultTimeouts() // a busy machine must not change the leader
	patient.StoreStall = time.Minute
	c := newClusterOf(t, 3, func(c *Config) { c.Timeouts = patient }, func(m *member, n *Node) {
		guarded := n.ahead.LogStore.(*guardedLogs)
		gates[m] = newGate(guarded.LogStore)
		guarded.LogStore = gates[m]
	})
	return c, gates
}

// behind is an entry that both followers have on disk and raft on the leader
// counts as committed, while the leader's own disk is held up.
type behind struct {
	leader *member
	gate   *gate
	term   uint64
	index  uint64
	value  uint64
	answer chan error // the proposer's
}

// proposeBehind tries again when a busy machine has changed the leader meanwhile.
func proposeBehind(t *testing.T, c *cluster, gates map[*member]*gate) behind {
	t.Helper()
	for value := uint64(1000); value < 1020; value++ {
		leader := c.leader()
		e := behind{leader: leader, gate: gates[leader], term: leader.Term(), value: value, answer: make(chan error, 1)}
		last, err := leader.logs.LastIndex()
		if err != nil {
			t.Fatal(err)
		}
		e.index = last + 1
		e.gate.hold()
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			_, _, err := leader.Propose(ctx, command(value))
			e.answer <- err
		}()
		deadline := time.Now().Add(30 * time.Second)
		for c.sameTerm(e.term) && !c.reached(e) && time.Now().Before(deadline) {
			time.Sleep(5 * time.Millisecond) // a poll with a deadline
		}
		if c.sameTerm(e.term) && c.reached(e) {
			return e
		}
		e.gate.release(nil)
		t.Logf("term %d ended early: %v", e.term, <-e.answer)
	}
	t.Fatal("no leader stayed")
	return behind{}
}

// sameTerm: nobody has begun an election since.
func (c *cluster) sameTerm(term uint64) bool {
	return !slices.ContainsFunc(c.members, func(m *member) bool { return m.Term() != term })
}

func (c *cluster) reached(e behind) bool {
	for _, m := range c.members {
		if last, err := m.store.Logs.LastIndex(); err != nil || last < e.index {
			return false
		}
	}
	return e.leader.raft.Load().CommitIndex() >= e.index
}

// The followers write while the leader does; nobody acts on the entry before it
// is on the leader's disk.
func TestNobodyKnowsBeforeTheLeadersDisk(t *testing.T) {
	c, gates := gated(t)
	if _, _, err := c.leader().Propose(t.Context(), command(1)); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		e := proposeBehind(t, c, gates)
		wrong := told(t, c, e)
		kept := c.sameTerm(e.term) // else another leader may well have committed it
		e.gate.release(nil)
		err := <-e.answer
		if !kept {
			continue
		}
		if err := errors.Join(append(wrong, err)...); err != nil {
			t.Fatal(err)
		}
		for _, m := range c.members {
			eventually(t, m.id+" applies it", func() error {
				if !m.state.has(e.value) {
					return errors.New("not yet")
				}
				return nil
			})
		}
		return
	}
	t.Fatal("no leader stayed")
}

// told returns who acts on the entry although the leader may still lose it.
func told(t *testing.T, c *cluster, e behind) (wrong []error) {
	// A linearizable read would have to show the entry: it waits, and while it
	// does the leader's commit index reaches every follower several times.
	ctx, cancel := context.WithTimeout(t.Context(), 6*DefaultTimeouts().Commit)
	defer cancel()
	if _, err := e.leader.Linearizable(ctx); !errors.Is(err, context.DeadlineExceeded) {
		wrong = append(wrong, fmt.Errorf("linearizable read beyond the leader's disk: %w", err))
	}
	for _, m := range c.members {
		if m.state.has(e.value) {
			wrong = append(wrong, fmt.Errorf("%s has applied what its leader may still lose", m.id))
		}
		if m != e.leader && m.raft.Load().CommitIndex() >= e.index {
			wrong = append(wrong, fmt.Errorf("%s was told that entry %d is committed", m.id, e.index))
		}
	}
	if len(e.answer) > 0 {
		wrong = append(wrong, errors.New("acknowledged before it was on the leader's disk"))
	}
	return wrong
}

// A leader that loses what its disk has not taken has acknowledged nothing of it,
// and is brought back to what the others have.
func TestLeaderLosesWhatItsDiskNeverHad(t *testing.T) {
	c, gates := gated(t)
	if _, _, err := c.leader().Propose(t.Context(), command(1)); err != nil {
		t.Fatal(err)
	}
	e := proposeBehind(t, c, gates)
	e.gate.release(errors.New("the disk is gone"))

	var unknown *ErrUnknownOutcome
	if err := <-e.answer; !errors.As(err, &unknown) {
		t.Errorf("the proposer was told %v, want an unknown outcome", err)
	}
	if err := <-e.leader.fatal; !errors.Is(err, ErrStoreFailed) {
		t.Errorf("fatal: %v", err)
	}
	if err := <-e.leader.done; !errors.Is(err, ErrStoreFailed) {
		t.Errorf("Run: %v", err)
	}
	if e.leader.state.has(e.value) {
		t.Error("the failed leader applied the entry")
	}
	e.leader.cancel()
	e.leader.cancel = nil

	eventually(t, "the others go on", func() error {
		_, _, err := c.leader().Propose(t.Context(), command(3))
		return err
	})
	c.start(e.leader, nil)
	want := c.leader().state.values()
	if !slices.Contains(want, 1) || !slices.Contains(want, e.value) || !slices.Contains(want, 3) {
		t.Errorf("the majority had %d and goes on with %v", e.value, want)
	}
	for _, m := range c.members {
		eventually(t, m.id+" has what the majority has", func() error {
			if got := m.state.values(); !slices.Equal(got, want) {
				return fmt.Errorf("%v, want %v", got, want)
			}
			return nil
		})
	}
}

// recordingDisk is a log store that refuses gaps.
type recordingDisk struct {
	*raft.InmemStore
	mu  sync.Mutex
	gap error
}

func (d *recordingDisk) StoreLogs(logs []*raft.Log) error {
	last, _ := d.LastIndex()
	d.mu.Lock()
	for _, l := range logs {
		if last > 0 && l.Index != last+1 && d.gap == nil {
			d.gap = fmt.Errorf("entry %d was written after entry %d", l.Index, last)
		}
		last = l.Index
	}
	d.mu.Unlock()
	return d.InmemStore.StoreLogs(logs)
}

// Whatever raft does, the log shows at once what was appended and the disk never
// has a gap; everything but a leader's commands is on disk when its append returns.
func TestAheadIsALog(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		disk := &recordingDisk{InmemStore: raft.NewInmemStore()}
		leading := false
		s := newAheadLogs(disk, newGuard("", Timeouts{}, func(error) {}), func() bool { return leading })
		ended := s.start()
		want := map[uint64]raft.LogType{}
		first, last := uint64(1), uint64(0)
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				leading = rapid.Bool().Draw(t, "leading")
				kind := rapid.SampledFrom([]raft.LogType{raft.LogCommand, raft.LogCommand, raft.LogNoop, raft.LogConfiguration}).Draw(t, "type")
				var logs []*raft.Log
				for range rapid.IntRange(1, 5).Draw(t, "entries") {
					last++
					want[last] = kind
					logs = append(logs, &raft.Log{Index: last, Type: kind})
				}
				if err := s.StoreLogs(logs); err != nil {
					t.Fatal(err)
				}
				if on, _ := disk.LastIndex(); (!leading || kind != raft.LogCommand) && on != last {
					t.Fatalf("append of %d returned, %d is on disk", last, on)
				}
			},
			"compact": func(t *rapid.T) {
				if last <= first {
					t.Skip("nothing to drop")
				}
				high := rapid.Uint64Range(first, last-1).Draw(t, "high")
				if err := s.DeleteRange(first, high); err != nil {
					t.Fatal(err)
				}
				first = high + 1
			},
			"contradict": func(t *rapid.T) {
				if last <= first {
					t.Skip("nothing to drop")
				}
				low := rapid.Uint64Range(first+1, last).Draw(t, "low")
				if err := s.DeleteRange(low, last); err != nil {
					t.Fatal(err)
				}
				last = low - 1
			},
			"": func(t *rapid.T) {
				if got, err := s.LastIndex(); err != nil || got != last && last >= first {
					t.Fatalf("last index %d, want %d: %v", got, last, err)
				}
				for i := first; i <= last; i++ {
					var l raft.Log
					if err := s.GetLog(i, &l); err != nil || l.Index != i || l.Type != want[i] {
						t.Fatalf("entry %d: %+v: %v", i, l, err)
					}
				}
				if reach := s.reach(); reach < last {
					on, _ := disk.LastIndex()
					if on < reach && on > 0 {
						t.Fatalf("%d is on disk, not %d", on, reach)
					}
				}
			},
		})
		s.stop()
		<-ended
		if on, _ := disk.LastIndex(); last >= first && on != last {
			t.Fatalf("%d of %d entries are on disk after the end", on, last)
		}
		if disk.gap != nil {
			t.Fatal(disk.gap)
		}
	})
}

// Followers hear of no commit beyond the leader's disk.
func TestCommitIndexIsHeld(t *testing.T) {
	for _, row := range []struct{ commit, reach, want uint64 }{
		{0, 5, 0}, {4, 5, 4}, {5, 5, 5}, {9, 5, 5}, {9, math.MaxUint64, 9},
	} {
		tr := &transport{reach: func() uint64 { return row.reach }}
		args := &raft.AppendEntriesRequest{Term: 3, LeaderCommitIndex: row.commit}
		if got := tr.held(args); got.LeaderCommitIndex != row.want || got.Term != 3 || args.LeaderCommitIndex != row.commit {
			t.Errorf("%+v: sent %d", row, got.LeaderCommitIndex)
		}
	}
}

// A pipeline would pass by the look at the disk, and raft v1.8's can wait for
// itself for the rest of a term.
func TestPipelineIsOff(t *testing.T) {
	if _, err := new(transport).AppendEntriesPipeline("h2", "127.0.0.1:1"); !errors.Is(err, raft.ErrPipelineReplicationNotSupported) {
		t.Errorf("%v", err)
	}
}
