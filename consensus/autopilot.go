package consensus

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	autopilot "github.com/hashicorp/raft-autopilot"
)

// AutopilotConfig says what the leader may do with the servers on its own.
type AutopilotConfig struct {
	// Alive says whether the host is known to live. A server that is not may
	// be removed, never below MinQuorum voters, never a majority at once.
	Alive func(id string) bool
	// Stats asks one server, usually over the network.
	Stats func(ctx context.Context, id, address string) (ServerStats, error)
	// MinQuorum is the number of voters below which no dead server is removed;
	// zero means 3.
	MinQuorum uint
	// DeadAfter is how long a server must have been dead before it is removed;
	// zero means an hour. A host that reboots keeps its vote.
	DeadAfter time.Duration
	// Stable is how long a non-voter must have been healthy before it gets a
	// vote; zero means 10 s. Interval is the time between two looks; zero
	// means 2 s.
	Stable   time.Duration
	Interval time.Duration
}

// ServerStats is what a server says about itself.
type ServerStats struct {
	LastContactMS int64  `json:"last_contact_ms"` // with a leader; 0 on the leader
	LastTerm      uint64 `json:"last_term"`
	LastIndex     uint64 `json:"last_index"`
	// Applied is the newest index whose effect a reader there sees.
	Applied uint64 `json:"applied"`
}

// ServerHealth is one server as the leader's autopilot sees it.
type ServerHealth struct {
	Server
	Leader      bool          `json:"leader"`
	Healthy     bool          `json:"healthy"`
	StableSince time.Time     `json:"stable_since"`
	LastContact time.Duration `json:"last_contact"`
	LastIndex   uint64        `json:"last_index"`
}

// Health is the newest look of the autopilot.
type Health struct {
	Healthy bool `json:"healthy"`
	// FailureTolerance is how many healthy voters may be lost.
	FailureTolerance int            `json:"failure_tolerance"`
	Servers          []ServerHealth `json:"servers"`
}

// Limits of a healthy server: silence, and entries behind the leader.
const (
	unhealthySilence  = 10 * time.Second
	unhealthyTrailing = 1024
)

func (c AutopilotConfig) withDefaults() AutopilotConfig {
	if c.MinQuorum == 0 {
		c.MinQuorum = 3
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&c.DeadAfter, time.Hour}, {&c.Stable, 10 * time.Second}, {&c.Interval, 2 * time.Second}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	return c
}

// Autopilot watches the servers while this host leads: it gives stable
// non-voters their vote and removes servers that have long been dead. It blocks
// until ctx ends, which must be no later than the term.
func (n *Node) Autopilot(ctx context.Context, cfg AutopilotConfig) error {
	r := n.raft.Load()
	if r == nil || !n.calls.enter() {
		return n.notLeader()
	}
	defer n.calls.leave()
	cfg = cfg.withDefaults()
	p := &pilot{node: n, cfg: cfg, silent: map[raft.ServerID]time.Time{}, now: time.Now}
	a := autopilot.New(r, p, autopilot.WithLogger(n.logger.Named("autopilot")),
		autopilot.WithUpdateInterval(cfg.Interval), autopilot.WithReconcileInterval(5*cfg.Interval))
	a.Start(ctx)
	<-ctx.Done()
	<-a.Stop()
	p.removing.Wait()
	n.health.Store(nil)
	return ctx.Err()
}

// Health is nil on a host that does not lead, and before the first look.
func (n *Node) Health() *Health { return n.health.Load() }

// OwnStats is what this host says about itself to the leader's autopilot.
func (n *Node) OwnStats() ServerStats {
	r := n.raft.Load()
	if r == nil {
		return ServerStats{LastContactMS: -1}
	}
	s := ServerStats{LastContactMS: -1, LastIndex: r.LastIndex(), Applied: n.cfg.Replica.Applied()}
	if age, ok := n.LastContact(); ok {
		s.LastContactMS = age.Milliseconds()
	}
	s.LastTerm = n.lastTerm(s.LastIndex)
	return s
}

// lastTerm is the term of the newest entry; after a snapshot without entries
// behind it, that of the log is gone and the current term stands for it.
func (n *Node) lastTerm(index uint64) uint64 {
	var l raft.Log
	if err := n.logs.GetLog(index, &l); err == nil {
		return l.Term
	}
	return n.Term()
}

