package daemon

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/consensus"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/httpapi"
	"github.com/placed-dev/placed/peer"
	"github.com/placed-dev/placed/transport"
)

// maxStateBody bounds a snapshot that travels in one call.
const maxStateBody = 512 << 20

// quorumRequest is an operator's word on the servers of the log; one field per
// kind. It is served by the leader.
type quorumRequest struct {
	Op      string `json:"op"` // add, remove, transfer, restore, finalize
	ID      string `json:"id,omitempty"`
	Address string `json:"address,omitempty"`
	By      string `json:"by,omitempty"`
	// Snapshot of a restore.
	Snapshot []byte `json:"snapshot,omitempty"`
}

type quorumAnswer struct {
	Index   uint64 `json:"index"`
	Message string `json:"message"`
}

// serverStats is what a voter says about itself, and what its clock shows.
type serverStats struct {
	consensus.ServerStats
	Now time.Time `json:"now"`
}

type serversAnswer struct {
	Term    uint64             `json:"term"`
	Index   uint64             `json:"index"`
	Servers []consensus.Server `json:"servers"`
	Health  *consensus.Health  `json:"health,omitempty"`
	Clock   clockOffset        `json:"clock"`
}

func (d *Daemon) serveServerStats(context.Context, transport.Identity, empty) (serverStats, error) {
	if d.node == nil {
		return serverStats{}, notLeader{}
	}
	return serverStats{ServerStats: d.node.OwnStats(), Now: time.Now()}, nil
}

func (d *Daemon) serveServers(ctx context.Context, from transport.Identity, r empty) (serversAnswer, error) {
	return onLeader(ctx, d, from, callServers, r, func() (serversAnswer, error) {
		if d.node == nil || !d.node.IsLeader() {
			return serversAnswer{}, &consensus.ErrNotLeader{}
		}
		return d.serversHere(), nil
	})
}

// serversHere is what this host knows of the servers; the health only on the leader.
func (d *Daemon) serversHere() serversAnswer {
	return serversAnswer{Term: d.node.Term(), Index: d.replica.Applied(), Servers: d.node.Servers(), Health: d.node.Health(), Clock: d.clockOffset.load()}
}

func (d *Daemon) serveQuorum(ctx context.Context, _ transport.Identity, r quorumRequest) (quorumAnswer, error) {
	if d.node == nil || !d.node.IsLeader() {
		return quorumAnswer{}, notLeader{}
	}
	answer, err := d.quorum(ctx, r)
	return answer, asCall(err)
}

// quorum carries an operator's word out, on the leader.
func (d *Daemon) quorum(ctx context.Context, r quorumRequest) (quorumAnswer, error) {
	var message string
	var err error
	switch r.Op {
	case "add":
		message = fmt.Sprintf("%s receives the log and gets its vote when it is stable", d.nameOf(r.ID))
		err = d.node.AddNonvoter(ctx, r.ID, r.Address)
	case "remove":
		message = fmt.Sprintf("%s is no server of the log any more", d.nameOf(r.ID))
		err = d.removeServer(ctx, r.ID)
	case "transfer":
		if err = d.node.TransferLeadership(ctx, r.ID); err == nil {
			message = "leadership is handed over"
			if r.ID != "" {
				message += " to " + d.nameOf(r.ID)
			}
		}
	case "restore":
		return d.restoreBooks(ctx, r)
	case "finalize":
		return d.finalizeUpgrade(ctx, r)
	default:
		return quorumAnswer{}, &peer.Error{Code: peer.CodeBadRequest, Message: fmt.Sprintf("unknown operation %q on the servers", r.Op)}
	}
	if err != nil {
		return quorumAnswer{}, err
	}
	d.log.Warn("an operator changed the servers of the log", "op", r.Op, "host", r.ID, "by", r.By)
	return quorumAnswer{Index: d.replica.Applied(), Message: message}, nil
}

// removeServer refuses to take away the last vote.
func (d *Daemon) removeServer(ctx context.Context, id string) error {
	voters, found := 0, false
	for _, s := range d.node.Servers() {
		if s.ID == id {
			found = true
		}
		if !s.Nonvoter {
			voters++
		}
	}
	switch {
	case !found:
		return &peer.Error{Code: codeRefused, Message: fmt.Sprintf("host %s is no server of the log", id)}
	case voters == 1:
		return &peer.Error{Code: codeRefused, Message: fmt.Sprintf("host %s is the only voter: nobody could write without it", id)}
	}
	return d.node.Remove(ctx, id)
}

func (d *Daemon) nameOf(id string) string { return d.ref(fleet.HostID(id)).Name }

