package httpapi

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"

	"github.com/placed-dev/placed/api"
)

// maxBody bounds what a write may send.
const maxBody = 64 << 10

// setPolicy changes the fields that the body names and keeps the others, so that
// an old client cannot reset a field that it does not know.
func (s *Server) setPolicy(w http.ResponseWriter, r *http.Request) error {
	return s.write(w, r, func(ctx context.Context, id Write, decode func(any) error) (api.Accepted, error) {
		if err := s.backend.Sync(ctx); err != nil {
			return api.Accepted{}, err
		}
		policy, err := s.backend.Policy(ctx)
		if err != nil {
			return api.Accepted{}, err
		}
		if err := decode(&policy); err != nil {
			return api.Accepted{}, err
		}
		if _, err := FleetPolicy(policy); err != nil {
			return api.Accepted{}, err
		}
		return s.backend.SetPolicy(ctx, id, policy)
	})
}

func (s *Server) move(w http.ResponseWriter, r *http.Request) error {
	return s.write(w, r, func(ctx context.Context, id Write, decode func(any) error) (api.Accepted, error) {
		var request api.MoveRequest
		if err := decode(&request); err != nil {
			return api.Accepted{}, err
		}
		if request.Workload == "" {
			return api.Accepted{}, invalid(`add "workload"`, "move: workload is missing")
		}
		if request.DestinationHost != "" && request.DestinationZone != "" {
			return api.Accepted{}, invalid("keep one of the two, or neither", "move of %s: destination_host and destination_zone exclude each other", request.Workload)
		}
		if request.DestinationHost != "" {
			host, err := s.findHost(ctx, request.DestinationHost)
			if err != nil {
				return api.Accepted{}, err
			}
			request.DestinationHost = host.ID
		}
		return s.backend.Move(ctx, id, request)
	})
}

// resolve takes an operator's word on a lease. It wants a reason: the word stays in
// the record, and the next shift must understand it.
func (s *Server) resolve(w http.ResponseWriter, r *http.Request) error {
	return s.write(w, r, func(ctx context.Context, id Write, decode func(any) error) (api.Accepted, error) {
		var request struct {
			Commit *bool `json:"commit"`
			api.ResolveRequest
		}
		if err := decode(&request); err != nil {
			return api.Accepted{}, err
		}
		switch {
		case request.Lease == "":
			return api.Accepted{}, invalid(`add "lease"`, "lease is missing")
		case request.Commit == nil:
			return api.Accepted{}, invalid(`send "commit": true if the destination owns the workload, false if the source does`, "commit is missing")
		case request.Reason == "":
			return api.Accepted{}, invalid(`add "reason": how you know`, "reason is missing")
		}
		request.ResolveRequest.Commit = *request.Commit
		return s.backend.Resolve(ctx, id, request.ResolveRequest)
	})
}

func (s *Server) drain(w http.ResponseWriter, r *http.Request) error {
	return s.write(w, r, func(ctx context.Context, id Write, decode func(any) error) (api.Accepted, error) {
		var request struct {
			Drain *bool `json:"drain"`
			api.DrainRequest
		}
		if err := decode(&request); err != nil {
			return api.Accepted{}, err
		}
		if request.Drain == nil {
			return api.Accepted{}, invalid(`send {"drain": true} or {"drain": false}`, "drain is missing")
		}
		request.DrainRequest.Drain = *request.Drain
		if d := request.DeadlineS; d != 0 && !(*request.Drain && d > 0 && d <= 30*24*3600) {
			return api.Accepted{}, invalid("send 1 to 2592000 seconds, with a drain", "a deadline of %g seconds", d)
		}
		host, err := s.findHost(ctx, r.PathValue("id"))
		if err != nil {
			return api.Accepted{}, err
		}
		return s.backend.Drain(ctx, id, host.ID, request.DrainRequest)
	})
}

// write checks what every write needs and answers with its index.
func (s *Server) write(w http.ResponseWriter, r *http.Request, do func(context.Context, Write, func(any) error) (api.Accepted, error)) error {
	if err := checkContentType(r); err != nil {
		return err
	}
	id, err := writeID(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.config.Timeout)
	defer cancel()
	decode := func(v any) error { return decodeBody(w, r, v) }
	accepted, err := do(ctx, id, decode)
	s.backend.Meta().Write(w.Header())
	if err != nil {
		return err
	}
	s.logger.Info("write accepted", "method", r.Method, "path", r.URL.Path, "by", id.By, "index", accepted.Index)
	s.writeJSON(w, r, http.StatusOK, accepted)
	return nil
}

// checkContentType: forms and plain text are what a foreign page can send
// without asking first, so only JSON is a write. A page must ask before it sends
// DELETE, which has no body.
func checkContentType(r *http.Request) error {
	if r.Method == http.MethodDelete {
		return nil
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return refusal(http.StatusUnsupportedMediaType, "content type %.60q cannot be read", r.Header.Get("Content-Type")).
			withHint("send JSON with Content-Type: application/json")
	}
	return nil
}

func decodeBody(w http.ResponseWriter, r *http.Request, v any) error {
	return decodeBounded(w, r, maxBody, v)
}

// decodeBounded reads one JSON value of at most so many bytes.
func decodeBounded(w http.ResponseWriter, r *http.Request, most int64, v any) error {
	body, err := readBounded(w, r, most)
	if err != nil {
		return err
	}
	return decodeBytes(body, v)
}

func readBounded(w http.ResponseWriter, r *http.Request, most int64) ([]byte, error) {
	var body bytes.Buffer
	body.Grow(int(min(max(r.ContentLength, 0), most)) + bytes.MinRead)
	_, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, most))
	var tooBig *http.MaxBytesError
	switch {
	case errors.As(err, &tooBig):
		return nil, refusal(http.StatusRequestEntityTooLarge, "the body has more than %d bytes", tooBig.Limit).withHint("send less")
	case err != nil:
		return nil, unreadable(err)
	}
	return body.Bytes(), nil
}

func decodeBytes(body []byte, v any) error {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(v)
	if err == nil {
		if _, err = decoder.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		err = fmt.Errorf("more than one JSON value")
	}
	return unreadable(err)
}

func unreadable(err error) error {
	return invalid("GET /v1/openapi.json describes the body", "the body is not what is expected: %s", err)
}

// writeID takes the caller's id of the write, or makes one.
func writeID(r *http.Request) (Write, error) {
	id := r.Header.Get(api.HeaderIdempotency)
	if len(id) > 64 {
		return Write{}, invalid("use at most 64 characters, for example a UUID", "header %s has %d characters", api.HeaderIdempotency, len(id))
	}
	if id == "" {
		id = rand.Text()
	}
	return Write{ID: id, By: caller(r)}, nil
}

// caller names who asks: the identity of the client certificate, or the address.
func caller(r *http.Request) string {
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		leaf := r.TLS.PeerCertificates[0]
		if len(leaf.URIs) > 0 {
			return leaf.URIs[0].String()
		}
		return leaf.Subject.String()
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return "operator on a local socket"
	}
	return "operator at " + host
}
