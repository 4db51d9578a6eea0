// Package driver is the contract between placed and whatever runs a workload: a
// hypervisor, a sample process, CRIU. It speaks our own types, so that fakes and
// tests build without cgo and the migrator knows no transport and no hypervisor.
//
// A driver obeys; it decides nothing. Who may run where is said by tokens and
// leases, which the migrator checks before it calls.
package driver

import (
	"context"
	"errors"
	"fmt"

	"github.com/placed-dev/placed/fleet"
)

// ErrNotFound: the driver knows no workload of that id on this host.
var ErrNotFound = errors.New("no such workload on this host")

// State is what a workload is doing on this host, as observed.
type State string

// Observed states.
const (
	Running  State = "running"  // it serves clients and changes its state
	Frozen   State = "frozen"   // its state is complete and does not change
	Incoming State = "incoming" // it is being filled by a migration and has never run here
	Stopped  State = "stopped"  // saved on disk, no process
)

// Spec is what it takes to start a workload on any host that has the driver. It
// travels with the workload.
type Spec struct {
	ID       fleet.WorkloadID  `json:"id"`
	Driver   string            `json:"driver"`
	Size     int64             `json:"size"` // bytes of state
	Port     int64             `json:"port,omitempty"`
	Priority int64             `json:"priority,omitempty"`
	Tolerant int64             `json:"tolerance,omitempty"`
	Reserve  fleet.Vector      `json:"reservation"`
	Settings map[string]string `json:"settings,omitempty"`
}

// Found is one workload as observed on this host.
type Found struct {
	Spec  Spec
	State State
	// Token under which it was started or admitted here; zero for one that
	// was started by an operator and not yet in the books.
	Token fleet.Token
	// PID, StartTime (clock ticks since boot) and BootID identify the process
	// beyond reuse of its number. Zero when Stopped.
	PID       int
	StartTime uint64
	BootID    string
	// Backend is where the proxy reaches it, "ip:port"; empty if nowhere.
	Backend string
}

// Blocker says why a workload cannot move, in words for an operator.
type Blocker struct {
	Reason string
	Remedy string
}

// Range is a run of bytes of a workload's state.
type Range struct {
	Offset int64
	Length int64
}

// Driver runs workloads on this host. Methods are safe for concurrent use; calls
// for one workload are serialized by the caller.
type Driver interface {
	// Name is the word in Spec.Driver.
	Name() string
	// Inventory observes every workload of this driver on this host, adopted
	// or not, in the order of their ids.
	Inventory(ctx context.Context) ([]Found, error)
	// Start runs a workload here, from its saved state if there is one.
	Start(ctx context.Context, spec Spec, token fleet.Token) (Found, error)
	// Save freezes the workload, writes its state to disk (fsynced) and ends
	// its process. Start brings it back.
	Save(ctx context.Context, id fleet.WorkloadID) error
	// Stop ends the workload and forgets its state; it returns once the
	// process is proved gone.
	Stop(ctx context.Context, id fleet.WorkloadID) error
	// Inspect lists what would keep the workload from moving (a dry run).
	Inspect(ctx context.Context, id fleet.WorkloadID) ([]Blocker, error)
	// Source opens the workload for copying. One Source at a time per workload.
	Source(ctx context.Context, id fleet.WorkloadID) (Source, error)
	// Sink makes an Incoming workload that a migration will fill.
	Sink(ctx context.Context, spec Spec, token fleet.Token) (Sink, error)
	// OpenSink reopens the Incoming workload a restarted agent finds.
	OpenSink(ctx context.Context, id fleet.WorkloadID) (Sink, error)
}

// Source reads the state of a running workload and follows its changes.
type Source interface {
	// Size of the state in bytes, constant for the life of the Source.
	Size() int64
	// Tracker names how changes are found: pagemap-scan, bitmap, compare.
	Tracker() string
	// Dirty returns the ranges that changed since the last call, ascending
	// and disjoint, and protects them again BEFORE it returns: bytes read
	// afterwards are at least as new as the mark. The first call returns
	// everything that was ever written. ErrTrackingLost: start over.
	Dirty(ctx context.Context) ([]Range, error)
	// ReadAt reads state; during a run it may see a mixture of old and new,
	// which a later Dirty reports again.
	ReadAt(p []byte, off int64) (int, error)
	// Freeze stops the workload from changing its state or answering, and
	// returns once that is proved. Thaw undoes it.
	Freeze(ctx context.Context) error
	Thaw(ctx context.Context) error
	// Discard ends the frozen workload, forgets its state here and returns
	// once its process is proved gone and its memory released.
	Discard(ctx context.Context) error
	// Close lets go without touching the workload.
	Close() error
}

// ErrTrackingLost: changes may have been missed; everything must be sent again.
var ErrTrackingLost = errors.New("change tracking lost")

// Sink is an Incoming workload.
type Sink interface {
	// WriteAt fills state. ReadAt reads back what was written.
	WriteAt(p []byte, off int64) (int, error)
	ReadAt(p []byte, off int64) (int, error)
	// Activate makes the workload run from the state written. It is
	// idempotent: a running workload stays running.
	Activate(ctx context.Context) (Found, error)
	// Discard ends it; it never ran here.
	Discard(ctx context.Context) error
	// Close lets go without touching the workload.
	Close() error
}

// Error says which workload and driver could not do what, and what to do next.
type Error struct {
	Driver   string
	Workload fleet.WorkloadID
	Op       string
	Hint     string
	Err      error
}

func (e *Error) Error() string {
	s := fmt.Sprintf("%s driver: %s %s: %v", e.Driver, e.Op, e.Workload, e.Err)
	if e.Hint != "" {
		s += ": " + e.Hint
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
