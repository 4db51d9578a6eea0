package api

import (
	"context"
	"net/http"
)

// Feature is a workload that belongs to an instance and moves without it.
type Feature struct {
	Workload   string             `json:"workload"`
	Instance   string             `json:"instance"`
	Host       string             `json:"host"` // host id
	Thresholds []FeatureThreshold `json:"thresholds"`
}

// FeatureThreshold is what a feature may use or suffer where it is. Above it, for as
// long as it is held, the feature moves to a host that gives it more.
type FeatureThreshold struct {
	// Metric is cpu (cores), memory (bytes), net, disk (bytes per second) or one
	// that is pushed, such as latency_ms.
	Metric string  `json:"metric"`
	Limit  float64 `json:"limit"`
	// Clear is the fraction of the limit below which a crossing is over, 0.9 when
	// absent; HoldS the load time that it must last, 600 when absent.
	Clear float64 `json:"clear,omitempty"`
	HoldS float64 `json:"hold_s,omitempty"`
	// Value is the newest one, absent when none is known. It is not read.
	Value   *float64 `json:"value,omitempty"`
	Crossed bool     `json:"crossed"`
}

// FeatureRequest makes a feature of a workload, or changes one. What is absent stays
// as it is.
type FeatureRequest struct {
	Instance   string              `json:"instance,omitempty"`
	Thresholds *[]FeatureThreshold `json:"thresholds,omitempty"`
}

// MeasureRequest tells what was measured of a workload by whoever can: latencies,
// lengths of queues, missed deadlines. It counts for two minutes.
type MeasureRequest struct {
	Workload string             `json:"workload"`
	Values   map[string]float64 `json:"values"`
}

// Features lists the features, by workload.
func (c *Client) Features(ctx context.Context, q QueryOptions) ([]Feature, Meta, error) {
	return get[[]Feature](ctx, c, "/v1/features", nil, q)
}

// PutFeature makes a feature of a workload, or changes one.
func (c *Client) PutFeature(ctx context.Context, workload string, r FeatureRequest) (Accepted, error) {
	return c.write(ctx, http.MethodPut, namedPath("/v1/features/", workload), r)
}

// DropFeature makes a feature an instance again; the workload goes on.
func (c *Client) DropFeature(ctx context.Context, workload string) (Accepted, error) {
	return c.write(ctx, http.MethodDelete, namedPath("/v1/features/", workload), struct{}{})
}

// Measure tells what was measured of a workload.
func (c *Client) Measure(ctx context.Context, r MeasureRequest) (Accepted, error) {
	return c.write(ctx, http.MethodPost, "/v1/measure", r)
}
