package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/placed-dev/placed/api"
)

// refused is an api.Error under construction.
type refused struct{ *api.Error }

// refusal makes an error with a status of its own.
func refusal(status int, format string, args ...any) refused {
	code := api.CodeInvalid
	if status == http.StatusMethodNotAllowed || status == http.StatusUnsupportedMediaType {
		code = api.CodeUnsupported
	}
	return refused{&api.Error{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}}
}

func (r refused) withHint(hint string) error { r.Hint = hint; return r.Error }

func invalid(hint, format string, args ...any) error {
	return refusal(http.StatusBadRequest, format, args...).withHint(hint)
}

// writeJSON encodes first and sends then, so that an answer is whole or absent.
func (s *Server) writeJSON(w http.ResponseWriter, r *http.Request, status int, v any) {
	content, err := encode(r, v)
	if err != nil {
		s.logger.Error("answer cannot be encoded", "path", r.URL.Path, "error", err)
		status = http.StatusInternalServerError
		content = []byte(`{"error":{"code":"internal","message":"the answer cannot be encoded: see the agent's log"}}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	w.WriteHeader(status)
	// A client that has gone is no error of the agent's.
	_, _ = w.Write(content)
}

func encode(r *http.Request, v any) ([]byte, error) {
	if r.URL.Query().Has("pretty") {
		content, err := json.MarshalIndent(v, "", "  ")
		return append(content, '\n'), err
	}
	content, err := json.Marshal(v)
	return append(content, '\n'), err
}

// ignoreGone drops write errors once the client has gone.
func ignoreGone(r *http.Request, err error) error {
	if r.Context().Err() != nil {
		return nil
	}
	return err
}