// restoreBooks replaces the books of the whole cluster by those of a snapshot, in
// a new generation.
func (d *Daemon) restoreBooks(ctx context.Context, r quorumRequest) (quorumAnswer, error) {
	restored, err := fsm.Restore(bytes.NewReader(r.Snapshot))
	if err != nil {
		return quorumAnswer{}, &peer.Error{Code: peer.CodeBadRequest, Message: err.Error()}
	}
	if restored.Cluster() != d.cfg.Cluster {
		return quorumAnswer{}, &peer.Error{Code: codeRefused, Message: fmt.Sprintf("the snapshot is of cluster %q, this is %q", restored.Cluster(), d.cfg.Cluster)}
	}
	var generation uint64
	d.replica.Read(func(s *fsm.State) { generation = s.Generation() })
	reason := fmt.Sprintf("snapshot of index %d restored", restored.Index())
	if r.By != "" {
		reason += " by " + r.By
	}
	if err := fsm.BeginGeneration(restored, generation, d.self, reason); err != nil {
		return quorumAnswer{}, err
	}
	var data bytes.Buffer
	if _, err := restored.Capture().WriteTo(&data); err != nil {
		return quorumAnswer{}, err
	}
	if err := d.node.Restore(ctx, restored.Index(), int64(data.Len()), &data); err != nil {
		return quorumAnswer{}, err
	}
	d.log.Warn("the books were restored from a snapshot", "generation", restored.Generation(), "index", restored.Index(), "by", r.By)
	return quorumAnswer{Index: restored.Index(), Message: fmt.Sprintf("generation %d begins; every open lease is uncertain until both its ends have been seen", restored.Generation())}, nil
}

// autopilot watches the servers while this host leads.
func (d *Daemon) autopilot(ctx context.Context) error {
	return d.node.Autopilot(ctx, consensus.AutopilotConfig{
		Alive: func(id string) bool {
			return d.liveness()[fleet.HostID(id)] <= fleet.Suspect && d.isMember(fleet.HostID(id))
		},
		Stats: func(ctx context.Context, id, address string) (consensus.ServerStats, error) {
			ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			stats, err := peer.Call[empty, serverStats](ctx, d.peers, peer.Address{ID: fleet.HostID(id), Addr: address}, callServerStats, empty{})
			return stats.ServerStats, err
		},
	})
}

func (d *Daemon) isMember(id fleet.HostID) bool { _, ok := d.liveness()[id]; return ok }

// quorumProblems lists what ails the servers of the log, as their leader sees it.
func (d *Daemon) quorumProblems() (out []api.Problem) {
	if d.node == nil || !d.node.IsLeader() {
		return nil
	}
	if n := d.node.SnapshotLoops(); n > 0 {
		out = append(out, api.Problem{Code: "snapshot_loop", Message: fmt.Sprintf("%d voters receive the same snapshot again and again and will not catch up", n),
			Hint: "see the log for which: remove it with `placed operator raft remove-peer`, empty its raft directory, add it back"})
	}
	if ahead := d.clockOffset.load().Offset; ahead.Abs() > clockTolerance {
		out = append(out, api.Problem{Code: "clock_off", Host: string(d.self), Message: fmt.Sprintf("the leader's clock is %s ahead of the voters' median", ahead.Round(time.Millisecond)),
			Hint: "correct the clock of that host; leadership moves away by itself"})
	}
	if h := d.node.Health(); h != nil {
		for _, s := range h.Servers {
			// A server that has just started is behind, too.
			if !s.Healthy && time.Since(s.StableSince) > 30*time.Second && d.isMember(fleet.HostID(s.ID)) && d.liveness()[fleet.HostID(s.ID)] == fleet.Alive {
				out = append(out, api.Problem{Code: "voter_behind", Host: s.ID, Message: fmt.Sprintf("%s is alive, but its log is not up to date", d.nameOf(s.ID)),
					Hint: "`placed operator raft list-peers` shows how far; see its agent's log"})
			}
		}
	}
	return out
}

// followGeneration books what runs here again whenever a new generation begins:
// nothing is granted for a host that has not said so since.
func (d *Daemon) followGeneration(ctx context.Context) error {
	told := uint64(0)
	for {
		changed := d.replica.Changed()
		var generation uint64
		var verified, registered bool
		d.replica.Read(func(s *fsm.State) {
			generation, verified = s.Generation(), s.Verified(d.self)
			_, registered = s.Host(d.self)
		})
		if registered && !verified {
			if generation != told {
				d.log.Warn("a new generation of the books began: this host says again what it runs", "generation", generation)
				told = generation
			}
			if err := d.sayAgain(ctx); err != nil && ctx.Err() == nil {
				d.log.Debug("not said yet; it is tried again", "error", err)
			}
			changed = nil // until it is true, every retry pause
		}
		if !waitChange(ctx, changed) {
			return nil
		}
	}
}

func (d *Daemon) sayAgain(ctx context.Context) error {
	if err := d.propose(ctx, fsm.RegisterHost{Host: d.registration()}); err != nil {
		return err
	}
	return d.bookRunning(ctx)
}

// waitChange waits for the change, or without one for a pause; false: ctx ended.
func waitChange(ctx context.Context, changed <-chan struct{}) bool {
	var pause <-chan time.Time
	if changed == nil {
		timer := time.NewTimer(startupRetry)
		defer timer.Stop()
		pause = timer.C
	}
	select {
	case <-ctx.Done():
		return false
	case <-changed:
	case <-pause:
	}
	return true
}

