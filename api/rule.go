package api

import (
	"context"
	"net/http"
	"net/url"
)

// Rule keeps workloads together or apart, on or off hosts. A hard rule is never
// broken by a move of ours; a soft one only ranks hosts.
type Rule struct {
	ID   string `json:"id"`
	Kind string `json:"kind"` // affinity | anti-affinity | host-affinity | host-anti-affinity
	Hard bool   `json:"hard"`
	// Workloads it is about, and every workload of Groups.
	Workloads []string `json:"workloads"`
	Groups    []string `json:"groups"`
	Hosts     []string `json:"hosts"` // ids, of the two kinds that name hosts
	// Broken names in words who breaks the rule as the books stand.
	Broken []string `json:"broken"`
}

// RuleRequest puts a rule in force. Hosts may be ids or names.
type RuleRequest struct {
	Kind string `json:"kind"`
	// Hard is true when absent: a rule is soft only by intent.
	Hard      *bool    `json:"hard,omitempty"`
	Workloads []string `json:"workloads,omitempty"`
	Groups    []string `json:"groups,omitempty"`
	Hosts     []string `json:"hosts,omitempty"`
}

// Rules lists the rules, sorted by id.
func (c *Client) Rules(ctx context.Context, q QueryOptions) ([]Rule, Meta, error) {
	return get[[]Rule](ctx, c, "/v1/rules", nil, q)
}

// PutRule puts a rule in force, in place of the one of its id.
func (c *Client) PutRule(ctx context.Context, id string, r RuleRequest) (Accepted, error) {
	return c.write(ctx, http.MethodPut, namedPath("/v1/rules/", id), r)
}

// DropRule takes a rule out of force.
func (c *Client) DropRule(ctx context.Context, id string) (Accepted, error) {
	return c.write(ctx, http.MethodDelete, namedPath("/v1/rules/", id), struct{}{})
}

// namedPath is the path of an object whose id may contain slashes.
func namedPath(prefix, id string) string { return prefix + (&url.URL{Path: id}).EscapedPath() }
