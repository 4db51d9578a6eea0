package controller

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/predictor"
)

// ledger is the real replicated state without a log around it: entries are
// applied as they are proposed, by the leader h1.
type ledger struct {
	t     *testing.T
	mu    sync.Mutex
	state *fsm.State
	index uint64
}

func (l *ledger) View() fleet.View {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state.View()
}

func (l *ledger) Read(f func(*fsm.State)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(l.state)
}

func (l *ledger) Propose(_ context.Context, ops ...fsm.Operation) (fsm.Result, error) {
	return l.propose("h1", ops...), nil
}

func (l *ledger) propose(by fleet.HostID, ops ...fsm.Operation) fsm.Result {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.index++
	now := time.Now()
	data, err := fsm.Encode(fsm.Header{ID: fmt.Sprint("e", l.index), Proposer: by, At: now, LoadAt: now}, ops...)
	if err != nil {
		l.t.Fatal(err)
	}
	return l.state.Apply(l.index, data)
}

// dispatched are the agents: they remember what they were told and do nothing.
type dispatched struct {
	mu   sync.Mutex
	told []fleet.LeaseID
}

func (d *dispatched) Migrate(_ context.Context, source fleet.Host, l fleet.Lease) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if source.ID != l.Source {
		return fmt.Errorf("lease %s went to %s", l.ID, source.ID)
	}
	d.told = append(d.told, l.ID)
	return nil
}

func (d *dispatched) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.told)
}

func newTerm(t *testing.T) (*Controller, *ledger, *dispatched) {
	t.Helper()
	books := &ledger{t: t, state: fsm.New()}
	policy := fleet.DefaultPolicy()
	policy.Automation = fleet.Auto
	for i, id := range []fleet.HostID{"h1", "h2"} {
		host := fleet.Host{ID: id, Name: string(id), Zone: "z", Voter: true, Capacity: fleet.Vector{CPU: 8000, Memory: 64 << 30}}
		ops := []fsm.Operation{fsm.RegisterHost{Host: host}}
		if i == 0 {
			ops = append([]fsm.Operation{fsm.InitCluster{Cluster: "c"}}, append(ops, fsm.SetPolicy{Policy: policy, By: "test"},
				fsm.RegisterWorkloads{Host: id, Workloads: []fleet.Workload{{ID: "w", Driver: "region", Reservation: fleet.Vector{CPU: 1000, Memory: 1 << 30}}}})...)
		}
		if err := books.propose(id, ops...).Refused(); err != nil {
			t.Fatal(err)
		}
	}
	agents := &dispatched{}
	c := New(Config{
		Books: books, Agents: agents, Reports: NewReports(), Model: predictor.Baseline{}, Clock: fleet.LoadClock{Scale: 1},
		Liveness: func() map[fleet.HostID]fleet.Liveness {
			return map[fleet.HostID]fleet.Liveness{"h1": fleet.Alive, "h2": fleet.Alive}
		},
		Pass: time.Second, StaleAfter: 10 * time.Second, Now: time.Now, Logger: hclog.NewNullLogger(),
	})
	return c, books, agents
}

// lead runs a term, with reports of both hosts every second, until stop.
func lead(t *testing.T, c *Controller) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := c.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	running.Go(func() {
		for seq := uint64(1); ctx.Err() == nil; seq++ {
			for _, id := range []fleet.HostID{"h1", "h2"} {
				c.cfg.Reports.Add(Report{Host: id, Boot: "b", Seq: seq, At: time.Now(), Usage: fleet.Vector{CPU: 100}}, time.Now())
			}
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	})
	return func() { cancel(); running.Wait() }
}

// TestRequestedMove: an operator's request becomes a decision, a lease and a call
// to the source; a source that does not begin is asked again; a holder that stays
// silent loses the lease, and the capacity is free again.
func TestRequestedMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, books, agents := newTerm(t)
		if _, _, err := c.Move(t.Context(), fleet.Request{Workload: "w"}); !errors.Is(err, ErrNotLeader) {
			t.Errorf("a move without a term: %v", err)
		}
		if err := c.Renew("L1"); !errors.Is(err, ErrNotLeader) {
			t.Errorf("a renewal without a term: %v", err)
		}
		stop := lead(t, c)
		defer stop()
		time.Sleep(1500 * time.Millisecond) // virtual: reports have come
		d, lease, err := c.Move(t.Context(), fleet.Request{Workload: "w", Type: fleet.Requested, DestinationHost: "h2", By: "alice", At: time.Now()})
		if err != nil || lease == nil || lease.Destination != "h2" || d.Outcome != fleet.OutcomeMove {
			t.Fatalf("decision %+v, lease %+v, %v", d, lease, err)
		}
		if agents.count() != 1 {
			t.Fatalf("the source was told %d times", agents.count())
		}
		books.Read(func(s *fsm.State) {
			if _, ok := s.Decision(lease.Decision); !ok {
				t.Error("the decision behind the lease is not in the books")
			}
			if held := s.Held("h2"); held.CPU != 1000 {
				t.Errorf("the destination holds %s", held)
			}
		})
		time.Sleep(redispatchAfter + 2*time.Second)
		if agents.count() < 2 {
			t.Error("a source that has not begun was not asked again")
		}
		if err := c.Renew(lease.ID); err != nil {
			t.Error(err)
		}
		time.Sleep(LeaseTTL)
		books.Read(func(s *fsm.State) {
			if l, _ := s.Lease(lease.ID); l.State != fleet.Granted {
				t.Errorf("the lease is %s within its term after a renewal", l.State)
			}
		})
		time.Sleep(10 * time.Second)
		books.Read(func(s *fsm.State) {
			if l, _ := s.Lease(lease.ID); l.State != fleet.Aborted || l.Active() {
				t.Errorf("the lease of a silent holder is %s", l.State)
			}
			if held := s.Held("h2"); !held.IsZero() {
				t.Errorf("the destination still holds %s", held)
			}
		})
	})
}

