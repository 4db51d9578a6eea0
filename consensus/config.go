package consensus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// Limits that follow from each other: 10,240 trailing entries of 128 KiB must
// stay affordable, and a deposed leader with more uncommitted entries than its
// successor's snapshot index may never catch up (hashicorp/raft #697), so the
// entries in flight stay far below the trailing ones.
const (
	MaxEntry    = 128 << 10 // bytes of one entry
	maxInFlight = 256       // entries between enqueue and answer
	logCache    = 512       // newest entries kept in memory
	snapshots   = 2         // snapshots kept on disk
)

// Stream is the network between voters: an open listener and a dialer. The node
// owns the listener from Run on and closes it.
type Stream interface {
	net.Listener
	Dial(address string, timeout time.Duration) (net.Conn, error)
}

// Replica is the replicated state. It may also be a raft.BatchingFSM.
type Replica interface {
	raft.FSM
	// Applied is the index of the last command whose effect a reader sees.
	Applied() uint64
	// WaitApplied blocks until Applied() >= index or ctx ends.
	WaitApplied(ctx context.Context, index uint64) error
}

// Server is one member of the Raft configuration.
type Server struct {
	ID       string `json:"id"`
	Address  string `json:"address"`
	Nonvoter bool   `json:"nonvoter,omitempty"`
}

// Timeouts of the node; a zero field takes its default.
type Timeouts struct {
	Heartbeat   time.Duration // 1 s: silence after which a follower asks for an election
	Election    time.Duration // 1 s: silence after which a candidate asks again
	LeaderLease time.Duration // 500 ms: a leader without quorum steps down after it
	Commit      time.Duration // 50 ms: idle time before followers hear the commit index
	RPC         time.Duration // 10 s: one exchange between voters
	Propose     time.Duration // 10 s: upper bound of Propose, Linearizable and membership calls
	StoreStall  time.Duration // 2 s: a write to the store that takes longer is fatal
	DeleteStall time.Duration // 10 s: the same for truncation of the log
	Shutdown    time.Duration // 5 s: each step of an orderly end
}

// DefaultTimeouts suit 3 or 5 voters on a LAN of hypervisors.
func DefaultTimeouts() Timeouts {
	return Timeouts{
		Heartbeat: time.Second, Election: time.Second,
		LeaderLease: 500 * time.Millisecond, Commit: 50 * time.Millisecond,
		RPC: 10 * time.Second, Propose: 10 * time.Second,
		StoreStall: 2 * time.Second, DeleteStall: 10 * time.Second,
		Shutdown: 5 * time.Second,
	}
}

// Scale multiplies the time-outs of elections and replication, for tests and
// for development fleets. The limits on the store stay: a disk does not get
// faster because elections do.
func (t Timeouts) Scale(factor float64) Timeouts {
	t = t.orDefaults()
	for _, d := range []*time.Duration{&t.Heartbeat, &t.Election, &t.LeaderLease, &t.Commit} {
		*d = time.Duration(float64(*d) * factor)
	}
	return t
}

func (t Timeouts) orDefaults() Timeouts {
	d := DefaultTimeouts()
	for _, f := range []struct {
		value    *time.Duration
		fallback time.Duration
	}{
		{&t.Heartbeat, d.Heartbeat},
		{&t.Election, d.Election},
		{&t.LeaderLease, d.LeaderLease},
		{&t.Commit, d.Commit},
		{&t.RPC, d.RPC},
		{&t.Propose, d.Propose},
		{&t.StoreStall, d.StoreStall},
		{&t.DeleteStall, d.DeleteStall},
		{&t.Shutdown, d.Shutdown},
	} {
		if *f.value == 0 {
			*f.value = f.fallback
		}
	}
	return t
}

