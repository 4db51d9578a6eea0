package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/placed-dev/placed/api"
)

// OperatorBackend is what operators do to the replicated log itself.
type OperatorBackend interface {
	// RaftServers needs no leader.
	RaftServers(ctx context.Context) (api.RaftState, error)
	RaftAdd(ctx context.Context, w Write, id, address string) (api.Accepted, error)
	RaftRemove(ctx context.Context, w Write, id string) (api.Accepted, error)
	// RaftTransfer hands leadership to a voter; to "" means the most up to date.
	RaftTransfer(ctx context.Context, w Write, to string) (api.Accepted, error)
	// RaftSnapshot writes a snapshot of this agent's own log.
	RaftSnapshot(ctx context.Context, w Write) (api.Accepted, error)
	// SnapshotBooks returns the books as they are here; RestoreBooks replaces
	// those of the whole cluster.
	SnapshotBooks(ctx context.Context) ([]byte, error)
	// SnapshotWithHistory returns them in a bundle with what every workload has
	// used in the time before (api.Bundle).
	SnapshotWithHistory(ctx context.Context, since time.Duration) ([]byte, error)
	RestoreBooks(ctx context.Context, w Write, snapshot []byte) (api.Accepted, error)

	UpgradeBackend
}

// snapshotTime bounds the transfer of a snapshot.
const snapshotTime = time.Minute

func (s *Server) raftServers(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), s.config.Timeout)
	defer cancel()
	state, err := s.backend.RaftServers(ctx)
	s.backend.Meta().Write(w.Header())
	if err != nil {
		return err
	}
	s.writeJSON(w, r, http.StatusOK, state)
	return nil
}

// raftWrite makes the handler of a change that names one server.
func (s *Server) raftWrite(needsID bool, do func(context.Context, Write, api.RaftServerRequest) (api.Accepted, error)) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		return s.write(w, r, func(ctx context.Context, id Write, decode func(any) error) (api.Accepted, error) {
			var request api.RaftServerRequest
			if err := decode(&request); err != nil {
				return api.Accepted{}, err
			}
			if needsID && request.ID == "" {
				return api.Accepted{}, invalid(`add "id"; GET /v1/operator/raft lists the servers`, "id is missing")
			}
			if request.ID != "" {
				// A name will do; what the books do not know is taken as an id.
				if host, err := s.findHost(ctx, request.ID); err == nil {
					request.ID = host.ID
				} else if !errors.Is(err, ErrNotFound) {
					return api.Accepted{}, err
				}
			}
			return do(ctx, id, request)
		})
	}
}

func (s *Server) raftAdd(ctx context.Context, w Write, r api.RaftServerRequest) (api.Accepted, error) {
	return s.backend.RaftAdd(ctx, w, r.ID, r.Address)
}

func (s *Server) raftRemove(ctx context.Context, w Write, r api.RaftServerRequest) (api.Accepted, error) {
	return s.backend.RaftRemove(ctx, w, r.ID)
}

func (s *Server) raftTransfer(ctx context.Context, w Write, r api.RaftServerRequest) (api.Accepted, error) {
	return s.backend.RaftTransfer(ctx, w, r.ID)
}

func (s *Server) raftSnapshot(ctx context.Context, w Write, _ api.RaftServerRequest) (api.Accepted, error) {
	return s.backend.RaftSnapshot(ctx, w)
}

// saveSnapshot sends the books. Only an answer with the right sum is whole.
func (s *Server) saveSnapshot(w http.ResponseWriter, r *http.Request) error {
	q, err := queryOptions(r.URL.Query())
	if err != nil {
		return err
	}
	extendDeadlines(http.NewResponseController(w), snapshotTime)
	ctx, cancel := context.WithTimeout(r.Context(), s.config.Timeout)
	defer cancel()
	if err := s.catchUp(ctx, w, q); err != nil {
		return err
	}
	meta := s.backend.Meta()
	read := s.backend.SnapshotBooks
	if text := r.URL.Query().Get("history"); text != "" {
		since, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%w: history=%q is no duration: write it as 168h", ErrInvalid, text)
		}
		read = func(ctx context.Context) ([]byte, error) { return s.backend.SnapshotWithHistory(ctx, since) }
	}
	data, err := read(ctx)
	meta.Write(w.Header())
	if err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.Header().Set(api.HeaderSHA256, hex.EncodeToString(sum[:]))
	_, err = w.Write(data)
	return ignoreGone(r, err)
}

func (s *Server) restoreSnapshot(w http.ResponseWriter, r *http.Request) error {
	// As with JSON: no page of another site can send this type unasked.
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/octet-stream" {
		return refusal(http.StatusUnsupportedMediaType, "content type %.60q cannot be read", r.Header.Get("Content-Type")).
			withHint("send the bytes of a snapshot with Content-Type: application/octet-stream")
	}
	id, err := writeID(r)
	if err != nil {
		return err
	}
	extendDeadlines(http.NewResponseController(w), snapshotTime)
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, api.MaxSnapshot))
	if err != nil {
		var tooBig *http.MaxBytesError
		if errors.As(err, &tooBig) {
			return refusal(http.StatusRequestEntityTooLarge, "the snapshot has more than %d bytes", tooBig.Limit).withHint("recover from the data directory instead")
		}
		return invalid("send it again", "the snapshot is cut off after %d bytes", len(data))
	}
	if sum := sha256.Sum256(data); r.Header.Get(api.HeaderSHA256) != hex.EncodeToString(sum[:]) {
		return invalid("send the SHA-256 of the body, in hex", "header %s does not match the %d bytes of the body", api.HeaderSHA256, len(data))
	}
	ctx, cancel := context.WithTimeout(r.Context(), snapshotTime)
	defer cancel()
	accepted, err := s.backend.RestoreBooks(ctx, id, data)
	s.backend.Meta().Write(w.Header())
	if err != nil {
		return err
	}
	s.logger.Warn("books restored from a snapshot", "by", id.By, "index", accepted.Index)
	s.writeJSON(w, r, http.StatusOK, accepted)
	return nil
}
