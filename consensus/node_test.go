package consensus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// Many proposers, kills of the leader and a restart: what was acknowledged is
// on every member in the end, once; what was refused is on none.
func TestAcknowledgedIsKept(t *testing.T) {
	c := newCluster(t, 3)
	c.leader()
	var next atomic.Uint64
	var mu sync.Mutex
	acked, refused := map[uint64]bool{}, map[uint64]bool{}
	stop := make(chan struct{})
	var proposers sync.WaitGroup
	members := slices.Clone(c.members)
	nodes := func() []*Node { // of those that run, without a race with restarts
		mu.Lock()
		defer mu.Unlock()
		var out []*Node
		for _, m := range members {
			out = append(out, m.Node)
		}
		return out
	}
	for range 8 {
		proposers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				for _, n := range nodes() {
					if !n.IsLeader() {
						continue
					}
					value := next.Add(1)
					ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
					got, index, err := n.Propose(ctx, command(value))
					cancel()
					var not *ErrNotLeader
					var unknown *ErrUnknownOutcome
					mu.Lock()
					switch {
					case err == nil:
						acked[value] = true
						if got != value || index == 0 {
							t.Errorf("proposed %d: result %v, index %d", value, got, index)
						}
					case errors.As(err, &not), errors.Is(err, ErrBusy):
						refused[value] = true
					case !errors.As(err, &unknown):
						t.Errorf("untyped error: %v", err)
					}
					mu.Unlock()
				}
			}
		})
	}
	count := func() int { mu.Lock(); defer mu.Unlock(); return len(acked) }
	progress := func(what string) {
		t.Helper()
		before := count()
		eventually(t, what, func() error {
			if count() < before+100 {
				return fmt.Errorf("%d of 100 acknowledged", count()-before)
			}
			return nil
		})
	}
	progress("before the kill")
	for range 2 {
		leader := c.leader()
		leader.kill()
		progress("with one member down")
		if err := leader.follower().Snapshot(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		c.start(leader, nil)
		mu.Unlock()
		progress("after the restart")
	}
	close(stop)
	proposers.Wait()

	want := c.leader().state.values()
	for _, m := range c.members {
		eventually(t, m.id+" catches up", func() error {
			if got := m.state.values(); !slices.Equal(got, want) {
				return fmt.Errorf("%d values, the leader has %d", len(got), len(want))
			}
			return nil
		})
	}
	times := map[uint64]int{}
	for _, v := range want {
		times[v]++
	}
	for v := range acked {
		if times[v] != 1 {
			t.Errorf("%d was acknowledged and is there %d times", v, times[v])
		}
	}
	for v := range refused {
		if times[v] != 0 {
			t.Errorf("%d was refused and is there %d times", v, times[v])
		}
	}
	t.Logf("%d acknowledged, %d refused, %d proposed", len(acked), len(refused), next.Load())
}

func (m *member) follower() snapshotter { return snapshotter{not: m} }

type snapshotter struct{ not *member }

