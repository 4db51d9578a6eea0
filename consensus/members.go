package consensus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/hashicorp/raft"
)

func configuration(servers []Server) raft.Configuration {
	var c raft.Configuration
	for _, s := range servers {
		suffrage := raft.Voter
		if s.Nonvoter {
			suffrage = raft.Nonvoter
		}
		c.Servers = append(c.Servers, raft.Server{Suffrage: suffrage, ID: raft.ServerID(s.ID), Address: raft.ServerAddress(s.Address)})
	}
	return c
}

// Servers is the newest configuration this host knows, committed or not.
func (n *Node) Servers() []Server {
	r := n.raft.Load()
	if r == nil {
		return nil
	}
	var out []Server
	for _, s := range r.GetConfiguration().Configuration().Servers {
		out = append(out, Server{ID: string(s.ID), Address: string(s.Address), Nonvoter: s.Suffrage != raft.Voter})
	}
	return out
}

// AddVoter adds a voter, promotes a non-voter or changes an address. Leader only.
func (n *Node) AddVoter(ctx context.Context, id, address string) error {
	return n.change(ctx, "add voter "+id, func(r *raft.Raft, wait time.Duration) raft.Future {
		return r.AddVoter(raft.ServerID(id), raft.ServerAddress(address), 0, wait)
	})
}

// AddNonvoter adds a server that receives the log and has no vote. Leader only.
func (n *Node) AddNonvoter(ctx context.Context, id, address string) error {
	return n.change(ctx, "add non-voter "+id, func(r *raft.Raft, wait time.Duration) raft.Future {
		return r.AddNonvoter(raft.ServerID(id), raft.ServerAddress(address), 0, wait)
	})
}

// Remove takes a server out of the configuration. Leader only. A leader that
// removes itself ends its Run with ErrRemoved; a removed follower goes on
// without contact and says so in its log.
func (n *Node) Remove(ctx context.Context, id string) error {
	return n.change(ctx, "remove server "+id, func(r *raft.Raft, wait time.Duration) raft.Future {
		return r.RemoveServer(raft.ServerID(id), 0, wait)
	})
}

func (n *Node) change(ctx context.Context, what string, start func(*raft.Raft, time.Duration) raft.Future) error {
	ctx, cancel := n.bounded(ctx)
	defer cancel()
	err := n.call(ctx, func(r *raft.Raft) error {
		return n.outcome(start(r, n.cfg.Timeouts.Propose).Error())
	})
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		err = &ErrUnknownOutcome{Err: err}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// TransferLeadership hands leadership to a host, or to the most up-to-date one
// when to is empty. Leader only; it returns when this host leads no more.
func (n *Node) TransferLeadership(ctx context.Context, to string) error {
	ctx, cancel := n.bounded(ctx)
	defer cancel()
	if !n.IsLeader() {
		return n.notLeader()
	}
	var address string
	if to != "" {
		for _, s := range n.Servers() {
			if s.ID == to && !s.Nonvoter {
				address = s.Address
			}
		}
		if address == "" {
			return fmt.Errorf("transfer leadership to %s: it is not a voter of this cluster", to)
		}
	}
	err := n.call(ctx, func(r *raft.Raft) error {
		if to == "" {
			return r.LeadershipTransfer().Error()
		}
		return r.LeadershipTransferToServer(raft.ServerID(to), raft.ServerAddress(address)).Error()
	})
	if err != nil {
		return fmt.Errorf("transfer leadership: %w", err)
	}
	return nil
}

// Snapshot writes a snapshot now. Nothing new to write is no error.
func (n *Node) Snapshot(ctx context.Context) error {
	err := n.call(ctx, func(r *raft.Raft) error { return r.Snapshot().Error() })
	if err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return fmt.Errorf("raft snapshot: %w", err)
	}
	return nil
}

// Restore replaces the replicated state of the whole cluster with a snapshot's:
// size bytes in the Replica's own format, current to index. What was committed
// since is lost. Leader only; it returns when a majority has the new state.
func (n *Node) Restore(ctx context.Context, index uint64, size int64, from io.Reader) error {
	if !n.IsLeader() {
		return n.notLeader()
	}
	meta := &raft.SnapshotMeta{Version: raft.SnapshotVersionMax, Index: index, Size: size}
	err := n.call(ctx, func(r *raft.Raft) error { return r.Restore(meta, from, n.cfg.Timeouts.Propose) })
	if err != nil {
		return fmt.Errorf("restore the replicated state: %w", n.outcome(err))
	}
	return nil
}

// SnapshotLoops counts the servers that this leader has sent the same snapshot
// three times within a minute: they will not catch up by themselves.
func (n *Node) SnapshotLoops() int {
	if t := n.transport.Load(); t != nil {
		return t.looping()
	}
	return 0
}

// Stats are figures for operators: raft's own, and ours.
func (n *Node) Stats() map[string]string {
	r, t := n.raft.Load(), n.transport.Load()
	if r == nil || t == nil {
		return map[string]string{"state": "Stopped"}
	}
	s := r.Stats()
	s["replica_applied"] = strconv.FormatUint(n.cfg.Replica.Applied(), 10)
	s["entries_in_flight"] = strconv.FormatInt(n.gather.inFlight.Load(), 10)
	s["proposals_waiting"] = strconv.Itoa(len(n.gather.queue))
	s["snapshot_loops"] = strconv.Itoa(t.looping())
	if err := n.guard.failure(); err != nil {
		s["store_failure"] = err.Error()
	}
	return s
}
