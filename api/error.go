package api

import "fmt"

// Codes of Error.
const (
	CodeNotFound    = "not_found"
	CodeNoLeader    = "no_leader"
	CodeDenied      = "denied"
	CodeConflict    = "conflict"
	CodeInvalid     = "invalid"
	CodeTooBusy     = "too_busy"
	CodeInternal    = "internal"
	CodeUnsupported = "unsupported"
)

// Error is a refusal by an agent.
type Error struct {
	Status  int    `json:"-"` // HTTP status
	Code    string `json:"code"`
	Message string `json:"message"`
	// Hint says what to do next; may be empty.
	Hint string `json:"hint,omitempty"`
}

// ErrorBody is the JSON body of every answer that is not a success.
type ErrorBody struct {
	Error *Error `json:"error"`
}

func (e *Error) Error() string {
	if e.Hint == "" {
		return fmt.Sprintf("%s (%s)", e.Message, e.Code)
	}
	return fmt.Sprintf("%s (%s): %s", e.Message, e.Code, e.Hint)
}
