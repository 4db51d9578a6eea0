package httpapi

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/placed-dev/placed/api"
)

// LeaseOperations of the demo: hosts hold 100 cores; workload "taken" is leased.
func (d *demo) LeaseOperations(_ context.Context, w Write, operations []api.LeaseOperation) (api.LeaseBatch, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.leader < 0 {
		return api.LeaseBatch{}, ErrNoLeader
	}
	if first, known := d.batches[w.ID]; known {
		first.Replayed = true
		return first, nil
	}
	d.index++
	batch := api.LeaseBatch{Index: d.index, Token: api.Token{Cluster: "demo", Generation: 1, Index: d.index}}
	for i, o := range operations {
		result := api.LeaseResult{Lease: fmt.Sprintf("L%d.%d", d.index, i+1), State: "granted"}
		switch {
		case o.Op == "release":
			result = api.LeaseResult{Lease: o.Lease, State: "aborted"}
		case o.Workload == "taken":
			result = api.LeaseResult{Error: ErrorOf(fmt.Errorf("workload taken has the active lease L41: %w", ErrConflict))}
		}
		batch.Results = append(batch.Results, result)
	}
	if d.batches == nil {
		d.batches = map[string]api.LeaseBatch{}
	}
	d.batches[w.ID] = batch
	return batch, nil
}

func TestLeaseOperations(t *testing.T) {
	server := newServer(t, Config{Backend: newDemo(3)})
	reserve := `{"op":"reserve","workload":"w1","destination":"h2","cpu":1,"memory":1024}`
	for _, c := range []struct {
		target, body string
		status       int
		has          string
	}{
		{"/v1/leases", reserve, 200, `"state":"granted"`},
		{"/v1/leases", `{"op":"release","lease":"L414.1"}`, 200, `"state":"aborted"`},
		{"/v1/leases", strings.Replace(reserve, "w1", "taken", 1), 409, "active lease L41"},
		{"/v1/leases", `{"op":"reserve","workload":"w1"}`, 400, "operation 0: a reserve needs"},
		{"/v1/leases", `{"op":"reserve","workload":"w1","destination":"h2"}`, 400, "reserves 0 cores"},
		{"/v1/leases", `{"op":"reserve","workload":"w1","destination":"h2","cpu":-1}`, 400, "reserves -1 cores"},
		{"/v1/leases", `{"op":"claim","lease":"L1"}`, 400, `op \"claim\" is not known`},
		{"/v1/leases", `{"op":"release"}`, 400, "lease is missing"},
		{"/v1/leases", `{"op":"release","leese":"L1"}`, 400, "leese"},
		{"/v1/leases:batch", `{"operations":[` + reserve + `,` + strings.Replace(reserve, "w1", "taken", 1) + `]}`, 200, `"code":"conflict"`},
		{"/v1/leases:batch", `{"operations":[]}`, 400, "0 operations: 1 to 64"},
		{"/v1/leases:batch", `{"operations":[` + strings.Repeat(reserve+",", 64) + reserve + `]}`, 400, "65 operations"},
		{"/v1/leases:batch", `{"operations":[{"op":"release","lease":"L1","reason":"` + strings.Repeat("x", maxBatchBody) + `"}]}`, 413, "163840"},
	} {
		w := answer(server, "POST", c.target, c.body, jsonBody...)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.has) {
			t.Errorf("%s %.60s: status %d, want %d with %q in %.300s", c.target, c.body, w.Code, c.status, c.has, w.Body)
		}
	}
}

// The client speaks both forms; a repeated key answers the first results.
func TestClientLeaseOperations(t *testing.T) {
	address := serve(t, Config{Backend: newDemo(3)})
	client := newClient(t, address)
	ctx := context.Background()
	one, err := client.Reserve(ctx, api.LeaseOperation{Workload: "w1", Destination: "h2", CPU: 1})
	if err != nil || len(one.Results) != 1 || one.Token.Index != one.Index {
		t.Fatalf("%+v, %v", one, err)
	}
	if gone, err := client.ReleaseLease(ctx, one.Results[0].Lease, "test"); err != nil || gone.Results[0].State != "aborted" {
		t.Errorf("%+v, %v", gone, err)
	}
	batch, err := client.LeaseBatch(ctx, api.LeaseOperation{Op: "reserve", Workload: "taken", Destination: "h1", CPU: 1}, api.LeaseOperation{Op: "release", Lease: "L1"})
	if err != nil || batch.Results[0].Error == nil || batch.Results[0].Error.Code != api.CodeConflict || batch.Results[1].Error != nil {
		t.Errorf("%+v, %v", batch, err)
	}
	server := newServer(t, Config{Backend: newDemo(3)})
	headers := append([]string{api.HeaderIdempotency, "same"}, jsonBody...)
	body := `{"op":"reserve","workload":"w1","destination":"h2","cpu":1}`
	first := answer(server, "POST", "/v1/leases", body, headers...).Body.String()
	again := answer(server, "POST", "/v1/leases", body, headers...).Body.String()
	if strings.Replace(again, `"replayed":true`, `"replayed":false`, 1) != first || first == again {
		t.Errorf("first %s, again %s", first, again)
	}
}
