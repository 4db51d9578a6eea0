package consensus

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// Node is one server of the Raft cluster. Its methods are safe for concurrent
// use; before Run and after it they answer ErrNotLeader.
type Node struct {
	cfg    Config
	logger hclog.Logger
	store  *opened
	guard  *guard
	logs   *raft.LogCache
	ahead  *aheadLogs // below logs

	raft      atomic.Pointer[raft.Raft]
	transport atomic.Pointer[transport]
	started   atomic.Bool
	calls     callGate
	gather    *gatherer
	health    atomic.Pointer[Health] // of the servers, while this host leads
	watch     *leaderWatch
	barrier   termBarrier
}

// New opens the store in cfg.Dir and checks all of it. It starts nothing; a
// Node that is not Run must be Closed.
func New(cfg Config) (*Node, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := refusePending(cfg.Dir); cfg.Storage == nil && err != nil {
		return nil, err
	}
	store := &opened{}
	if cfg.Storage != nil {
		store.Storage = *cfg.Storage
	} else if store, err = openStorage(cfg, false); err != nil {
		return nil, err
	}
	n := &Node{
		cfg: cfg, logger: cfg.Logger, store: store,
		watch: newLeaderWatch(), barrier: newTermBarrier(),
	}
	n.gather = newGatherer(n)
	n.guard = newGuard(cfg.Dir, cfg.Timeouts, cfg.OnFatal)
	if err := n.guardStorage(); err != nil {
		return nil, errors.Join(err, store.close())
	}
	return n, nil
}

// guardStorage checks what is on disk, then puts checksum, guard and cache
// round it.
func (n *Node) guardStorage() error {
	s := &n.store.Storage
	path := n.cfg.Dir
	if n.cfg.Storage == nil {
		path = filepath.Join(path, logDir)
	}
	sealed := &sealedLogs{LogStore: s.Logs, verify: n.cfg.Verify}
	if err := verifyAll(path, Storage{Logs: sealed, Vote: s.Vote, Snapshots: s.Snapshots}); err != nil {
		return err
	}
	voted, stored := func() error { return nil }, func() error { return nil }
	if id := n.store.identity; id != nil {
		hasTerm, hasLog, err := held(*s)
		if err != nil {
			return damagedFile(path, err)
		}
		if err := id.check(hasTerm, hasLog); err != nil {
			return err
		}
		voted, stored = id.markVoted, id.markStored
		// A crash may have come between a write and its mark.
		if hasTerm {
			if err := voted(); err != nil {
				return err
			}
		}
		if hasLog {
			if err := stored(); err != nil {
				return err
			}
		}
	}
	n.ahead = newAheadLogs(&guardedLogs{LogStore: sealed, g: n.guard, stored: stored}, n.guard, n.IsLeader)
	s.Logs = n.ahead
	s.Vote = &guardedVote{StableStore: s.Vote, g: n.guard, voted: voted}
	s.Snapshots = &guardedSnapshots{SnapshotStore: s.Snapshots, g: n.guard, stored: stored}
	var err error
	n.logs, err = raft.NewLogCache(logCache, s.Logs)
	return err
}

// Close releases the store of a Node that was never Run.
func (n *Node) Close() error {
	if n.started.Swap(true) {
		return errors.New("consensus: Close of a node that was run")
	}
	return errors.Join(n.cfg.Stream.Close(), n.store.close())
}

// Run takes part in the cluster until ctx ends, the store fails or the voters
// remove this host, and gives leadership away before it leaves. It returns nil
// after ctx ended, a *StoreError, or ErrRemoved. After a stall of the store one
// of raft's goroutines may still hang in the disk: the process must end.
func (n *Node) Run(ctx context.Context) error {
	if n.started.Swap(true) {
		return errors.New("consensus: Run was called before")
	}
	layer := newStreamLayer(n.cfg.Stream, n.cfg.Advertise)
	trans := newTransport(layer, n.cfg.Timeouts.RPC, n.ahead.reach, n.logger)
	n.transport.Store(trans)
	r, err := n.start(trans)
	if err != nil {
		_ = trans.Close()
		layer.cut()
		n.guard.release()
		return errors.Join(err, n.store.close())
	}
	n.guard.running()
	n.raft.Store(r)
	n.calls.open()
	gathering, endGathering := context.WithCancel(context.Background())
	go n.gather.run(gathering) // Run waits for its end
	written := n.ahead.start() // stop waits for its end
	prepared := make(chan struct{})
	go func() { // stop waits for its end
		defer close(prepared)
		if n.store.prepare != nil {
			n.store.prepare(gathering)
		}
	}()

	reason := n.follow(ctx, r)
	// What waits is refused before leadership is given away.
	n.calls.close()
	endGathering()
	err = n.stop(r, layer, reason, written, prepared)
	<-n.gather.ended
	return errors.Join(reason, err)
}

