package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Status reads the agent's picture of the cluster.
func (c *Client) Status(ctx context.Context, q QueryOptions) (Status, Meta, error) {
	return get[Status](ctx, c, "/v1/status", nil, q)
}

// Hosts lists the hosts, sorted by id.
func (c *Client) Hosts(ctx context.Context, q QueryOptions) ([]Host, Meta, error) {
	return get[[]Host](ctx, c, "/v1/hosts", nil, q)
}

// Host reads one host by id or name.
func (c *Client) Host(ctx context.Context, host string, q QueryOptions) (Host, Meta, error) {
	return get[Host](ctx, c, hostPath(host, ""), nil, q)
}

// Workloads lists the workloads, sorted by id.
func (c *Client) Workloads(ctx context.Context, q QueryOptions) ([]Workload, Meta, error) {
	return get[[]Workload](ctx, c, "/v1/workloads", nil, q)
}

// Workload reads one workload.
func (c *Client) Workload(ctx context.Context, id string, q QueryOptions) (Workload, Meta, error) {
	return get[Workload](ctx, c, "/v1/workload/"+(&url.URL{Path: id}).EscapedPath(), nil, q)
}

// Leases lists the leases the books keep, sorted by id.
func (c *Client) Leases(ctx context.Context, q QueryOptions) ([]Lease, Meta, error) {
	return get[[]Lease](ctx, c, "/v1/leases", nil, q)
}

// Migrations lists running and ended migrations, newest first; limit 0 = default.
func (c *Client) Migrations(ctx context.Context, limit int, q QueryOptions) ([]Migration, Meta, error) {
	return get[[]Migration](ctx, c, "/v1/migrations", limited(nil, limit), q)
}

// Decisions lists decisions, newest first; workload "" = all, limit 0 = default.
func (c *Client) Decisions(ctx context.Context, workload string, limit int, q QueryOptions) ([]Decision, Meta, error) {
	query := url.Values{}
	if workload != "" {
		query.Set("workload", workload)
	}
	return get[[]Decision](ctx, c, "/v1/decisions", limited(query, limit), q)
}

// ZoneForecasts reads how full every zone is and will be, one per resource.
func (c *Client) ZoneForecasts(ctx context.Context, q QueryOptions) ([]ZoneForecast, Meta, error) {
	return get[[]ZoneForecast](ctx, c, "/v1/forecast/zones", nil, q)
}

// Forecasts reads the forecasts of one host (id or name), or of all for "".
func (c *Client) Forecasts(ctx context.Context, host string, q QueryOptions) ([]HostForecast, Meta, error) {
	path := "/v1/forecasts"
	if host != "" {
		path = "/v1/forecast/host/" + url.PathEscape(host)
	}
	return get[[]HostForecast](ctx, c, path, nil, q)
}

// Why explains where a workload is.
func (c *Client) Why(ctx context.Context, workload string, q QueryOptions) (Why, Meta, error) {
	return get[Why](ctx, c, "/v1/why", url.Values{"workload": {workload}}, q)
}

// WhyNot explains why a workload is not on a host (id or name).
func (c *Client) WhyNot(ctx context.Context, workload, host string, q QueryOptions) (WhyNot, Meta, error) {
	return get[WhyNot](ctx, c, "/v1/why-not", url.Values{"workload": {workload}, "host": {host}}, q)
}

// Fleet reads the fleet file of the cluster as it is now.
func (c *Client) Fleet(ctx context.Context, q QueryOptions) (Fleet, Meta, error) {
	return get[Fleet](ctx, c, "/v1/fleet", nil, q)
}

// Policy reads the policy.
func (c *Client) Policy(ctx context.Context, q QueryOptions) (Policy, Meta, error) {
	return get[Policy](ctx, c, "/v1/policy", nil, q)
}

// SetPolicy replaces the policy.
func (c *Client) SetPolicy(ctx context.Context, p Policy) (Accepted, error) {
	return c.write(ctx, http.MethodPut, "/v1/policy", p)
}

// SetAutomation changes the automation level and leaves the rest of the policy.
func (c *Client) SetAutomation(ctx context.Context, level string) (Accepted, error) {
	return c.write(ctx, http.MethodPut, "/v1/policy", map[string]string{"automation": level})
}

// Move asks for one migration.
func (c *Client) Move(ctx context.Context, m MoveRequest) (Accepted, error) {
	return c.write(ctx, http.MethodPost, "/v1/move", m)
}

// ResolveLease ends a lease of unknown outcome by an operator's word.
func (c *Client) ResolveLease(ctx context.Context, r ResolveRequest) (Accepted, error) {
	return c.write(ctx, http.MethodPost, "/v1/lease/resolve", r)
}

// Drain moves everything off a host (id or name); with maintenance it then stays
// out of use until Undrain.
func (c *Client) Drain(ctx context.Context, host string, maintenance bool, reason string) (Accepted, error) {
	return c.write(ctx, http.MethodPost, hostPath(host, "/drain"), DrainRequest{Drain: true, Maintenance: maintenance, Reason: reason})
}

// DrainWithin is Drain with a deadline: the load time from now within which the host
// is to be empty.
func (c *Client) DrainWithin(ctx context.Context, host string, maintenance bool, reason string, deadline time.Duration) (Accepted, error) {
	return c.write(ctx, http.MethodPost, hostPath(host, "/drain"), DrainRequest{Drain: true, Maintenance: maintenance, Reason: reason, DeadlineS: deadline.Seconds()})
}

// Undrain makes a host usable again.
func (c *Client) Undrain(ctx context.Context, host, reason string) (Accepted, error) {
	return c.write(ctx, http.MethodPost, hostPath(host, "/drain"), DrainRequest{Reason: reason})
}

// Health asks the agent about itself. A sick agent still answers with a Health;
// the error is for an agent that does not.
func (c *Client) Health(ctx context.Context) (Health, error) {
	health, _, err := get[Health](ctx, c, "/v1/agent/health", nil, QueryOptions{})
	return health, err
}

// Ready reports whether the agent may be sent traffic.
func (c *Client) Ready(ctx context.Context) (bool, error) {
	_, _, err := get[Health](ctx, c, "/v1/agent/ready", nil, QueryOptions{})
	var refused *Error
	if errors.As(err, &refused) && refused.Status == http.StatusServiceUnavailable {
		return false, nil
	}
	return err == nil, err
}

func hostPath(host, rest string) string { return "/v1/host/" + url.PathEscape(host) + rest }

func limited(query url.Values, limit int) url.Values {
	if query == nil {
		query = url.Values{}
	}
	if limit > 0 {
		query.Set("limit", strconv.Itoa(limit))
	}
	return query
}
