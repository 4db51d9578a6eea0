package consensus

import (
	"errors"
	"fmt"
	"time"
)

// ErrNotLeader: this host does not lead. What was asked for has certainly not
// been done; ask the leader, when one is known.
type ErrNotLeader struct {
	Leader  string // host id, empty when unknown
	Address string // its raft address, empty when unknown
}

func (e *ErrNotLeader) Error() string {
	if e.Leader == "" {
		return "this host is not the leader and knows none: retry in a moment; if it lasts, a majority of the voters is down or unreachable"
	}
	return fmt.Sprintf("this host is not the leader: ask host %s at %s", e.Leader, e.Address)
}

// ErrUnknownOutcome: the entry may or may not have been applied, now or later.
// Repeat it under the same idempotency id, or read.
type ErrUnknownOutcome struct{ Err error }

func (e *ErrUnknownOutcome) Error() string {
	return fmt.Sprintf("outcome unknown, the command may still be applied (repeat it under the same idempotency id): %v", e.Err)
}

// Unwrap returns the cause.
func (e *ErrUnknownOutcome) Unwrap() error { return e.Err }

var (
	// ErrBusy: the proposal found no place before its deadline. It has
	// certainly not been applied.
	ErrBusy = errors.New("too many proposals in flight, not applied: retry later")
	// ErrTooLarge: the entry exceeds MaxEntry. It has not been applied.
	ErrTooLarge = errors.New("entry is too large, not applied")
	// ErrRemoved ends Run: this host led, and removed itself from the servers.
	ErrRemoved = errors.New("this host removed itself from the servers of the cluster")
	// ErrLeadershipLost is the cause of a cancelled leadership context.
	ErrLeadershipLost = errors.New("leadership lost")
)

// Kinds of StoreError, for errors.Is.
var (
	ErrStoreFailed  = errors.New("write failed")
	ErrStoreStalled = errors.New("write stalled")
	ErrStoreDamaged = errors.New("damaged data")
	ErrStoreInUse   = errors.New("in use by another process")
	ErrStoreLost    = errors.New("store was emptied")
	ErrStoreForeign = errors.New("store of another host or cluster")
)

// StoreError says why the store can not be used any more, and what to do.
type StoreError struct {
	Kind  error // one of the ErrStore… kinds
	Op    string
	Path  string
	Limit time.Duration // of a stall
	Hint  string
	Err   error // may be nil
}

func (e *StoreError) Error() string {
	s := "raft store " + e.Path
	if e.Op != "" {
		s += ": " + e.Op
	}
	s += ": " + e.Kind.Error()
	if e.Limit > 0 {
		s += fmt.Sprintf(" for more than %s", e.Limit)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if e.Hint != "" {
		s += ": " + e.Hint
	}
	return s
}

// Unwrap returns the kind and the cause.
func (e *StoreError) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

const (
	hintDisk    = "the node stops; workloads are not touched. Check the disk (space, kernel log), then start placed again"
	hintDamaged = "nothing was changed. If a majority of the other voters is well: remove this host from the voters, move the directory aside, start placed again and add it back. If not: restore the directory or a snapshot from a backup"
	hintLost    = "entries it acknowledged or votes it gave are missing, and joining like this could lose acknowledged writes. Restore the directory; or, if it is gone for good, remove this host from the voters on another one, delete the whole directory here (identity.json too), start placed again and add it back"
)