// Snapshot makes every running member but one write a snapshot.
func (s snapshotter) Snapshot(ctx context.Context, c *cluster) error {
	for _, m := range c.members {
		if m != s.not && m.cancel != nil {
			if err := m.Node.Snapshot(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// A linearizable read waits for the state to show what was committed, and not
// only for raft to have handed it over.
func TestLinearizableWaitsForTheState(t *testing.T) {
	c := newCluster(t, 1)
	m := c.members[0]
	c.leader()
	slow := make(chan struct{})
	release := sync.OnceFunc(func() { close(slow) })
	defer release()
	before := m.raft.Load().LastIndex()
	m.state.mu.Lock()
	m.state.slow = slow
	m.state.mu.Unlock()
	proposed := make(chan error, 1)
	go func() {
		_, _, err := m.Propose(context.Background(), command(7))
		proposed <- err
	}()
	eventually(t, "the entry is committed", func() error {
		r := m.raft.Load()
		if r.AppliedIndex() != r.LastIndex() || r.LastIndex() == before {
			return errors.New("not yet")
		}
		return nil
	})
	read := make(chan error, 1)
	go func() {
		_, err := m.Linearizable(context.Background())
		if err == nil && !m.state.has(7) {
			err = errors.New("stale read: the committed value is not there")
		}
		read <- err
	}()
	select {
	case err := <-read:
		t.Fatalf("read returned before the state had applied the entry: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	release()
	if err := errors.Join(<-read, <-proposed); err != nil {
		t.Fatal(err)
	}
}

// What a read is current to can be reached everywhere, also when the newest entry
// is one of raft's own: an idle follower would else wait until the next command.
func TestLinearizableIndexIsReachedWhereNothingHappens(t *testing.T) {
	c := newCluster(t, 3)
	leader := c.leader()
	if _, _, err := leader.Propose(t.Context(), command(7)); err != nil {
		t.Fatal(err)
	}
	c.transfer(leader, "") // its entry opens a term and is no command
	leader = c.leader()
	index, err := leader.Linearizable(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if last := leader.raft.Load().LastIndex(); index >= last {
		t.Fatalf("read is current to index %d of %d: the last entry is the term's own and this test proves nothing", index, last)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for _, m := range c.members {
		if err := m.state.WaitApplied(ctx, index); err != nil {
			t.Errorf("%s waits for index %d, its state shows %d: %v", m.id, index, m.state.Applied(), err)
		}
	}
}

// A leader that is cut off answers no read and acknowledges no write.
func TestDeposedLeaderErrors(t *testing.T) {
	c := newCluster(t, 3)
	leader := c.leader()
	for _, m := range c.members {
		if m != leader {
			m.kill()
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	var not *ErrNotLeader
	var unknown *ErrUnknownOutcome
	_, _, err := leader.Propose(ctx, command(1))
	if !errors.As(err, &unknown) && !errors.As(err, &not) {
		t.Errorf("write without quorum: %v", err)
	}
	if _, err := leader.Linearizable(ctx); !errors.As(err, &not) {
		t.Errorf("read without quorum: %v, want ErrNotLeader", err)
	}
}

func TestFollowerNamesTheLeader(t *testing.T) {
	c := newCluster(t, 3)
	leader, follower := c.leader(), c.follower()
	eventually(t, "follower knows the leader", func() error {
		_, _, err := follower.Propose(t.Context(), command(1))
		var not *ErrNotLeader
		if !errors.As(err, &not) || not.Leader != leader.id || not.Address != leader.address {
			return fmt.Errorf("propose on a follower: %w", err)
		}
		return nil
	})
	if _, _, err := leader.Propose(t.Context(), make([]byte, MaxEntry+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("large entry: %v", err)
	}
	if age, ok := follower.LastContact(); !ok || age > 5*time.Second {
		t.Errorf("last contact %v, %v", age, ok)
	}
	c.transfer(leader, follower.id)
	eventually(t, "the chosen host leads", func() error {
		if !follower.IsLeader() {
			return errors.New("it does not")
		}
		return nil
	})
}

// lead runs at most once at a time on a host and at most once per term, sees
// everything of earlier terms, and is cancelled when the term ends.
func TestLeadership(t *testing.T) {
	c := newCluster(t, 3)
	ctx, cancel := context.WithCancel(t.Context())
	var running [3]atomic.Int64
	var mu sync.Mutex
	terms := map[uint64]string{}
	var ended, written atomic.Uint64
	var watchers sync.WaitGroup
	for i, m := range c.members {
		watchers.Go(func() {
			err := m.Leadership(ctx, func(lead context.Context) error {
				if running[i].Add(1) != 1 {
					t.Errorf("%s: lead runs twice", m.id)
				}
				defer running[i].Add(-1)
				_, term, _ := m.watch.state()
				mu.Lock()
				if other := terms[term]; other != "" {
					t.Errorf("term %d led by %s and again by %s", term, other, m.id)
				}
				terms[term] = m.id
				mu.Unlock()
				if n := written.Load(); n > 0 && !m.state.has(n) {
					t.Errorf("%s leads without value %d of an earlier term", m.id, n)
				}
				<-lead.Done()
				if ctx.Err() == nil && !errors.Is(context.Cause(lead), ErrLeadershipLost) {
					t.Errorf("%s: cause %v", m.id, context.Cause(lead))
				}
				ended.Add(1)
				return nil
			})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s: Leadership returned %v", m.id, err)
			}
		})
	}
	for i := range 4 {
		leader := c.leader()
		eventually(t, "lead is called", func() error {
			mu.Lock()
			defer mu.Unlock()
			if len(terms) <= i {
				return fmt.Errorf("%d terms", len(terms))
			}
			return nil
		})
		if _, _, err := leader.Propose(t.Context(), command(uint64(i+1))); err != nil {
			t.Fatal(err)
		}
		written.Store(uint64(i + 1))
		c.transfer(leader, "")
		eventually(t, "lead is cancelled", func() error {
			if ended.Load() <= uint64(i) {
				return errors.New("it runs on")
			}
			return nil
		})
	}
	cancel()
	watchers.Wait()
}

// A leader whose work fails gives leadership away.
func TestFailedLeaderStepsDown(t *testing.T) {
	c := newCluster(t, 3)
	broken := c.leader()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- broken.Leadership(ctx, func(context.Context) error { return errors.New("cannot lead") })
	}()
	eventually(t, "another leader", func() error {
		if id, _ := broken.Leader(); id == "" || id == broken.id {
			return fmt.Errorf("leader is %q", id)
		}
		return nil
	})
	cancel()
	<-done
}

func TestMembership(t *testing.T) {
	c := newCluster(t, 3)
	leader := c.leader()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	joined := &member{t: t, id: "h4", dir: t.TempDir(), address: l.Addr().String()}
	c.change = func(cfg *Config) { cfg.Bootstrap = nil }
	c.start(joined, l)
	c.members = append(c.members, joined)
	if _, _, err := leader.Propose(t.Context(), command(5)); err != nil {
		t.Fatal(err)
	}
	if err := leader.AddNonvoter(t.Context(), "h4", joined.address); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new member has the state", func() error {
		if !joined.state.has(5) {
			return errors.New("not yet")
		}
		return nil
	})
	if s := leader.Servers(); len(s) != 4 || !s[3].Nonvoter {
		t.Errorf("servers %+v", s)
	}
	if err := leader.AddVoter(t.Context(), "h4", joined.address); err != nil {
		t.Fatal(err)
	}
	gone := c.follower()
	if err := leader.Remove(t.Context(), gone.id); err != nil {
		t.Fatal(err)
	}
	if err := leader.TransferLeadership(t.Context(), gone.id); err == nil || !strings.Contains(err.Error(), "not a voter") {
		t.Errorf("transfer to a removed host: %v", err)
	}
	if s := leader.Servers(); len(s) != 3 || slices.ContainsFunc(s, func(s Server) bool { return s.ID == gone.id || s.Nonvoter }) {
		t.Errorf("servers %+v", s)
	}
	// A leader that removes itself ends.
	if err := leader.Remove(t.Context(), leader.id); err != nil {
		t.Fatal(err)
	}
	if err := <-leader.done; !errors.Is(err, ErrRemoved) {
		t.Errorf("Run of the removed leader: %v", err)
	}
	leader.cancel = nil
}

func TestBeforeAndAfterRun(t *testing.T) {
	c := newCluster(t, 1)
	m := c.members[0]
	c.leader()
	m.stop()
	var not *ErrNotLeader
	if _, _, err := m.Propose(t.Context(), command(1)); !errors.As(err, &not) {
		t.Errorf("propose after Run: %v", err)
	}
	if _, err := m.Linearizable(t.Context()); !errors.As(err, &not) {
		t.Errorf("read after Run: %v", err)
	}
	if s := m.Stats()["state"]; s != raft.Shutdown.String() {
		t.Errorf("state %q", s)
	}
}

// The alarm of hashicorp/raft #697.
func TestRepeatedSnapshotsRaiseTheAlarm(t *testing.T) {
	now := time.Unix(0, 0)
	tr := &transport{logger: nullLogger(), now: func() time.Time { return now }, sent: map[raft.ServerID]sentSnapshots{}, loop: map[raft.ServerID]bool{}}
	for _, step := range []struct {
		index uint64
		after time.Duration
		want  int
	}{{100, 0, 0}, {100, time.Second, 0}, {100, time.Second, 1}, {200, time.Second, 0}, {200, 2 * time.Minute, 0}, {200, time.Second, 0}, {200, time.Second, 1}} {
		now = now.Add(step.after)
		tr.count("h1", step.index)
		if got := tr.looping(); got != step.want {
			t.Fatalf("%+v: %d peers loop", step, got)
		}
	}
}

func BenchmarkPropose(b *testing.B) {
	for _, proposers := range []int{1, 64} {
		b.Run(fmt.Sprintf("proposers=%d", proposers), func(b *testing.B) {
			c := newCluster(b, 3)
			leader := c.leader()
			var left atomic.Int64
			left.Store(int64(b.N))
			var wg sync.WaitGroup
			b.ResetTimer()
			for range proposers {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						if _, _, err := leader.Propose(b.Context(), command(1)); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}