// askQuorum sends an operator's word to the leader, wherever it is.
func (d *Daemon) askQuorum(ctx context.Context, r quorumRequest) (quorumAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	switch {
	case d.node == nil:
		return quorumAnswer{}, &peer.Error{Code: codeRefused, Message: "this host holds no log and may not change who does: ask the agent of a voter"}
	case d.node.IsLeader():
		return d.quorum(ctx, r)
	}
	return callLeader[quorumRequest, quorumAnswer](ctx, d.books, callQuorum, r)
}

var _ httpapi.OperatorBackend = backend{}

func (b backend) asAccepted(answer quorumAnswer, err error) (api.Accepted, error) {
	var coded *peer.Error
	if errors.As(err, &coded) {
		switch coded.Code {
		case codeRefused:
			return api.Accepted{}, fmt.Errorf("%w: %w", httpapi.ErrConflict, err)
		case peer.CodeBadRequest:
			return api.Accepted{}, fmt.Errorf("%w: %w", httpapi.ErrInvalid, err)
		}
	}
	return api.Accepted{Index: answer.Index, Message: answer.Message}, asHTTP(err)
}

func (b backend) RaftServers(ctx context.Context) (api.RaftState, error) {
	here := b.d.node != nil && b.d.node.IsLeader()
	var answer serversAnswer
	var err error
	if here {
		answer = b.d.serversHere()
	} else if answer, err = callLeader[empty, serversAnswer](ctx, b.d.books, callServers, empty{}); err != nil {
		if b.d.node == nil {
			return api.RaftState{}, asHTTP(err)
		}
		answer = b.d.serversHere() // without a leader: what this voter knows
	}
	out := api.RaftState{Term: answer.Term, Index: answer.Index, Servers: []api.RaftServer{}, ClockOffsetMS: answer.Clock.Offset.Milliseconds()}
	leader, _, _, known := b.d.leadership()
	health := map[string]consensus.ServerHealth{}
	if answer.Health != nil {
		out.Healthy, out.FailureTolerance, out.Judged = answer.Health.Healthy, answer.Health.FailureTolerance, true
		for _, s := range answer.Health.Servers {
			health[s.ID] = s
		}
	}
	for _, s := range answer.Servers {
		h, judged := health[s.ID]
		server := api.RaftServer{ID: s.ID, Name: b.d.nameOf(s.ID), Address: s.Address, Voter: !s.Nonvoter, Leader: known && s.ID == string(leader)}
		if judged {
			server.Healthy, server.LastContactMS, server.LastIndex, server.StableSince = h.Healthy, h.LastContact.Milliseconds(), h.LastIndex, h.StableSince
		}
		out.Servers = append(out.Servers, server)
	}
	return out, nil
}

func (b backend) RaftAdd(ctx context.Context, w httpapi.Write, id, address string) (api.Accepted, error) {
	if address == "" {
		h, known := b.d.books.host(fleet.HostID(id))
		if !known {
			return api.Accepted{}, httpapi.WithHint(fmt.Errorf("host %s: %w", id, httpapi.ErrNotFound), "the books do not know it: name its mTLS address, too")
		}
		address = h.Address
	}
	return b.asAccepted(b.d.askQuorum(ctx, quorumRequest{Op: "add", ID: id, Address: address, By: w.By}))
}

func (b backend) RaftRemove(ctx context.Context, w httpapi.Write, id string) (api.Accepted, error) {
	return b.asAccepted(b.d.askQuorum(ctx, quorumRequest{Op: "remove", ID: id, By: w.By}))
}

func (b backend) RaftTransfer(ctx context.Context, w httpapi.Write, to string) (api.Accepted, error) {
	return b.asAccepted(b.d.askQuorum(ctx, quorumRequest{Op: "transfer", ID: to, By: w.By}))
}

func (b backend) RaftSnapshot(ctx context.Context, _ httpapi.Write) (api.Accepted, error) {
	if b.d.node == nil {
		return api.Accepted{}, fmt.Errorf("this host holds no log: ask a voter: %w", httpapi.ErrConflict)
	}
	if err := b.d.node.Snapshot(ctx); err != nil {
		return api.Accepted{}, err
	}
	return api.Accepted{Index: b.d.replica.Applied(), Message: "snapshot written, the log behind it may be cut off"}, nil
}

// SnapshotBooks is the newest state of the books, in the form of a snapshot.
func (b backend) SnapshotBooks(context.Context) ([]byte, error) {
	var snapshot fsm.Snapshot
	b.d.replica.Read(func(s *fsm.State) { snapshot = s.Capture() })
	var out bytes.Buffer
	if _, err := snapshot.WriteTo(&out); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func (b backend) RestoreBooks(ctx context.Context, w httpapi.Write, snapshot []byte) (api.Accepted, error) {
	return b.asAccepted(b.d.askQuorum(ctx, quorumRequest{Op: "restore", By: w.By, ID: rand.Text(), Snapshot: snapshot}))
}
