package api

import (
	"context"
	"time"
)

// Adjustment is one change of a workload where it is: of its cpu weight or limit, of
// the number of its virtual cpus, of the memory its guest has. It is taken back when
// its reason is gone.
type Adjustment struct {
	Workload string `json:"workload"`
	Host     string `json:"host"` // host id
	Kind     string `json:"kind"` // cpu-weight | cpu-quota | vcpus | balloon
	// State is asked | applied | ending | failed.
	State string `json:"state"`
	// Before is what it was and will be again, Want what it is to be: a weight of
	// 1 to 10000, cores, a number of virtual cpus, bytes.
	Before float64 `json:"before"`
	Want   float64 `json:"want"`
	// Text says the same for people.
	Text string `json:"text"`
	// Since is load time.
	Since    time.Time `json:"since"`
	Decision string    `json:"decision,omitempty"`
	Reason   string    `json:"reason"`
}

// Adjustments lists what is changed in place, by workload and kind.
func (c *Client) Adjustments(ctx context.Context, q QueryOptions) ([]Adjustment, Meta, error) {
	return get[[]Adjustment](ctx, c, "/v1/adjustments", nil, q)
}
