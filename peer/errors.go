package peer

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/placed-dev/placed/fleet"
)

var (
	// ErrUnreachable: the request certainly was not processed; it may be sent
	// again, there or elsewhere.
	ErrUnreachable = errors.New("peer unreachable, the request was not processed")
	// ErrUnknownOutcome: the request was sent and no answer came. It may have
	// been processed, or may still be: repeat it only under its idempotency id.
	ErrUnknownOutcome = errors.New("unknown outcome, the request may have been processed")
)

// Codes that the server itself answers with. Handlers bring their own.
const (
	CodeUnknownCall = "unknown_call" // no such name: an older agent
	CodeBadRequest  = "bad_request"  // the request could not be decoded
	CodeTooLarge    = "too_large"    // request or answer above the limit
	CodeForbidden   = "forbidden"    // the caller's role may not make this call
	CodeDeadline    = "deadline"     // the handler ran out of time: unknown outcome
	CodeStopping    = "stopping"     // the agent stopped meanwhile: unknown outcome
	CodeFailed      = "failed"       // the handler failed without a code of its own
)

// Error is an answer that says no. The code is for programs, the message for
// people, the detail (JSON, may be empty) for programs that know the code.
type Error struct {
	Code    string          `json:"code"`
	Message string          `json:"message"`
	Detail  json.RawMessage `json:"detail,omitempty"`
}

func (e *Error) Error() string { return e.Message }

// Is makes an answer that leaves the outcome open match ErrUnknownOutcome.
func (e *Error) Is(target error) bool {
	return target == ErrUnknownOutcome && (e.Code == CodeDeadline || e.Code == CodeStopping)
}

// RPCError lets an agent that forwards a call return the answer as it came.
func (e *Error) RPCError() (code string, detail any) {
	if len(e.Detail) == 0 {
		return e.Code, nil
	}
	return e.Code, e.Detail
}

// coded is what a handler's error may implement so that its code and detail
// reach the caller.
type coded interface {
	error
	RPCError() (code string, detail any)
}

// Address says whom to call: the host at Addr ("ip:port") must be ID. An empty ID
// accepts any member of the cluster, for the first contact only.
type Address struct {
	ID   fleet.HostID
	Addr string
}

func (a Address) String() string {
	if a.ID == "" {
		return a.Addr
	}
	return fmt.Sprintf("%s (%s)", a.ID, a.Addr)
}

// failure wraps what went wrong with whom and what was called.
func failure(to Address, name string, err error) error {
	return fmt.Errorf("call %s on host %s: %w", name, to, err)
}
