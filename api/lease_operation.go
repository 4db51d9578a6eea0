package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// LeaseOperation is one change of the books that an operator, or an orchestrator
// on top of placed, may ask for directly.
type LeaseOperation struct {
	// Op is "reserve": grant a lease of kind placement, which holds the
	// reservation at the destination until that host claims it, it is released,
	// or 60 s have passed; or "release": give a lease back before its begin.
	Op string `json:"op"`
	// Workload and Destination (id or name of a host) of a reserve.
	Workload    string `json:"workload,omitempty"`
	Destination string `json:"destination,omitempty"`
	// Reservation of a reserve: cores, and bytes of memory.
	CPU    float64 `json:"cpu,omitempty"`
	Memory int64   `json:"memory,omitempty"`
	// Lease to release.
	Lease  string `json:"lease,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// MaxLeaseOperations is the most that one batch may carry.
const MaxLeaseOperations = 64

// LeaseBatchRequest carries 1 to MaxLeaseOperations operations. They go into one
// entry of the log and are applied in order. The reserves of one batch are
// granted all or none; every release stands alone.
type LeaseBatchRequest struct {
	Operations []LeaseOperation `json:"operations"`
}

// LeaseBatch says what became of a batch.
type LeaseBatch struct {
	Index uint64 `json:"index"`
	// Token is that of every lease granted here.
	Token Token `json:"token"`
	// Replayed: the idempotency key was known, and these are the first results.
	Replayed bool `json:"replayed"`
	// Results in the order of the operations.
	Results []LeaseResult `json:"results"`
}

// LeaseResult is what became of one operation; without an error it was accepted.
type LeaseResult struct {
	Lease string `json:"lease,omitempty"`
	State string `json:"state,omitempty"` // of the lease after the operation
	Error *Error `json:"error,omitempty"`
}

// Reserve asks for room for one workload. A refusal is an *Error.
func (c *Client) Reserve(ctx context.Context, o LeaseOperation) (LeaseBatch, error) {
	o.Op = "reserve"
	return writeFor[LeaseBatch](ctx, c, http.MethodPost, "/v1/leases", o)
}

// ReleaseLease gives a lease back that has not begun, or a standby.
func (c *Client) ReleaseLease(ctx context.Context, lease, reason string) (LeaseBatch, error) {
	return writeFor[LeaseBatch](ctx, c, http.MethodPost, "/v1/leases", LeaseOperation{Op: "release", Lease: lease, Reason: reason})
}

// LeaseBatch sends operations as one entry of the log. Refusals stand in the
// results; the error is for a batch that was not applied.
func (c *Client) LeaseBatch(ctx context.Context, operations ...LeaseOperation) (LeaseBatch, error) {
	return writeFor[LeaseBatch](ctx, c, http.MethodPost, "/v1/leases:batch", LeaseBatchRequest{Operations: operations})
}

// writeFor sends a write as write does and reads an answer of its own kind.
func writeFor[T any](ctx context.Context, c *Client, method, path string, body any) (T, error) {
	var out T
	content, err := json.Marshal(body)
	if err != nil {
		return out, fmt.Errorf("%s %s: %w", method, path, err)
	}
	err = c.repeat(ctx, method, path, content, &out)
	return out, err
}
