package migrator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/placed-dev/placed/cutover"
	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

// Migrator carries out the migrations of one host, as source and as destination.
type Migrator struct {
	cfg    Config
	log    hclog.Logger
	tokens *tokens
	board  *board

	// started is closed when Run may be relied upon.
	started chan struct{}
	// unseen: some record could not be looked at and must be, again.
	unseen atomic.Bool

	mu sync.Mutex // guards all below
	// soft ends when the agent wants to stop; hard when it must.
	soft, hard context.Context
	running    bool
	sessions   map[fleet.WorkloadID]*session
	moves      map[fleet.WorkloadID]*move
	fixed      time.Duration
	wg         sync.WaitGroup // sessions
	tunnels    tunnels        // has a lock of its own
}

// move is one call of Migrate and those that joined it.
type move struct {
	lease fleet.LeaseID
	done  chan struct{}
	err   error
	once  sync.Once
}

func (v *move) finish(err error) {
	v.once.Do(func() {
		v.err = err
		close(v.done)
	})
}

// New opens the token store. It starts nothing; close the Migrator by Run.
func New(cfg Config) (*Migrator, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	store, err := openTokens(cfg.Dir)
	if err != nil {
		return nil, err
	}
	return &Migrator{
		cfg: cfg, log: cfg.Logger.With("host", string(cfg.Host)), tokens: store,
		board:    newBoard(cfg.Now, cfg.ProgressEvery, cfg.OnProgress),
		started:  make(chan struct{}),
		sessions: map[fleet.WorkloadID]*session{}, moves: map[fleet.WorkloadID]*move{},
		fixed: cfg.FixedCutover,
	}, nil
}

// Run settles what an earlier life left behind, then serves until ctx ends.
// Moves before their last phase are then aborted, those in it are finished within
// StopWait; what is still open is durable and settled by the next Run. It closes
// the token store.
func (m *Migrator) Run(ctx context.Context) error {
	hard, kill := context.WithCancelCause(context.WithoutCancel(ctx))
	defer kill(nil)
	m.mu.Lock()
	if m.soft != nil {
		m.mu.Unlock()
		return errors.New("migrator: Run may be called once")
	}
	m.soft, m.hard, m.running = ctx, hard, true
	m.mu.Unlock()
	close(m.started)

	m.reconcile(hard)

	m.mu.Lock()
	m.running = false
	wait := m.cfg.StopWait
	m.mu.Unlock()
	limit := time.AfterFunc(wait, func() { kill(ErrStopped) })
	defer limit.Stop()
	m.wg.Wait()
	return m.tokens.Close()
}

// Close lets go of the token store of a Migrator that never ran; Run closes it
// itself, then Close does nothing.
func (m *Migrator) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.soft != nil {
		return nil
	}
	return m.tokens.Close()
}

// Migrate moves the lease's workload away from this host and returns when the
// outcome is known: nil, or why the workload stayed (or why nobody knows yet).
// Under a standby a copy at the destination is kept up to date first, until the
// lease is promoted. A second call for the same lease joins the first. The end of
// ctx ends the waiting, not the move.
func (m *Migrator) Migrate(ctx context.Context, lease fleet.Lease) error {
	v, err := m.startMove(ctx, lease)
	if err != nil {
		return fmt.Errorf("migrate %s under lease %s: %w", lease.Workload, lease.ID, err)
	}
	select {
	case <-v.done:
		return v.err
	case <-ctx.Done():
		return fmt.Errorf("migrate %s under lease %s: still going on: %w", lease.Workload, lease.ID, context.Cause(ctx))
	}
}

// startMove begins the move of the lease or joins it.
func (m *Migrator) startMove(ctx context.Context, lease fleet.Lease) (*move, error) {
	if lease.Source != m.cfg.Host || lease.Kind == fleet.LeasePlacement {
		return nil, fmt.Errorf("host %s is not the source of this %s lease", m.cfg.Host, lease.Kind)
	}
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Handshake)
	defer cancel()
	for {
		v, err := m.tryMove(lease)
		if !errors.Is(err, errSettling) || !m.settles(ctx, lease.Workload) {
			return v, err
		}
	}
}

func (m *Migrator) tryMove(lease fleet.Lease) (*move, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if v, ok := m.moves[lease.Workload]; ok {
		if v.lease == lease.ID {
			return v, nil
		}
		return nil, fmt.Errorf("lease %s: %w", v.lease, ErrBusy)
	}
	s, err := m.claimLocked(lease.Workload)
	if err != nil {
		return nil, err
	}
	s.standby = lease.Kind == fleet.LeaseStandby
	v := &move{lease: lease.ID, done: make(chan struct{})}
	m.moves[lease.Workload] = v
	m.wg.Go(func() {
		defer m.release(lease.Workload)
		v.finish(m.move(s, lease, v))
	})
	return v, nil
}

