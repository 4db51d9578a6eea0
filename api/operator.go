package api

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// HeaderSHA256 carries the SHA-256 of a snapshot's bytes, in hex.
const HeaderSHA256 = "X-Placed-SHA256"

// MaxSnapshot bounds a snapshot that is sent to an agent, in bytes.
const MaxSnapshot = 256 << 20

// RaftServer is one server of the replicated log.
type RaftServer struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Address string `json:"address"` // ip:port of the mTLS port
	Voter   bool   `json:"voter"`
	Leader  bool   `json:"leader"`
	// What follows is the leader's judgement; zero without one.
	Healthy       bool      `json:"healthy"`
	LastContactMS int64     `json:"last_contact_ms"` // of the server with the leader
	LastIndex     uint64    `json:"last_index"`
	StableSince   time.Time `json:"stable_since"`
}

// RaftState is the replicated log and who holds it.
type RaftState struct {
	Term  uint64 `json:"term"`
	Index uint64 `json:"index"`
	// Judged: the leader has looked at its servers. Healthy: all of them are
	// well; FailureTolerance: so many healthy voters may be lost.
	Judged           bool `json:"judged"`
	Healthy          bool `json:"healthy"`
	FailureTolerance int  `json:"failure_tolerance"`
	// ClockOffsetMS is how far the leader's clock is ahead of the voters' median.
	ClockOffsetMS int64        `json:"clock_offset_ms"`
	Servers       []RaftServer `json:"servers"`
}

// RaftServerRequest names one server: to add it (Address may be empty for a host
// of the books), to remove it, or to lead (ID empty: whoever is most up to date).
type RaftServerRequest struct {
	ID      string `json:"id"`
	Address string `json:"address,omitempty"`
}

// RaftServers lists the servers of the log. Any agent answers, also without a
// leader; then it says what it knows itself.
func (c *Client) RaftServers(ctx context.Context) (RaftState, error) {
	state, _, err := get[RaftState](ctx, c, "/v1/operator/raft", nil, QueryOptions{Stale: true})
	return state, err
}

// RaftAdd lets a host receive the log; it gets its vote when it is stable.
func (c *Client) RaftAdd(ctx context.Context, id, address string) (Accepted, error) {
	return c.write(ctx, http.MethodPost, "/v1/operator/raft/add-peer", RaftServerRequest{ID: id, Address: address})
}

// RaftRemove takes a server out of the log's configuration.
func (c *Client) RaftRemove(ctx context.Context, id string) (Accepted, error) {
	return c.write(ctx, http.MethodPost, "/v1/operator/raft/remove-peer", RaftServerRequest{ID: id})
}

// RaftTransfer hands leadership to a voter, or to the most up-to-date one for "".
func (c *Client) RaftTransfer(ctx context.Context, to string) (Accepted, error) {
	return c.write(ctx, http.MethodPost, "/v1/operator/raft/transfer-leadership", RaftServerRequest{ID: to})
}

// RaftSnapshot makes the agent write a snapshot of its log now.
func (c *Client) RaftSnapshot(ctx context.Context) (Accepted, error) {
	return c.write(ctx, http.MethodPost, "/v1/operator/raft/snapshot", struct{}{})
}

// SaveSnapshot reads the books as bytes that RestoreSnapshot and `placed operator
// snapshot inspect` understand, and checks that all of them came through.
func (c *Client) SaveSnapshot(ctx context.Context, q QueryOptions) ([]byte, Meta, error) {
	return c.saveSnapshot(ctx, q, 0)
}

// SaveBundle is SaveSnapshot with what every workload has used in the time before:
// the bytes of a Bundle.
func (c *Client) SaveBundle(ctx context.Context, q QueryOptions, since time.Duration) ([]byte, Meta, error) {
	return c.saveSnapshot(ctx, q, since)
}

func (c *Client) saveSnapshot(ctx context.Context, q QueryOptions, since time.Duration) ([]byte, Meta, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout+time.Minute)
	defer cancel()
	query := map[string][]string{}
	if q.Stale {
		query["stale"] = []string{"true"}
	}
	if since > 0 {
		query["history"] = []string{since.String()}
	}
	answer, err := c.send(ctx, http.MethodGet, "/v1/operator/snapshot", query, nil, "")
	if err != nil {
		return nil, Meta{}, err
	}
	defer answer.Body.Close()
	meta, err := ParseMeta(answer.Header)
	if err != nil {
		return nil, meta, err
	}
	data, err := io.ReadAll(io.LimitReader(answer.Body, MaxSnapshot+1))
	if err != nil {
		return nil, meta, fmt.Errorf("GET /v1/operator/snapshot: cut off after %d bytes: %w", len(data), err)
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != answer.Header.Get(HeaderSHA256) {
		return nil, meta, fmt.Errorf("GET /v1/operator/snapshot: %d bytes came, but not those that the agent sent: try again", len(data))
	}
	return data, meta, nil
}

// RestoreSnapshot replaces the books of the whole cluster. It is sent once: what
// became of it when the answer is lost shows in the generation.
func (c *Client) RestoreSnapshot(ctx context.Context, snapshot []byte) (Accepted, error) {
	const path = "/v1/operator/snapshot"
	ctx, cancel := context.WithTimeout(ctx, c.timeout+time.Minute)
	defer cancel()
	target, err := c.base.Parse(path)
	if err != nil {
		return Accepted{}, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, target.String(), bytes.NewReader(snapshot))
	if err != nil {
		return Accepted{}, err
	}
	sum := sha256.Sum256(snapshot)
	request.Header.Set("Content-Type", "application/octet-stream")
	request.Header.Set(HeaderIdempotency, rand.Text())
	request.Header.Set(HeaderSHA256, hex.EncodeToString(sum[:]))
	answer, err := c.http.Do(request)
	if err != nil {
		return Accepted{}, fmt.Errorf("agent at %s does not answer: %w", c.base.Host, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return Accepted{}, readRefusal(answer)
	}
	var accepted Accepted
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxAnswer)).Decode(&accepted); err != nil {
		return Accepted{}, fmt.Errorf("PUT %s: unreadable answer: %w", path, err)
	}
	return accepted, nil
}
