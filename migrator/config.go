package migrator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/placed-dev/placed/cutover"
	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

// Errors that callers and the implementers of Books branch on.
var (
	// ErrUnknownOutcome: a proposal may or may not have been applied. Books
	// returns it after its own retries; the protocol then asks, it never
	// assumes.
	ErrUnknownOutcome = errors.New("outcome unknown: the proposal may or may not have been applied")
	// ErrRefused: the books certainly did not and will not apply the proposal
	// in their present state.
	ErrRefused = errors.New("refused by the books")
	// ErrNoLease: the books know no such lease (any more).
	ErrNoLease = errors.New("no such lease in the books")
	// ErrNotRunning: Run has not started, or has ended.
	ErrNotRunning = errors.New("the migrator is not running")
	// ErrBusy: another migration of the workload is going on at this host.
	ErrBusy = errors.New("another migration of this workload is going on here")
	// ErrStopped: the agent is stopping and has aborted the move.
	ErrStopped = errors.New("the agent is stopping")
	// ErrStaleToken: a newer or equal token is already stored here.
	ErrStaleToken = errors.New("token is not newer than the stored one")
)

// Seen is what ObserveOwner reports of this host's end.
type Seen string

// What one end can be seen to hold.
const (
	SeenRunning  Seen = "running"
	SeenFrozen   Seen = "frozen"
	SeenPrepared Seen = "prepared" // with a digest
	SeenAbsent   Seen = "absent"
)

// Books is what the migrator needs of the replicated state, from this host's
// point of view. Proposals may be repeated safely; each returns nil when it is
// applied (now or before), ErrRefused when it certainly is not, anything else
// counts as ErrUnknownOutcome. Reads may be old: a stale voter may delay, never
// mislead.
type Books interface {
	// Host returns a registered host.
	Host(id fleet.HostID) (fleet.Host, bool)
	// Leases returns every active migration and standby with this host at one end.
	Leases(ctx context.Context) ([]fleet.Lease, error)
	// Lease returns the newest state of a lease this host can learn, local or
	// from a voter; ErrNoLease when it is unknown.
	Lease(ctx context.Context, id fleet.LeaseID) (fleet.Lease, error)
	// WaitLease returns the lease once ok(lease); it returns ctx's error at
	// the latest when ctx ends.
	WaitLease(ctx context.Context, id fleet.LeaseID, ok func(fleet.Lease) bool) (fleet.Lease, error)
	// Linearizable returns after one round trip through a quorum.
	Linearizable(ctx context.Context) error
	// Renew extends the lease at the leader by one TTL from its arrival.
	Renew(ctx context.Context, lease fleet.Lease) error

	Begin(ctx context.Context, lease fleet.Lease) error
	Prepared(ctx context.Context, lease fleet.Lease, digest string) error
	Commit(ctx context.Context, lease fleet.Lease, digest string) error
	Abort(ctx context.Context, lease fleet.Lease, reason string) error
	Discarded(ctx context.Context, lease fleet.Lease) error
	Activated(ctx context.Context, lease fleet.Lease) error
	Released(ctx context.Context, lease fleet.Lease) error
	Revert(ctx context.Context, lease fleet.Lease, reason string) error
	ObserveOwner(ctx context.Context, lease fleet.Lease, seen Seen, digest string) error
}

// Traffic redirects clients. Every method is idempotent.
type Traffic interface {
	// Hold stops forwarding and returns when every request in flight has been
	// answered.
	Hold(ctx context.Context, workload fleet.WorkloadID) error
	// Resume releases the held clients to the copy on this host.
	Resume(ctx context.Context, workload fleet.WorkloadID) error
	// Switch releases the held clients to another host and says how long they
	// were without an answer.
	Switch(ctx context.Context, workload fleet.WorkloadID, to fleet.Host) (downtime time.Duration, err error)
	// Adopt serves the clients of a workload that runs here from now on.
	Adopt(ctx context.Context, found driver.Found) error
}

// Question is what one end lets the other know when there is no connection
// between them: the event Say, of the workload under the token. The answer is
// the other end's durable word, None if it has nothing to say (yet).
type Question struct {
	Workload fleet.WorkloadID `json:"workload"`
	Lease    fleet.LeaseID    `json:"lease"`
	Token    fleet.Token      `json:"token"`
	Say      Say              `json:"say"`
}

// Say is a cutover event as it travels between the ends.
type Say struct {
	// Kind is "heard", "learned" or "asked".
	Kind string `json:"kind"`
	// Word of the speaker ("heard").
	Word cutover.Word `json:"word,omitempty"`
	// Lease state that the speaker has learned ("learned").
	Lease fleet.LeaseState `json:"lease,omitempty"`
}

// Answer is the reply to a Question.
type Answer struct {
	Word cutover.Word `json:"word"`
}

