package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/placed-dev/placed/api"
)

func (d *demo) RaftServers(context.Context) (api.RaftState, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	state := api.RaftState{Term: d.term, Index: d.index, Judged: d.leader >= 0, Healthy: d.leader >= 0, FailureTolerance: 1}
	for i := range d.hosts[:3] {
		state.Servers = append(state.Servers, api.RaftServer{ID: d.hosts[i].id, Name: d.hosts[i].name, Address: d.ref(i).Address, Voter: true, Leader: i == d.leader, Healthy: true})
	}
	return state, nil
}

func (d *demo) operator(w Write, format string, args ...any) (api.Accepted, error) {
	return d.once(w, func() (api.Accepted, error) {
		return api.Accepted{Index: d.index, Message: fmt.Sprintf(format, args...)}, nil
	})
}

func (d *demo) RaftAdd(_ context.Context, w Write, id, address string) (api.Accepted, error) {
	return d.operator(w, "added %s at %s", id, address)
}

func (d *demo) RaftRemove(_ context.Context, w Write, id string) (api.Accepted, error) {
	if id == "nobody" {
		return api.Accepted{}, fmt.Errorf("host nobody is no server of the log: %w", ErrConflict)
	}
	return d.operator(w, "removed %s", id)
}

func (d *demo) RaftTransfer(_ context.Context, w Write, to string) (api.Accepted, error) {
	return d.operator(w, "handed over to %q", to)
}

func (d *demo) RaftSnapshot(_ context.Context, w Write) (api.Accepted, error) {
	return d.operator(w, "written")
}

const demoSnapshot = "the books of the demo"

func (d *demo) SnapshotWithHistory(_ context.Context, since time.Duration) ([]byte, error) {
	return api.Bundle{Format: api.BundleFormat, Books: []byte(demoSnapshot), TickS: 300, Ticks: int(since / (5 * time.Minute))}.Encode()
}
func (d *demo) SnapshotBooks(context.Context) ([]byte, error) { return []byte(demoSnapshot), nil }

func (d *demo) RestoreBooks(_ context.Context, w Write, snapshot []byte) (api.Accepted, error) {
	return d.operator(w, "restored %q", snapshot)
}

func TestOperatorWrites(t *testing.T) {
	server := newServer(t, Config{Backend: newDemo(3)})
	for _, c := range []struct {
		method, target, body string
		status               int
		has                  string
	}{
		{"GET", "/v1/operator/raft", "", 200, `"failure_tolerance":1`},
		{"POST", "/v1/operator/raft/add-peer", `{"id":"h4","address":"10.0.0.4:4100"}`, 200, "added h4 at 10.0.0.4:4100"},
		{"POST", "/v1/operator/raft/add-peer", `{}`, 400, "id is missing"},
		{"POST", "/v1/operator/raft/remove-peer", `{"id":"h2"}`, 200, "removed"},
		{"POST", "/v1/operator/raft/remove-peer", `{"id":"nobody"}`, 409, "no server of the log"},
		{"POST", "/v1/operator/raft/transfer-leadership", `{}`, 200, `handed over to`},
		{"POST", "/v1/operator/raft/snapshot", `{}`, 200, "written"},
		{"POST", "/v1/operator/raft/snapshot", `{"sync":true}`, 400, "sync"},
	} {
		w := answer(server, c.method, c.target, c.body, jsonBody...)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.has) {
			t.Errorf("%s %s %s: status %d, want %d with %q in %.300s", c.method, c.target, c.body, w.Code, c.status, c.has, w.Body)
		}
	}
}

// A snapshot that lost a byte on the way is noticed at both ends.
func TestSnapshotOverHTTP(t *testing.T) {
	address := serve(t, Config{Backend: newDemo(3)})
	client := newClient(t, address)
	data, meta, err := client.SaveSnapshot(t.Context(), api.QueryOptions{})
	if err != nil || string(data) != demoSnapshot || meta.Index == 0 {
		t.Fatalf("%q, %+v, %v", data, meta, err)
	}
	accepted, err := client.RestoreSnapshot(t.Context(), data)
	if err != nil || !strings.Contains(accepted.Message, demoSnapshot) {
		t.Fatalf("%+v, %v", accepted, err)
	}
	server := newServer(t, Config{Backend: newDemo(3)})
	sum := sha256.Sum256([]byte(demoSnapshot))
	right := []string{"Content-Type", "application/octet-stream", api.HeaderSHA256, hex.EncodeToString(sum[:])}
	for _, c := range []struct {
		body    string
		headers []string
		status  int
	}{
		{demoSnapshot, right, 200},
		{demoSnapshot[1:], right, 400},
		{demoSnapshot, right[:2], 400},
		{demoSnapshot, jsonBody, 415},
	} {
		if w := answer(server, "PUT", "/v1/operator/snapshot", c.body, c.headers...); w.Code != c.status {
			t.Errorf("%q with %v: status %d, want %d: %s", c.body, c.headers, w.Code, c.status, w.Body)
		}
	}
}
