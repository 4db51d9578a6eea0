package httpapi

import (
	"context"
	"net/http"

	"github.com/placed-dev/placed/api"
)

// fleet shows the cluster as a fleet file. Capacity is what the books may grant
// (reserve and overcommit already applied), so that a plan made from the file
// obeys the same limits as the cluster.
func (s *Server) fleet(ctx context.Context, _ *http.Request) (any, error) {
	if viewer, ok := s.backend.(FleetViewer); ok {
		return FleetFileOf(viewer.FleetView()), nil
	}
	hosts, err := s.backend.Hosts(ctx)
	if err != nil {
		return nil, err
	}
	workloads, err := s.backend.Workloads(ctx)
	if err != nil {
		return nil, err
	}
	out := api.Fleet{
		Hosts: make([]api.FleetHost, 0, len(hosts)), Instances: make([]api.FleetInstance, 0, len(workloads)),
		Rules: []api.FleetRule{}, Links: []api.FleetLink{},
	}
	for _, h := range hosts {
		host := api.FleetHost{ID: h.ID, Zone: h.Zone, State: h.State, Capacity: h.Allocatable, Labels: map[string]string{"name": h.Name}}
		if h.Class != "" {
			host.Labels["class"] = h.Class
		}
		out.Hosts = append(out.Hosts, host)
	}
	for _, w := range workloads {
		out.Instances = append(out.Instances, api.FleetInstance{
			ID: w.ID, Host: w.Owner, Reservation: w.Reservation, Usage: w.Usage,
			Priority: w.Priority, Tolerance: w.Tolerance,
			Movable: !w.Pinned && w.ManagedBy == "", Group: w.Instance,
		})
	}
	return out, nil
}
