package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/placed-dev/placed/api"
)

// Errors that a Backend wraps: fmt.Errorf("workload %s: %w", id, ErrNotFound).
// WithHint adds what an operator should do next.
var (
	ErrNotFound = errors.New("not found")
	ErrNoLeader = errors.New("the cluster has no leader")
	ErrDenied   = errors.New("denied")
	ErrConflict = errors.New("conflict")
	ErrInvalid  = errors.New("invalid")
)

type hinted struct {
	error
	hint string
}

func (h hinted) Unwrap() error { return h.error }

// WithHint attaches what to do next to an error.
func WithHint(err error, hint string) error { return hinted{err, hint} }

// ErrorOf is the wire form of an error of a Backend.
func ErrorOf(err error) *api.Error { return answerFor(err) }

// answerFor maps an error of the backend to what goes over the wire.
func answerFor(err error) *api.Error {
	var ready *api.Error
	if errors.As(err, &ready) {
		return ready
	}
	out := &api.Error{Status: http.StatusInternalServerError, Code: api.CodeInternal, Message: err.Error()}
	for _, m := range []struct {
		target error
		status int
		code   string
		hint   string
	}{
		{ErrNotFound, http.StatusNotFound, api.CodeNotFound, ""},
		{ErrNoLeader, http.StatusServiceUnavailable, api.CodeNoLeader, "wait for an election, or ask with ?stale for what this agent knows"},
		{ErrDenied, http.StatusForbidden, api.CodeDenied, ""},
		{ErrConflict, http.StatusConflict, api.CodeConflict, ""},
		{ErrInvalid, http.StatusBadRequest, api.CodeInvalid, ""},
		{context.DeadlineExceeded, http.StatusGatewayTimeout, api.CodeNoLeader, "the agent got no answer in time: ask with ?stale, or try another agent"},
	} {
		if errors.Is(err, m.target) {
			out.Status, out.Code, out.Hint = m.status, m.code, m.hint
			break
		}
	}
	var h hinted
	if errors.As(err, &h) {
		out.Hint = h.hint
	}
	out.Message = strings.TrimSpace(out.Message)
	return out
}
