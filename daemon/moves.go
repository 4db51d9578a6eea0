package daemon

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/migrator"
)

// moves carries out the migrations that this host is the source of: it owns
// their goroutines, and records their outcome in the books.
type moves struct {
	migrator *migrator.Migrator
	books    *books
	log      hclog.Logger
	queue    chan fleet.Lease
	// standbys have a queue and carriers of their own: they last.
	standbys chan fleet.Lease
	// prepare brings a workload into the state in which it may leave; nil: nothing.
	prepare func(context.Context, fleet.WorkloadID) error

	mu      sync.Mutex
	running map[fleet.LeaseID]bool // guarded by mu
}

// maxMoves bounds the migrations from one host at once; the policy's budget is
// lower. More wait in the queue, whose end refuses: the leader asks again.
const (
	maxMoves    = 4
	maxStandbys = 8
	moveQueue   = 16
)

func newMoves(m *migrator.Migrator, b *books, log hclog.Logger) *moves {
	return &moves{migrator: m, books: b, log: log,
		queue: make(chan fleet.Lease, moveQueue), standbys: make(chan fleet.Lease, moveQueue), running: map[fleet.LeaseID]bool{}}
}

// start queues a migration; one that is queued or running already is joined.
func (m *moves) start(lease fleet.Lease) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running[lease.ID] {
		return nil
	}
	queue := m.queue
	if lease.Kind == fleet.LeaseStandby {
		queue = m.standbys
	}
	select {
	case queue <- lease:
		m.running[lease.ID] = true
		return nil
	default:
		return fmt.Errorf("this host has %d migrations waiting already", moveQueue)
	}
}

// Run carries out queued migrations until ctx ends, and returns when all of them
// have ended. The migrator decides what an ending context means for a move: it
// aborts before the last phase and finishes in it.
func (m *moves) Run(ctx context.Context) error {
	var group errgroup.Group
	for i := range maxMoves + maxStandbys {
		queue := m.queue
		if i >= maxMoves {
			queue = m.standbys
		}
		group.Go(func() error {
			for {
				select {
				case <-ctx.Done():
					return nil
				case lease := <-queue:
					m.carryOut(ctx, lease)
				}
			}
		})
	}
	return group.Wait()
}

func (m *moves) carryOut(ctx context.Context, lease fleet.Lease) {
	defer func() {
		m.mu.Lock()
		delete(m.running, lease.ID)
		m.mu.Unlock()
	}()
	err := m.ready(ctx, lease)
	if err == nil {
		err = m.migrator.Migrate(ctx, lease)
	}
	if lease.Kind == fleet.LeaseStandby && !m.promoted(lease.ID) {
		m.log.Info("standby ended", "lease", lease.ID, "workload", lease.Workload, "host", lease.Destination, "reason", err)
		if err != nil {
			m.giveUp(ctx, lease, err)
		}
		return
	}
	if err != nil {
		m.log.Warn("migration ended without a commit", "lease", lease.ID, "workload", lease.Workload, "host", lease.Destination, "error", err)
	}
	if errors.Is(err, migrator.ErrBusy) || errors.Is(err, migrator.ErrNotRunning) {
		return
	}
	if err != nil {
		m.giveUp(ctx, lease, err)
	}
	m.record(ctx, lease, err)
}

// promoted says that a standby has become a migration, whose outcome counts.
func (m *moves) promoted(id fleet.LeaseID) (yes bool) {
	m.books.Read(func(s *fsm.State) {
		l, ok := s.Lease(id)
		yes = ok && l.Kind == fleet.LeaseMigration
	})
	return yes
}

// ready prepares the workload, unless its move has begun in an earlier life.
func (m *moves) ready(ctx context.Context, lease fleet.Lease) error {
	if m.prepare == nil || lease.State != fleet.Granted {
		return nil
	}
	return m.prepare(ctx, lease.Workload)
}

// giveUp ends a lease that its migration failed before it began: nothing was
// sent, and the capacity at the destination need not wait for the lease to
// expire. What has begun is the migrator's to end.
func (m *moves) giveUp(ctx context.Context, lease fleet.Lease, cause error) {
	granted := false
	m.books.Read(func(s *fsm.State) {
		l, ok := s.Lease(lease.ID)
		granted = ok && l.State == fleet.Granted
	})
	if !granted {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if _, err := m.books.Propose(ctx, fsm.Abort{Lease: lease.ID, Reason: brief(cause)}); err != nil {
		m.log.Warn("a lease that came to nothing could not be ended; it expires", "lease", lease.ID, "workload", lease.Workload, "error", err)
	}
}

// maxReason bounds what goes into the books; the log has it whole.
const maxReason = 240

func brief(err error) string {
	text := []rune(err.Error())
	if len(text) > maxReason {
		return string(text[:maxReason]) + "…"
	}
	return string(text)
}

// record writes what a migration cost into the books, where every agent can show
// it and the leader later judges the prediction.
func (m *moves) record(ctx context.Context, lease fleet.Lease, failure error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	// The books fill in what they know themselves: ends, commit, prediction.
	outcome := fsm.MigrationOutcome{Lease: lease.ID}
	if failure != nil {
		outcome.Error = brief(failure)
	}
	for _, p := range m.migrator.Progress() {
		if p.Lease == lease.ID {
			outcome.Tracker, outcome.Wire = p.Tracker, p.Wire
			if n := len(p.Rounds); n > 0 {
				outcome.Rounds = int64(p.Rounds[n-1].Round)
			}
			outcome.Downtime, outcome.Duration = p.Downtime, p.Ended.Sub(p.Started)
		}
	}
	if _, err := m.books.Propose(ctx, fsm.RecordOutcome{Outcome: outcome}); err != nil {
		m.log.Warn("the outcome of a migration could not be recorded", "lease", lease.ID, "workload", lease.Workload, "error", err)
	}
}