// TestSilenceAfterBegin: once bytes have moved, silence frees nothing.
func TestSilenceAfterBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, books, _ := newTerm(t)
		stop := lead(t, c)
		defer stop()
		time.Sleep(1500 * time.Millisecond)
		_, lease, err := c.Move(t.Context(), fleet.Request{Workload: "w", Type: fleet.Requested, DestinationHost: "h2", At: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		if err := books.propose("h1", fsm.Begin{Lease: lease.ID}).Refused(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * LeaseTTL)
		books.Read(func(s *fsm.State) {
			if l, _ := s.Lease(lease.ID); l.State != fleet.Uncertain {
				t.Errorf("the lease is %s, want uncertain", l.State)
			}
			if s.Held("h2").CPU != 1000 || s.Held("h1").CPU != 1000 {
				t.Errorf("both ends must stay reserved: %s and %s", s.Held("h1"), s.Held("h2"))
			}
		})
	})
}

// TestPlace: room is granted where it is, refused with figures where it is not.
func TestPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, _ := newTerm(t)
		stop := lead(t, c)
		defer stop()
		synctest.Wait()
		w := fleet.Workload{ID: "new", Owner: "h2", Reservation: fleet.Vector{CPU: 2000, Memory: 1 << 30}}
		lease, err := c.Place(t.Context(), w)
		if err != nil || lease.Kind != fleet.LeasePlacement || lease.Destination != "h2" {
			t.Fatalf("%+v, %v", lease, err)
		}
		w.ID, w.Reservation.CPU = "huge", 7000
		var refusal *fsm.Refusal
		if _, err := c.Place(t.Context(), w); !errors.As(err, &refusal) || !errors.Is(err, fsm.ErrCapacity) || refusal.Free != 6000 {
			t.Errorf("7 cores on a host with 6 free: %v", err)
		}
	})
}

// TestContentionCame: a prediction is judged by what the source would have had to
// carry, and only where enough was measured.
func TestContentionCame(t *testing.T) {
	tick := fleet.TickOf(start)
	outcome := fsm.MigrationOutcome{Lease: "L1", Workload: "w", Source: "h1", CommittedAt: start, Breach: fleet.TickStart(tick + 4), Allocatable: 100}
	measure := func(host, moved []int64) *Controller {
		c := &Controller{cfg: Config{Reports: NewReports()}}
		for i := range host {
			at := tick + 1 + int64(i)
			seq := uint64(i + 1)
			c.cfg.Reports.Add(Report{Host: "h1", Boot: "b", Seq: seq, At: fleet.TickStart(at + 1), Workloads: []WorkloadReport{{ID: "rest", Tick: at, TickCPU: host[i]}}}, start)
			if i < len(moved) {
				c.cfg.Reports.Add(Report{Host: "h2", Boot: "b", Seq: seq, At: fleet.TickStart(at + 1), Workloads: []WorkloadReport{{ID: "w", Tick: at, TickCPU: moved[i]}}}, start)
			}
		}
		return c
	}
	outcome.Type, outcome.Resource, outcome.CommittedIndex = fleet.Preemptive, fleet.CPU, 7
	now := outcome
	now.Type = fleet.Threshold
	if !predicted(outcome) || predicted(now) {
		t.Error("a move against what was there already has predicted nothing, one ahead of a breach has")
	}
	last := tick + 4 + judgeAfter
	for _, c := range []struct {
		name        string
		host, moved []int64
		came, known bool
	}{
		{"it would have been short", []int64{50, 50, 90, 50, 50, 50, 50}, []int64{20, 20, 20, 20, 20, 20, 20}, true, true},
		{"there was room all the time", []int64{50, 50, 80, 50, 50, 50, 50}, []int64{20, 20, 20, 20, 20, 20, 20}, false, true},
		{"too little was measured", []int64{50, 50, 90, 50, 50, 50, 50}, []int64{20, 20}, false, false},
	} {
		came, known := measure(c.host, c.moved).came(outcome, last)
		if known != c.known || known && came != c.came {
			t.Errorf("%s: came %v, known %v", c.name, came, known)
		}
	}
}
