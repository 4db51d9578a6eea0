package consensus

import (
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// streamLayer gives a Stream to raft's transport. It remembers every connection
// so that a node with a fatal error falls silent at once and an ended one leaves
// no goroutine behind in a read.
type streamLayer struct {
	Stream
	advertise address

	mu     sync.Mutex
	open   map[*trackedConn]struct{}
	closed bool
	served sync.WaitGroup // accepted connections that raft has not closed yet
}

type address string

func (a address) Network() string { return "tcp" }
func (a address) String() string  { return string(a) }

func newStreamLayer(s Stream, advertise string) *streamLayer {
	return &streamLayer{Stream: s, advertise: address(advertise), open: map[*trackedConn]struct{}{}}
}

// Addr is what raft tells others of this host; a listener bound to all
// addresses would not do.
func (s *streamLayer) Addr() net.Addr { return s.advertise }

func (s *streamLayer) Accept() (net.Conn, error) {
	c, err := s.Stream.Accept()
	if err != nil {
		return nil, err
	}
	return s.track(c, true)
}

func (s *streamLayer) Dial(target raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	c, err := s.Stream.Dial(string(target), timeout)
	if err != nil {
		return nil, err
	}
	return s.track(c, false)
}

func (s *streamLayer) track(c net.Conn, accepted bool) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = c.Close()
		return nil, net.ErrClosed
	}
	t := &trackedConn{Conn: c, layer: s, accepted: accepted}
	s.open[t] = struct{}{}
	if accepted {
		s.served.Add(1)
	}
	return t, nil
}

// cut closes the listener and every connection. It may be called again.
func (s *streamLayer) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		_ = s.Stream.Close()
	}
	for t := range s.open {
		_ = t.Conn.Close()
	}
}

type trackedConn struct {
	net.Conn
	layer    *streamLayer
	accepted bool
	once     sync.Once
}

func (t *trackedConn) Close() error {
	err := t.Conn.Close()
	t.once.Do(func() {
		t.layer.mu.Lock()
		delete(t.layer.open, t)
		t.layer.mu.Unlock()
		if t.accepted {
			t.layer.served.Done()
		}
	})
	return err
}

// Alarm threshold for a peer that receives the same snapshot again and again.
const (
	repeatedSnapshots = 3
	repeatedWithin    = time.Minute
)

// transport watches the snapshots that this leader sends: a peer that gets the
// same one three times in a minute is in the livelock of hashicorp/raft #697,
// which no restart cures.
//
// It also keeps followers from hearing of a commit before the entry is on this
// host's disk, see aheadLogs.
type transport struct {
	*raft.NetworkTransport
	logger hclog.Logger
	now    func() time.Time
	reach  func() uint64 // index up to which the log is on disk

	mu   sync.Mutex
	sent map[raft.ServerID]sentSnapshots
	loop map[raft.ServerID]bool
}

type sentSnapshots struct {
	index uint64
	since time.Time
	count int
}

func newTransport(layer *streamLayer, timeout time.Duration, reach func() uint64, logger hclog.Logger) *transport {
	return &transport{
		NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Stream: layer, MaxPool: 3, Timeout: timeout, Logger: logger.Named("raft-net"), MsgpackUseNewTimeFormat: true,
			// No pipelining: when an answer fails to come while the next request
			// is being handed over, raft v1.8's pipeline waits for itself. The
			// leader then sends that voter heartbeats and no entries for the rest
			// of its term, and Shutdown does not return.
			MaxRPCsInFlight: 1,
		}),
		logger: logger, now: time.Now, reach: reach,
		sent: map[raft.ServerID]sentSnapshots{}, loop: map[raft.ServerID]bool{},
	}
}

// AppendEntries sends, with a commit index that is true whatever becomes of this
// process.
func (t *transport) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	return t.NetworkTransport.AppendEntries(id, target, t.held(args), resp)
}

// AppendEntriesPipeline would send without the look at the disk; see also
// MaxRPCsInFlight above.
func (t *transport) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

func (t *transport) held(args *raft.AppendEntriesRequest) *raft.AppendEntriesRequest {
	reach := t.reach()
	if args.LeaderCommitIndex <= reach {
		return args
	}
	held := *args
	held.LeaderCommitIndex = reach
	return &held
}

// InstallSnapshot counts, then sends.
func (t *transport) InstallSnapshot(id raft.ServerID, target raft.ServerAddress, args *raft.InstallSnapshotRequest,
	resp *raft.InstallSnapshotResponse, data io.Reader,
) error {
	t.count(id, args.LastLogIndex)
	return t.NetworkTransport.InstallSnapshot(id, target, args, resp, data)
}

func (t *transport) count(id raft.ServerID, index uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, s := t.now(), t.sent[id]
	if s.index != index || now.Sub(s.since) > repeatedWithin {
		s = sentSnapshots{index: index, since: now}
		delete(t.loop, id)
	}
	s.count++
	t.sent[id] = s
	if s.count == repeatedSnapshots {
		t.loop[id] = true
		t.logger.Error("a voter receives the same snapshot again and again and will not catch up: remove it from the voters, empty its data directory and add it back",
			"host", id, "index", index, "times", s.count)
	}
}

// looping counts the peers in that state.
func (t *transport) looping() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.loop)
}
