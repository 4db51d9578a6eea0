package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/fleet"
)

// RuleBackend keeps the rules and the calendar that operators write.
type RuleBackend interface {
	// Rules by id, each with who breaks it.
	Rules(ctx context.Context) ([]api.Rule, error)
	// PutRule and DropRule are given what has been checked for form, with
	// hosts and workloads that exist. Repeating a put changes nothing.
	PutRule(ctx context.Context, w Write, rule fleet.Rule) (api.Accepted, error)
	DropRule(ctx context.Context, w Write, id string) (api.Accepted, error)

	// Pin keeps a workload where it is, or lets it move again.
	Pin(ctx context.Context, w Write, workload string, pinned bool) (api.Accepted, error)

	// Calendar lists the sources by id, with all their intervals ahead.
	Calendar(ctx context.Context) ([]api.CalendarSource, error)
	PutCalendar(ctx context.Context, w Write, source fleet.CalendarSource) (api.Accepted, error)
	DropCalendar(ctx context.Context, w Write, id string) (api.Accepted, error)
}

func (s *Server) rules(ctx context.Context, _ *http.Request) (any, error) {
	rules, err := s.backend.Rules(ctx)
	return list(rules), err
}

func (s *Server) rule(ctx context.Context, r *http.Request) (any, error) {
	rules, err := s.backend.Rules(ctx)
	if err != nil {
		return nil, err
	}
	id := r.PathValue("id")
	i := slices.IndexFunc(rules, func(r api.Rule) bool { return r.ID == id })
	if i < 0 {
		return nil, WithHint(fmt.Errorf("rule %.150q: %w", id, ErrNotFound), "GET /v1/rules lists the rules")
	}
	return rules[i], nil
}

func (s *Server) putRule(w http.ResponseWriter, r *http.Request) error {
	return s.write(w, r, func(ctx context.Context, id Write, decode func(any) error) (api.Accepted, error) {
		var request api.RuleRequest
		if err := decode(&request); err != nil {
			return api.Accepted{}, err
		}
		rule, err := FleetRule(r.PathValue("id"), request)
		if err != nil {
			return api.Accepted{}, err
		}
		if rule.Hosts, err = s.known(ctx, rule.String(), request.Hosts, request.Workloads); err != nil {
			return api.Accepted{}, err
		}
		return s.backend.PutRule(ctx, id, rule)
	})
}

func (s *Server) dropRule(w http.ResponseWriter, r *http.Request) error {
	return s.write(w, r, func(ctx context.Context, id Write, _ func(any) error) (api.Accepted, error) {
		return s.backend.DropRule(ctx, id, r.PathValue("id"))
	})
}

// known finds the hosts by id or name and makes sure that the workloads are
// booked. A name that is misspelt would otherwise be a rule that never applies.
func (s *Server) known(ctx context.Context, what string, hosts, workloads []string) ([]fleet.HostID, error) {
	if len(hosts)+len(workloads) == 0 {
		return nil, nil
	}
	if err := s.backend.Sync(ctx); err != nil {
		return nil, err
	}
	var strangers []string
	var ids []fleet.HostID
	if len(hosts) > 0 {
		all, err := s.backend.Hosts(ctx)
		if err != nil {
			return nil, err
		}
		for _, name := range hosts {
			if id, ok := hostNamed(all, name); ok {
				ids = append(ids, fleet.HostID(id))
			} else {
				strangers = append(strangers, "host "+name)
			}
		}
	}
	if len(workloads) > 0 {
		all, err := s.backend.Workloads(ctx)
		if err != nil {
			return nil, err
		}
		for _, id := range workloads {
			if !slices.ContainsFunc(all, func(w api.Workload) bool { return w.ID == id }) {
				strangers = append(strangers, "workload "+id)
			}
		}
	}
	if len(strangers) > 0 {
		return nil, WithHint(fmt.Errorf("%s names what the books do not know: %s: %w", what, strings.Join(strangers, ", "), ErrNotFound),
			"`placed host list` and `placed instance list` show what they know; for workloads that are still to come name their group")
	}
	return ids, nil
}

// hostNamed finds a host by id, or by a name that only one host bears.
func hostNamed(hosts []api.Host, name string) (string, bool) {
	found := ""
	for _, h := range hosts {
		if h.ID == name {
			return h.ID, true
		}
		if h.Name == name {
			if found != "" {
				return "", false
			}
			found = h.ID
		}
	}
	return found, found != ""
}

// FleetRule reads a rule from the wire and validates its form; its hosts are
// still names. Errors wrap ErrInvalid.
func FleetRule(id string, r api.RuleRequest) (fleet.Rule, error) {
	rule := fleet.Rule{ID: id, Hard: r.Hard == nil || *r.Hard, Groups: r.Groups, Workloads: ids[fleet.WorkloadID](r.Workloads), Hosts: ids[fleet.HostID](r.Hosts)}
	if err := rule.Kind.UnmarshalText([]byte(r.Kind)); err != nil {
		return fleet.Rule{}, fmt.Errorf("rule %s: %w: %w", id, ErrInvalid, err)
	}
	if err := rule.Validate(); err != nil {
		return fleet.Rule{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return rule, nil
}

// RuleOf shows a rule and who breaks it.
func RuleOf(r fleet.Rule, broken []string) api.Rule {
	return api.Rule{ID: r.ID, Kind: r.Kind.String(), Hard: r.Hard, Workloads: names(r.Workloads), Groups: names(r.Groups),
		Hosts: names(r.Hosts), Broken: names(broken)}
}

func ids[T ~string](texts []string) []T {
	var out []T
	for _, t := range texts {
		out = append(out, T(t))
	}
	return out
}

// names is never nil: on the wire an empty list is not null.
func names[T ~string](ids []T) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = string(id)
	}
	return out
}
