package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/placed-dev/placed/transport"
)

const (
	pathPrefix = "/v1/"
	// timeHeader carries the caller's remaining time in milliseconds: a
	// duration, because clocks of hosts differ.
	timeHeader = "Placed-Time-Ms"
)

// route is one call that the server answers.
type route struct {
	name    string
	handler Handler
	maxBody int64
	maxTime time.Duration
	roles   []string
}

// serve answers one HTTP request.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.calls.Add(1)
	defer s.calls.Done()
	name := strings.TrimPrefix(r.URL.Path, pathPrefix)
	defer s.logPanic(name)

	from, known := r.Context().Value(callerKey{}).(transport.Identity)
	route := s.route(name)
	switch {
	case !known:
		s.refuse(w, http.StatusForbidden, &Error{Code: CodeForbidden, Message: "the connection carries no verified identity"})
		return
	case route == nil || r.Method != http.MethodPost || !strings.HasPrefix(r.URL.Path, pathPrefix):
		s.refuse(w, http.StatusNotFound, &Error{Code: CodeUnknownCall, Message: fmt.Sprintf("this agent knows no call %q: it may be of an older version", name)})
		return
	case route.roles != nil && !slices.Contains(route.roles, from.Role):
		s.refuse(w, http.StatusForbidden, &Error{Code: CodeForbidden, Message: fmt.Sprintf("call %s takes a %s certificate, %s has role %s", name, strings.Join(route.roles, " or "), from.ID, from.Role)})
		return
	}
	body, refusal := readBody(w, r, route)
	if refusal != nil {
		s.refuse(w, http.StatusBadRequest, refusal)
		return
	}
	s.answer(w, r, route, from, body)
}

func (s *Server) route(name string) *route {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.routes[name]
}

// readBody reads the whole request before the handler starts: a request that was
// cut off is never processed.
func readBody(w http.ResponseWriter, r *http.Request, route *route) ([]byte, *Error) {
	if r.ContentLength > route.maxBody {
		return nil, tooLarge("request", route)
	}
	control := http.NewResponseController(w)
	if err := control.SetReadDeadline(time.Now().Add(bodyTime)); err != nil {
		return nil, &Error{Code: CodeFailed, Message: fmt.Sprintf("set a deadline: %v", err)}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, route.maxBody))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return nil, tooLarge("request", route)
	}
	if err != nil {
		return nil, &Error{Code: CodeBadRequest, Message: fmt.Sprintf("the request of %s was cut short: %v", route.name, err)}
	}
	// The connection stays open while the handler thinks.
	if err := control.SetReadDeadline(time.Time{}); err != nil {
		return nil, &Error{Code: CodeFailed, Message: fmt.Sprintf("clear a deadline: %v", err)}
	}
	return body, nil
}

func tooLarge(what string, route *route) *Error {
	return &Error{Code: CodeTooLarge, Message: fmt.Sprintf("the %s of %s is larger than %d bytes", what, route.name, route.maxBody)}
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request, route *route, from transport.Identity, body []byte) {
	ctx, cancel := context.WithTimeout(r.Context(), callTime(r, route))
	defer cancel()
	result, err := route.handler(ctx, from, body)
	if err != nil {
		s.refuse(w, http.StatusUnprocessableEntity, s.asError(ctx, err))
		return
	}
	text, err := json.Marshal(result)
	if err != nil {
		s.refuse(w, http.StatusInternalServerError, &Error{Code: CodeFailed, Message: fmt.Sprintf("the answer of %s cannot be encoded: %v", route.name, err)})
		return
	}
	if int64(len(text)) > route.maxBody {
		s.refuse(w, http.StatusInternalServerError, tooLarge("answer", route))
		return
	}
	s.send(w, http.StatusOK, text)
}

// callTime is what the caller still has, at most what the route allows.
func callTime(r *http.Request, route *route) time.Duration {
	ms, err := strconv.ParseInt(r.Header.Get(timeHeader), 10, 64)
	if err != nil || ms <= 0 || ms > route.maxTime.Milliseconds() {
		return route.maxTime
	}
	return time.Duration(ms) * time.Millisecond
}

// asError keeps the code of an error that has one; an error that only says that
// time or the server ran out leaves the outcome open, and says so.
func (s *Server) asError(ctx context.Context, err error) *Error {
	var known coded
	if errors.As(err, &known) {
		code, detail := known.RPCError()
		answer := &Error{Code: code, Message: err.Error()}
		if detail != nil {
			text, encodeErr := json.Marshal(detail)
			if encodeErr != nil {
				s.logger.Error("the detail of an answer cannot be encoded", "code", code, "error", encodeErr)
			}
			answer.Detail = text
		}
		return answer
	}
	code := CodeFailed
	switch {
	case s.stopped() && ctx.Err() != nil:
		code = CodeStopping
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled):
		code = CodeDeadline
	}
	return &Error{Code: code, Message: err.Error()}
}

func (s *Server) refuse(w http.ResponseWriter, status int, answer *Error) {
	text, err := json.Marshal(answer)
	if err != nil { // the detail was not JSON
		text, _ = json.Marshal(&Error{Code: answer.Code, Message: answer.Message}) // strings always encode
	}
	s.send(w, status, text)
}

func (s *Server) send(w http.ResponseWriter, status int, text []byte) {
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTime)); err != nil {
		s.logger.Debug("answer not sent", "error", err) // the caller is gone
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	if _, err := w.Write(text); err != nil {
		s.logger.Debug("answer not sent", "error", err) // the caller is gone
	}
}

// logPanic logs a handler's panic and cuts the connection: how far the handler
// came is not known, and the caller must see just that.
func (s *Server) logPanic(name string) {
	if p := recover(); p != nil {
		s.logger.Error("a call panicked: please report this", "call", name, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		panic(http.ErrAbortHandler)
	}
}