// errSettling: this host's part in an earlier move is not over yet. The books may
// show that move ended a moment before: who wants to move on waits for the rest,
// or nothing would happen until the leader asks again.
var errSettling = fmt.Errorf("%w: an earlier one is being settled", ErrBusy)

// settles waits until nobody acts for the workload any more; false: ctx ended.
func (m *Migrator) settles(ctx context.Context, id fleet.WorkloadID) bool {
	m.mu.Lock()
	s := m.sessions[id]
	m.mu.Unlock()
	if s == nil {
		return true
	}
	select {
	case <-s.closed:
		return true
	case <-ctx.Done():
		return false
	}
}

// claimLocked makes this goroutine the only one that acts for the workload.
func (m *Migrator) claimLocked(id fleet.WorkloadID) (*session, error) {
	switch {
	case !m.running:
		return nil, ErrNotRunning
	case m.soft.Err() != nil:
		return nil, ErrStopped
	case m.sessions[id] != nil:
		return nil, errSettling
	}
	s := newSession(m, id)
	m.sessions[id] = s
	return s, nil
}

// admit is claimLocked for moves and standbys to here, of which there are at most
// MaxMoves each; recovery is not bounded, it must settle everything.
func (m *Migrator) admit(ctx context.Context, id fleet.WorkloadID, standby bool) (*session, error) {
	for {
		s, err := m.tryAdmit(id, standby)
		if !errors.Is(err, errSettling) || !m.settles(ctx, id) {
			return s, err
		}
	}
}

func (m *Migrator) tryAdmit(id fleet.WorkloadID, standby bool) (*session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	what, n := "moves are under way", 0
	if standby {
		what = "standbys are kept"
	}
	for _, s := range m.sessions {
		if s.standby == standby {
			n++
		}
	}
	if n >= m.cfg.MaxMoves {
		return nil, fmt.Errorf("%d %s here already: %w", n, what, ErrBusy)
	}
	s, err := m.claimLocked(id)
	if err == nil {
		s.standby = standby
		m.wg.Add(1)
	}
	return s, err
}

func (m *Migrator) release(id fleet.WorkloadID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sessions[id].shut()
	delete(m.sessions, id)
	delete(m.moves, id)
}

// Serve is the destination's side of one connection from a source; it returns
// when this host's part in the move is settled or the agent stops.
func (m *Migrator) Serve(ctx context.Context, conn net.Conn, from fleet.HostID) error {
	l := newWire(conn, m.cfg.Idle, m.cfg.Now)
	defer l.close()
	select {
	case <-m.started:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := m.serve(ctx, l, from); err != nil {
		return fmt.Errorf("incoming migration from host %s: %w", from, err)
	}
	return nil
}

// Progress returns the moves of which this host is the source: those under way
// and the last that ended, oldest first.
func (m *Migrator) Progress() []fleet.Progress { return m.board.all() }

// Record returns what this host has durably said about a workload.
func (m *Migrator) Record(id fleet.WorkloadID) (Record, bool) { return m.tokens.Get(id) }

// MayStart says whether this host may start the workload from saved state or
// anew, as far as its own words go: not after it has given it away, nor while a
// migration is open.
func (m *Migrator) MayStart(id fleet.WorkloadID, token fleet.Token) error {
	r, ok := m.tokens.Get(id)
	if !ok || token.NewerThan(r.Token) {
		return nil
	}
	switch {
	case r.Source && r.Word == cutover.Aborted, !r.Source && r.Word == cutover.Activated && r.Token == token:
		return nil
	}
	return fmt.Errorf("workload %s must not start here: this host said %q under token %s (lease %s, other end %s)",
		id, r.Word, r.Token, r.Lease, r.Peer)
}

// find returns what a driver runs or holds of a workload here.
func (m *Migrator) find(ctx context.Context, id fleet.WorkloadID) (driver.Found, driver.Driver, error) {
	for _, name := range m.driverNames() {
		d := m.cfg.Drivers[name]
		list, err := d.Inventory(ctx)
		if err != nil {
			return driver.Found{}, nil, fmt.Errorf("inventory of driver %s: %w", name, err)
		}
		for _, f := range list {
			if f.Spec.ID == id {
				return f, d, nil
			}
		}
	}
	return driver.Found{}, nil, fmt.Errorf("workload %s: %w", id, driver.ErrNotFound)
}
