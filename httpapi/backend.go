package httpapi

import (
	"context"

	"github.com/placed-dev/placed/api"
)

// Backend is what the handlers need of an agent. Methods are safe for
// concurrent use and return within their context's deadline. Lists are sorted by
// id (migrations and decisions: newest first) and belong to the caller.
//
// Errors that wrap ErrNotFound, ErrNoLeader, ErrDenied, ErrConflict or
// ErrInvalid become the matching HTTP status; any other error is a 500.
type Backend interface {
	// Meta says how fresh the agent's state is. It never blocks. Reads that
	// follow reflect at least Meta.Index.
	Meta() api.Meta
	// Sync returns once the reads that follow reflect every write that was
	// acknowledged before the call (a linearizable read barrier), or fails
	// with ErrNoLeader. Stale reads skip it.
	Sync(ctx context.Context) error
	// Wait returns nil once the applied index is greater than index, or
	// ctx.Err() when ctx ends first.
	Wait(ctx context.Context, index uint64) error

	Status(ctx context.Context) (api.Status, error)
	// Health needs neither leader nor Sync.
	Health(ctx context.Context) api.Health
	Hosts(ctx context.Context) ([]api.Host, error)
	Workloads(ctx context.Context) ([]api.Workload, error)
	Leases(ctx context.Context) ([]api.Lease, error)
	// Migrations running and ended, newest first, at most limit.
	Migrations(ctx context.Context, limit int) ([]api.Migration, error)
	// Decisions newest first, at most limit; workload "" means all.
	Decisions(ctx context.Context, workload string, limit int) ([]api.Decision, error)
	// Forecasts of one host, or of all when host is "". A host that is known
	// but has no forecast yet gives an empty list.
	Forecasts(ctx context.Context, host string) ([]api.HostForecast, error)
	Why(ctx context.Context, workload string) (api.Why, error)
	WhyNot(ctx context.Context, workload, host string) (api.WhyNot, error)
	Policy(ctx context.Context) (api.Policy, error)

	// Writes go to the leader, wherever it is, and return when committed.
	SetPolicy(ctx context.Context, w Write, policy api.Policy) (api.Accepted, error)
	Move(ctx context.Context, w Write, request api.MoveRequest) (api.Accepted, error)
	Resolve(ctx context.Context, w Write, request api.ResolveRequest) (api.Accepted, error)
	Drain(ctx context.Context, w Write, host string, request api.DrainRequest) (api.Accepted, error)

	LeaseBackend
	RuleBackend
	FeatureBackend
	OperatorBackend

	// Events returns the kept events after the cursor, oldest first, at most
	// limit, and a channel that is closed when there are newer ones.
	Events(ctx context.Context, after api.Cursor, limit int) (EventPage, error)
}

// EventPage is one pull of events.
type EventPage struct {
	Events []api.Event
	// Truncated: events between the cursor and the first of Events are no
	// longer kept.
	Truncated bool
	// Changed is closed when an event newer than the newest at the time of
	// the call exists. It must not be nil.
	Changed <-chan struct{}
}

// Write identifies a write: its id (a repeated id happens once) and who asks.
type Write struct {
	ID string
	By string
}