// start makes the first configuration if the store is new, then starts raft.
func (n *Node) start(trans raft.Transport) (r *raft.Raft, err error) {
	defer func() {
		if p := recover(); p != nil { // raft panics when it can not save its term
			err = fmt.Errorf("start raft: %v", p)
			if failure := n.guard.failure(); failure != nil {
				err = failure
			}
		}
	}()
	s, conf := n.store.Storage, n.cfg.raft()
	old, err := raft.HasExistingState(n.logs, s.Vote, s.Snapshots)
	if err != nil {
		return nil, fmt.Errorf("start raft: %w", err)
	}
	if !old && len(n.cfg.Bootstrap) > 0 {
		err := raft.BootstrapCluster(conf, n.logs, s.Vote, s.Snapshots, trans, configuration(n.cfg.Bootstrap))
		if err != nil {
			return nil, fmt.Errorf("bootstrap raft: %w", err)
		}
		n.logger.Info("made a new cluster", "cluster", n.cfg.Cluster, "servers", len(n.cfg.Bootstrap))
	}
	r, err = raft.NewRaft(conf, hold(n.cfg.Replica, n.ahead), n.logs, s.Vote, s.Snapshots, trans)
	if err != nil {
		return nil, fmt.Errorf("start raft: %w", err)
	}
	return r, nil
}

// follow publishes changes of leadership until there is a reason to stop.
func (n *Node) follow(ctx context.Context, r *raft.Raft) error {
	// Removal shuts a leader down, and leaves a follower alone, without a word.
	membership := time.NewTicker(500 * time.Millisecond)
	defer membership.Stop()
	member := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-n.guard.failed:
			return n.guard.failure()
		case leading := <-r.LeaderCh():
			n.watch.set(leading, r.CurrentTerm())
		case <-membership.C:
			if r.State() == raft.Shutdown {
				return ErrRemoved
			}
			was := member
			member = slices.ContainsFunc(n.Servers(), func(s Server) bool { return s.ID == n.cfg.ID })
			if was && !member {
				n.logger.Warn("this host is no longer a server of the cluster: its state goes stale until it is added again", "host", n.cfg.ID)
			}
		}
	}
}

// stop ends raft in an order in which every call gets its answer: no new calls,
// leadership away, calls in flight answered, then raft itself. Raft never
// answers what is still queued when it shuts down.
func (n *Node) stop(r *raft.Raft, layer *streamLayer, reason error, written, prepared <-chan struct{}) error {
	limit := n.cfg.Timeouts.Shutdown
	if reason == nil {
		n.leave(r, limit)
		waitFor(limit, n.calls.idle)
	}
	n.watch.set(false, 0)
	down := make(chan struct{})
	go func() {
		defer close(down)
		_ = r.Shutdown().Error()
		_ = n.transport.Load().Close()
	}()
	n.guard.release()
	// After a failure of the store raft may hang in the disk, while its
	// heartbeats keep this leader in office: cut them off, do not wait.
	layer.cut()
	// Raft's end waits for entries that are being written, so it comes first.
	ended := waitFor(limit, func() { <-down }) && waitFor(limit, layer.served.Wait)
	n.ahead.stop()
	if !ended || !waitFor(limit, func() { <-written; <-prepared }) {
		return fmt.Errorf("raft did not stop within %s: the store hangs; end the process", limit)
	}
	if !waitFor(limit, n.calls.idle) {
		n.logger.Warn("calls into raft were left without an answer")
	}
	if err := n.store.close(); err != nil {
		return fmt.Errorf("close raft store: %w", err)
	}
	return nil
}

// leave gives leadership away, so that the others need not wait for an election.
func (n *Node) leave(r *raft.Raft, limit time.Duration) {
	if r.State() != raft.Leader || len(n.Servers()) < 2 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := await(ctx, r.LeadershipTransfer()); err != nil {
		n.logger.Info("stopping without handing leadership over", "error", err)
	}
}

// waitFor reports whether wait returned in time.
func waitFor(limit time.Duration, wait func()) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		wait()
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// callGate counts the calls inside raft and lets none in before Run or after
// its end.
type callGate struct {
	mu      sync.Mutex
	running bool
	inside  sync.WaitGroup
}

func (g *callGate) open() { g.setRunning(true) }

func (g *callGate) close() { g.setRunning(false) }

func (g *callGate) setRunning(running bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running = running
}

func (g *callGate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.running {
		g.inside.Add(1)
	}
	return g.running
}

func (g *callGate) leave() { g.inside.Done() }

func (g *callGate) idle() { g.inside.Wait() }

// call runs one blocking call into raft and waits for it until ctx ends. The
// call itself goes on until raft answers; stop waits for it.
func (n *Node) call(ctx context.Context, do func(r *raft.Raft) error) error {
	if !n.calls.enter() {
		return n.notLeader()
	}
	answer := make(chan error, 1)
	go func() {
		defer n.calls.leave()
		answer <- do(n.raft.Load())
	}()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// await waits for a future of a caller that is itself counted or owns raft.
func await(ctx context.Context, f raft.Future) error {
	answer := make(chan error, 1)
	go func() { answer <- f.Error() }()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (n *Node) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, n.cfg.Timeouts.Propose)
}