// Config of a Migrator. Zero durations and sizes take the defaults.
type Config struct {
	Host    fleet.HostID
	Cluster string
	// Dir holds the token store; it must be on a disk that survives.
	Dir     string
	Drivers map[string]driver.Driver
	Books   Books
	Traffic Traffic
	// Dial opens a connection to the destination's Serve; both ends are
	// authenticated.
	Dial func(ctx context.Context, to fleet.Host) (net.Conn, error)
	// Ask calls Answer at another host.
	Ask func(ctx context.Context, to fleet.Host, q Question) (Answer, error)
	// Check is the physical check before a workload is admitted: free memory,
	// hugepages, disk.
	Check func(ctx context.Context, spec driver.Spec) error
	// OnProgress is called on every change of phase and at most every
	// ProgressEvery in between; it must not block. May be nil.
	OnProgress func(fleet.Progress)
	// Now must carry Go's monotonic reading. Nil means time.Now.
	Now    func() time.Time
	Logger hclog.Logger

	// TTL of a lease at the leader, RenewEvery how often the source renews.
	TTL, RenewEvery time.Duration
	// TargetDowntime is what copying aims at, MaxRounds and MaxBytes (as a
	// multiple of the workload's size) what it may cost.
	TargetDowntime time.Duration
	// DowntimeLimit is the longest downtime that is better than giving up; zero:
	// what precopy makes of the target.
	DowntimeLimit time.Duration
	MaxRounds     int
	MaxCopies     int64
	// A standby's copy is brought up to date as often as TargetDowntime needs it,
	// but not more often than every StandbyShortest, nor less than every
	// StandbyLongest, and never so often that sending takes more than one part in
	// StandbyRest of the time.
	StandbyShortest, StandbyLongest time.Duration
	StandbyRest                     int64
	// FixedCutover is the part of the downtime that does not depend on the
	// last round, before the first move has measured it.
	FixedCutover time.Duration
	// ShadowLimit is the largest workload of which the source keeps a second
	// copy in memory for deltas; a larger one is sent in whole pages.
	ShadowLimit int64
	// MaxMoves bounds the moves under way at this host, both ways together, and
	// apart from them the standbys.
	MaxMoves int
	// Handshake bounds dial, offer and answer; Idle a silent connection;
	// Proposal one proposal; Effect one call of a driver or of traffic.
	Handshake, Idle, Proposal, Effect time.Duration
	// CutoverWait bounds the last round after the freeze, and the wait for
	// Prepared before the source thaws; AskAfter how long it waits for the outcome of its Commit before it
	// asks the destination (2 × commit p99).
	CutoverWait, AskAfter time.Duration
	// RecoverEvery is the pace of reconciliation with books and peers.
	RecoverEvery time.Duration
	// StopWait bounds how long Run goes on after its context ended, to finish
	// moves in their last phase.
	StopWait time.Duration
	// ProgressEvery bounds the rate of OnProgress within a phase.
	ProgressEvery time.Duration
}

func defaultDuration(d *time.Duration, value time.Duration) {
	if *d <= 0 {
		*d = value
	}
}

// withDefaults fills the zero fields and refuses a configuration that cannot
// work.
func (c Config) withDefaults() (Config, error) {
	switch {
	case c.Host == "":
		return c, errors.New("migrator: the host id is empty")
	case c.Cluster == "":
		return c, errors.New("migrator: the cluster id is empty")
	case c.Dir == "":
		return c, errors.New("migrator: the directory of the token store is not set")
	case c.Books == nil, c.Traffic == nil, c.Dial == nil, c.Ask == nil, c.Check == nil:
		return c, errors.New("migrator: Books, Traffic, Dial, Ask and Check are all required")
	}
	for name, d := range c.Drivers {
		if d.Name() != name {
			return c, fmt.Errorf("migrator: driver %q is registered as %q", d.Name(), name)
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	defaultDuration(&c.TTL, 60*time.Second)
	defaultDuration(&c.RenewEvery, c.TTL/3)
	defaultDuration(&c.TargetDowntime, 50*time.Millisecond)
	defaultDuration(&c.StandbyShortest, time.Second)
	defaultDuration(&c.StandbyLongest, 30*time.Second)
	defaultDuration(&c.FixedCutover, 20*time.Millisecond)
	defaultDuration(&c.Handshake, 5*time.Second)
	defaultDuration(&c.Idle, 15*time.Second)
	defaultDuration(&c.Proposal, 5*time.Second)
	defaultDuration(&c.Effect, 20*time.Second)
	defaultDuration(&c.CutoverWait, 5*time.Second)
	defaultDuration(&c.AskAfter, time.Second)
	defaultDuration(&c.RecoverEvery, 500*time.Millisecond)
	defaultDuration(&c.StopWait, 10*time.Second)
	defaultDuration(&c.ProgressEvery, 250*time.Millisecond)
	if c.MaxRounds <= 0 {
		c.MaxRounds = 30
	}
	if c.MaxCopies <= 0 {
		c.MaxCopies = 8
	}
	if c.ShadowLimit <= 0 {
		c.ShadowLimit = 1 << 30
	}
	if c.StandbyRest <= 0 {
		c.StandbyRest = 10
	}
	if c.MaxMoves <= 0 {
		c.MaxMoves = 8
	}
	return c, nil
}