// pilot is what the library asks of us.
type pilot struct {
	node *Node
	cfg  AutopilotConfig
	now  func() time.Time

	mu       sync.Mutex
	silent   map[raft.ServerID]time.Time // since when a server is not alive
	removing sync.WaitGroup
	busy     atomic.Bool
}

var _ autopilot.ApplicationIntegration = (*pilot)(nil)

func (p *pilot) AutopilotConfig() *autopilot.Config {
	return &autopilot.Config{
		CleanupDeadServers: true, MinQuorum: p.cfg.MinQuorum, ServerStabilizationTime: p.cfg.Stable,
		LastContactThreshold: unhealthySilence, MaxTrailingLogs: unhealthyTrailing,
	}
}

// KnownServers: every server of the configuration is known. One that is not
// there any more has been removed by an operator, and is not taken back.
func (p *pilot) KnownServers() map[raft.ServerID]*autopilot.Server {
	out := map[raft.ServerID]*autopilot.Server{}
	for _, s := range p.node.Servers() {
		id := raft.ServerID(s.ID)
		out[id] = &autopilot.Server{ID: id, Name: s.ID, Address: raft.ServerAddress(s.Address), RaftVersion: 3,
			NodeStatus: p.status(id), IsLeader: s.ID == p.node.cfg.ID, NodeType: autopilot.NodeVoter}
	}
	return out
}

// status: a server that is silent for a while is unknown, which is unhealthy; it
// has failed, and may be removed, when that has lasted.
func (p *pilot) status(id raft.ServerID) autopilot.NodeStatus {
	alive := string(id) == p.node.cfg.ID || p.cfg.Alive(string(id))
	p.mu.Lock()
	defer p.mu.Unlock()
	if alive {
		delete(p.silent, id)
		return autopilot.NodeAlive
	}
	since, known := p.silent[id]
	if !known {
		since = p.now()
		p.silent[id] = since
	}
	if p.now().Sub(since) < p.cfg.DeadAfter {
		return autopilot.NodeUnknown
	}
	return autopilot.NodeFailed
}

func (p *pilot) FetchServerStats(ctx context.Context, servers map[raft.ServerID]*autopilot.Server) map[raft.ServerID]*autopilot.ServerStats {
	var mu sync.Mutex
	out := map[raft.ServerID]*autopilot.ServerStats{}
	var asked sync.WaitGroup
	for id, s := range servers {
		asked.Go(func() {
			stats := p.node.OwnStats()
			if string(id) != p.node.cfg.ID {
				var err error
				if stats, err = p.cfg.Stats(ctx, string(id), string(s.Address)); err != nil {
					return // no figures are an unhealthy server's
				}
			}
			mu.Lock()
			defer mu.Unlock()
			out[id] = &autopilot.ServerStats{LastContact: time.Duration(stats.LastContactMS) * time.Millisecond, LastTerm: stats.LastTerm, LastIndex: stats.LastIndex}
		})
	}
	asked.Wait()
	return out
}

// RemoveFailedServer must not block; one removal at a time is under way.
func (p *pilot) RemoveFailedServer(s *autopilot.Server) {
	if p.busy.Swap(true) {
		return // the next look asks again
	}
	p.removing.Go(func() {
		defer p.busy.Store(false)
		n := p.node
		if err := n.Remove(context.Background(), string(s.ID)); err != nil {
			n.logger.Warn("a dead server could not be removed, it is tried again", "host", s.ID, "error", err)
			return
		}
		n.logger.Warn("a server was dead for long and is removed from the voters; `placed operator raft add-peer` takes it back", "host", s.ID, "dead_for", p.cfg.DeadAfter)
	})
}

func (p *pilot) NotifyState(s *autopilot.State) {
	if s == nil || len(s.Servers) == 0 {
		return
	}
	h := &Health{Healthy: s.Healthy, FailureTolerance: s.FailureTolerance}
	for id, server := range s.Servers {
		h.Servers = append(h.Servers, ServerHealth{
			Server: Server{ID: string(id), Address: string(server.Server.Address), Nonvoter: !server.HasVotingRights()},
			Leader: id == s.Leader, Healthy: server.Health.Healthy, StableSince: server.Health.StableSince,
			LastContact: server.Stats.LastContact, LastIndex: server.Stats.LastIndex,
		})
	}
	slices.SortFunc(h.Servers, func(a, b ServerHealth) int { return strings.Compare(a.ID, b.ID) })
	p.node.health.Store(h)
}