// Config of a Node.
type Config struct {
	// ID is the host's UUID, Cluster the id of its cluster. Both are written
	// beside the store, which is refused to any other host or cluster.
	ID      string
	Cluster string
	// Dir holds the log, the vote and the snapshots; made with mode 0700.
	Dir string
	// LogSize is what the log sets aside on disk before it needs it, in bytes:
	// the segment in use and the one after it; 0 is 2 MiB. An append into blocks
	// that the file system has given out already needs no commit of its journal.
	LogSize int64
	// Advertise is the "ip:port" at which the other voters reach this host.
	Advertise string
	Stream    Stream
	Replica   Replica
	// Verify checks the payload of a command that is read back from disk, on
	// top of the node's own checksum; may be nil.
	Verify func(data []byte) error
	// Bundle makes the entry of 1 to 64 proposals, adding at most 16 bytes for
	// each and 64 to them all. The Replica's Apply answers the entry with a
	// []any of as many results, in order; that of one proposal also with its
	// result. It is called by one goroutine, must be quick, and may be nil:
	// then every proposal is an entry of its own.
	Bundle func(proposals [][]byte) []byte
	// Bootstrap is the first configuration of a new cluster. It is used only
	// when the store is new, and must be the same on every server in it. A
	// host that joins an existing cluster leaves it empty.
	Bootstrap []Server
	Timeouts  Timeouts
	// SnapshotThreshold (8192 entries), SnapshotInterval (60 s) and
	// TrailingLogs (10240 entries); zero takes the default.
	SnapshotThreshold uint64
	SnapshotInterval  time.Duration
	TrailingLogs      uint64
	// OnFatal is called once, from any goroutine, when the store can no longer
	// be trusted (see StoreError). It must end the process: until then this
	// host may still be the leader of a cluster it can no longer serve. It
	// must not block.
	OnFatal func(error)
	// Storage replaces the files in Dir, for simulations; nil opens Dir.
	Storage *Storage
	Logger  hclog.Logger
}

// Storage is where Raft keeps its log, its vote and its snapshots.
type Storage struct {
	Logs      raft.LogStore
	Vote      raft.StableStore
	Snapshots raft.SnapshotStore
}

func (c Config) withDefaults() (Config, error) {
	switch {
	case c.ID == "":
		return c, errors.New("consensus: host id is empty")
	case c.Cluster == "":
		return c, errors.New("consensus: cluster id is empty")
	case c.Dir == "" && c.Storage == nil:
		return c, errors.New("consensus: directory is empty")
	case c.Advertise == "":
		return c, errors.New("consensus: advertise address is empty")
	case c.Stream == nil || c.Replica == nil || c.OnFatal == nil:
		return c, errors.New("consensus: Stream, Replica and OnFatal are required")
	}
	for i, s := range c.Bootstrap {
		if s.ID == "" || s.Address == "" {
			return c, fmt.Errorf("consensus: bootstrap server %d: id or address is empty", i)
		}
	}
	return c.filled(), nil
}

// filled has a value wherever zero means a default.
func (c Config) filled() Config {
	c.Timeouts = c.Timeouts.orDefaults()
	if c.SnapshotThreshold == 0 {
		c.SnapshotThreshold = 8192
	}
	if c.SnapshotInterval == 0 {
		c.SnapshotInterval = time.Minute
	}
	if c.TrailingLogs == 0 {
		c.TrailingLogs = 10240
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	return c
}

func (c Config) raft() *raft.Config {
	rc := raft.DefaultConfig()
	rc.LocalID = raft.ServerID(c.ID)
	rc.HeartbeatTimeout = c.Timeouts.Heartbeat
	rc.ElectionTimeout = c.Timeouts.Election
	rc.LeaderLeaseTimeout = c.Timeouts.LeaderLease
	rc.CommitTimeout = c.Timeouts.Commit
	rc.MaxAppendEntries = 64
	// Entries that wait for the log are written together, with one fsync.
	rc.BatchApplyCh = true
	rc.SnapshotThreshold = c.SnapshotThreshold
	rc.SnapshotInterval = c.SnapshotInterval
	rc.TrailingLogs = c.TrailingLogs
	rc.ShutdownOnRemove = true
	rc.NoLegacyTelemetry = true
	rc.Logger = c.Logger.Named("raft")
	return rc
}
