package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/placed-dev/placed/api"
)

func (s *Server) status(ctx context.Context, _ *http.Request) (any, error) {
	status, err := s.backend.Status(ctx)
	if err != nil {
		return nil, err
	}
	if status.Problems == nil {
		status.Problems = []api.Problem{}
	}
	return status, nil
}

func (s *Server) hosts(ctx context.Context, _ *http.Request) (any, error) {
	hosts, err := s.backend.Hosts(ctx)
	return list(hosts), err
}

func (s *Server) host(ctx context.Context, r *http.Request) (any, error) {
	return s.findHost(ctx, r.PathValue("id"))
}

// findHost accepts an id, or a name that only one host bears.
func (s *Server) findHost(ctx context.Context, name string) (api.Host, error) {
	hosts, err := s.backend.Hosts(ctx)
	if err != nil {
		return api.Host{}, err
	}
	var named []api.Host
	for _, h := range hosts {
		if h.ID == name {
			return h, nil
		}
		if h.Name == name {
			named = append(named, h)
		}
	}
	switch len(named) {
	case 0:
		return api.Host{}, WithHint(fmt.Errorf("host %.150q: %w", name, ErrNotFound), "GET /v1/hosts lists the hosts")
	case 1:
		return named[0], nil
	}
	return api.Host{}, WithHint(fmt.Errorf("host name %.150q is borne by %d hosts: %w", name, len(named), ErrConflict), "use the id of the host")
}

func (s *Server) workloads(ctx context.Context, _ *http.Request) (any, error) {
	workloads, err := s.backend.Workloads(ctx)
	return list(workloads), err
}

func (s *Server) workload(ctx context.Context, r *http.Request) (any, error) {
	id := r.PathValue("id")
	workloads, err := s.backend.Workloads(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(workloads, func(w api.Workload) bool { return w.ID == id })
	if i < 0 {
		return nil, WithHint(fmt.Errorf("workload %.150q: %w", id, ErrNotFound), "GET /v1/workloads lists the workloads")
	}
	return workloads[i], nil
}

func (s *Server) leases(ctx context.Context, _ *http.Request) (any, error) {
	leases, err := s.backend.Leases(ctx)
	return list(leases), err
}

func (s *Server) migrations(ctx context.Context, r *http.Request) (any, error) {
	n, err := limit(r.URL.Query())
	if err != nil {
		return nil, err
	}
	migrations, err := s.backend.Migrations(ctx, n)
	return list(migrations), err
}

func (s *Server) decisions(ctx context.Context, r *http.Request) (any, error) {
	n, err := limit(r.URL.Query())
	if err != nil {
		return nil, err
	}
	decisions, err := s.backend.Decisions(ctx, r.URL.Query().Get("workload"), n)
	return list(decisions), err
}

func (s *Server) forecasts(ctx context.Context, _ *http.Request) (any, error) {
	forecasts, err := s.backend.Forecasts(ctx, "")
	return list(forecasts), err
}

func (s *Server) hostForecasts(ctx context.Context, r *http.Request) (any, error) {
	host, err := s.findHost(ctx, r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	forecasts, err := s.backend.Forecasts(ctx, host.ID)
	return list(forecasts), err
}

func (s *Server) why(ctx context.Context, r *http.Request) (any, error) {
	workload, err := require(r.URL.Query(), "workload")
	if err != nil {
		return nil, err
	}
	return s.backend.Why(ctx, workload)
}

func (s *Server) whyNot(ctx context.Context, r *http.Request) (any, error) {
	workload, err := require(r.URL.Query(), "workload")
	if err != nil {
		return nil, err
	}
	name, err := require(r.URL.Query(), "host")
	if err != nil {
		return nil, err
	}
	host, err := s.findHost(ctx, name)
	if err != nil {
		return nil, err
	}
	return s.backend.WhyNot(ctx, workload, host.ID)
}

func (s *Server) policy(ctx context.Context, _ *http.Request) (any, error) {
	return s.backend.Policy(ctx)
}

// health is 200 as long as the agent's loops run, with or without a leader: what
// a supervisor restarts must not depend on the rest of the cluster.
func (s *Server) health(w http.ResponseWriter, r *http.Request) error {
	return s.writeHealth(w, r, func(h api.Health) bool { return h.Alive })
}

func (s *Server) ready(w http.ResponseWriter, r *http.Request) error {
	return s.writeHealth(w, r, func(h api.Health) bool { return h.Ready })
}

func (s *Server) writeHealth(w http.ResponseWriter, r *http.Request, good func(api.Health) bool) error {
	ctx, cancel := context.WithTimeout(r.Context(), s.config.Timeout)
	defer cancel()
	health := s.backend.Health(ctx)
	if health.Problems == nil {
		health.Problems = []api.Problem{}
	}
	status := http.StatusOK
	if !good(health) {
		status = http.StatusServiceUnavailable
	}
	s.backend.Meta().Write(w.Header())
	s.writeJSON(w, r, status, health)
	return nil
}

// list makes an empty list of none, because null surprises every client.
func list[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
}
