package fsm

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	"github.com/placed-dev/placed/fleet"
)

func command1(index uint64, data []byte) *raft.Log {
	return &raft.Log{Index: index, Type: raft.LogCommand, Data: data}
}

// TestReplicaStops: after an entry that cannot be read nothing is applied, and
// the process is told once.
func TestReplicaStops(t *testing.T) {
	var told []error
	r := NewReplica(func(err error) { told = append(told, err) })
	w := newWorld()
	good := w.encode(t, "h1", InitCluster{Cluster: "c1"})
	out := r.ApplyBatch([]*raft.Log{
		command1(1, foreign(9999, false)), command1(2, good), {Index: 3, Type: raft.LogConfiguration}})
	if len(told) != 1 || !errors.Is(told[0], ErrUnknownCommand) {
		t.Fatalf("told %v", told)
	}
	if got := out[1].(Result); !errors.Is(got.Fatal, ErrUnknownCommand) || len(got.Ops) != 0 {
		t.Errorf("the next entry gave %+v", got)
	}
	r.Read(func(s *State) {
		if s.Cluster() != "" {
			t.Error("an entry was applied after the one that could not be read")
		}
	})
	if r.Apply(command1(4, good)); len(told) != 1 {
		t.Errorf("told %d times", len(told))
	}
	if _, err := r.Snapshot(); !errors.Is(err, ErrUnknownCommand) {
		t.Errorf("a stopped replica gave a snapshot: %v", err)
	}
	if err := r.WaitApplied(context.Background(), 99); !errors.Is(err, ErrUnknownCommand) {
		t.Errorf("waiting on a stopped replica: %v", err)
	}
}

func TestReplicaWaits(t *testing.T) {
	defer goleak.VerifyNone(t)
	r := NewReplica(nil)
	w := newWorld()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			if err := r.WaitApplied(ctx, 3); err != nil {
				t.Error(err)
			}
			if r.Applied() < 3 {
				t.Error("WaitApplied returned too early")
			}
		})
	}
	changed := r.Changed()
	r.Apply(command1(1, w.encode(t, "h1", InitCluster{Cluster: "c1"})))
	select {
	case <-changed:
	default:
		t.Error("a change was not announced")
	}
	r.ApplyBatch([]*raft.Log{command1(2, w.encode(t, "h1", RegisterHost{Host: host("h1", gib)})), {Index: 3, Type: raft.LogConfiguration}})
	group.Wait()
	gone, stop := context.WithCancel(ctx)
	stop()
	if err := r.WaitApplied(gone, 4); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled wait gave %v", err)
	}
}

// TestSnapshotWhileApplying: a capture does not change, nor hold up, what is
// applied after it; the race detector watches.
func TestSnapshotWhileApplying(t *testing.T) {
	w := rich(t)
	r := NewReplica(nil)
	r.state = w.state
	want := snapshotBytes(t, w.state)
	captured, err := r.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			var buf bytes.Buffer
			if _, err := captured.(Snapshot).WriteTo(&buf); err != nil || !bytes.Equal(buf.Bytes(), want) {
				t.Errorf("a capture changed while entries were applied (%v)", err)
			}
		})
		group.Go(func() {
			r.Read(func(s *State) { s.View(); s.EventsSince(0, 0); s.Decisions(0); s.Outcomes() })
		})
	}
	l, _ := w.state.LeaseOf("w1")
	for _, data := range [][]byte{
		w.encode(t, "h2", ReportActivated{Lease: l.ID}),
		w.encode(t, "h1", ReportReleased{Lease: l.ID}, RecordOutcome{Outcome: MigrationOutcome{Lease: l.ID, Rounds: 9}}),
		w.encode(t, "h3", RegisterWorkloads{Host: "h3"}),
	} {
		w.index++
		if err := r.Apply(command1(w.index, data)).(Result).Refused(); err != nil {
			t.Error(err)
		}
	}
	group.Wait()
}

// TestUnderRaft runs a real Raft node: apply, snapshot, restart from it.
func TestUnderRaft(t *testing.T) {
	defer goleak.VerifyNone(t)
	logs, snapshots := raft.NewInmemStore(), raft.NewInmemSnapshotStore()
	w := newWorld()
	start := func() (*Replica, *raft.Raft) {
		config := raft.DefaultConfig()
		config.LocalID, config.LogOutput = "h1", io.Discard
		config.HeartbeatTimeout, config.ElectionTimeout, config.LeaderLeaseTimeout = 50*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond
		config.CommitTimeout, config.TrailingLogs = 5*time.Millisecond, 1
		address, transport := raft.NewInmemTransport("h1")
		replica := NewReplica(func(err error) { t.Error(err) })
		node, err := raft.NewRaft(config, replica, logs, logs, snapshots, transport)
		if err != nil {
			t.Fatal(err)
		}
		bootstrap := node.BootstrapCluster(raft.Configuration{Servers: []raft.Server{{ID: "h1", Address: address}}})
		if err := bootstrap.Error(); err != nil && !errors.Is(err, raft.ErrCantBootstrap) {
			t.Fatal(err)
		}
		select {
		case <-node.LeaderCh():
		case <-time.After(60 * time.Second):
			t.Fatal("no leader")
		}
		if err := node.Barrier(10 * time.Second).Error(); err != nil {
			t.Fatal(err)
		}
		return replica, node
	}
	propose := func(node *raft.Raft, from fleet.HostID, ops ...Operation) uint64 {
		future := node.Apply(w.encode(t, from, ops...), 10*time.Second)
		if err := future.Error(); err != nil {
			t.Fatal(err)
		}
		if err := future.Response().(Result).Refused(); err != nil {
			t.Fatal(err)
		}
		return future.Index()
	}
	stop := func(node *raft.Raft) {
		if err := node.Shutdown().Error(); err != nil {
			t.Fatal(err)
		}
	}

	replica, node := start()
	propose(node, "h1", InitCluster{Cluster: "c1"}, RegisterHost{Host: host("h1", 64*gib)},
		RegisterWorkloads{Host: "h1", Workloads: []fleet.Workload{instance("w1", gib)}})
	propose(node, "h2", RegisterHost{Host: host("h2", 64*gib)})
	if err := node.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	index := propose(node, "h1", Grant{Workload: "w1", Destination: "h2", Type: fleet.Requested})
	if err := replica.WaitApplied(t.Context(), index); err != nil {
		t.Fatal(err)
	}
	var before []byte
	replica.Read(func(s *State) { before = snapshotBytes(t, s) })
	stop(node)

	replica, node = start()
	defer stop(node)
	replica.Read(func(s *State) {
		if !bytes.Equal(before, snapshotBytes(t, s)) {
			t.Error("snapshot and log give another state than before the restart")
		}
		if _, held := s.LeaseOf("w1"); !held || s.Held("h2").Memory != gib {
			t.Error("the lease is lost")
		}
	})
}
