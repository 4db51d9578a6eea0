package httpapi

import (
	"strings"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/fleet"
)

// FleetViewer is a Backend that can show the view its passes decide from. The
// fleet file is made from it, with rules, groups, links and prices, which the
// lists of hosts and workloads do not carry.
type FleetViewer interface {
	FleetView() fleet.View
}

// FleetFileOf writes a view as a fleet file. A host that is not alive has what
// is observed of it as its state, so that a plan made from the file does not
// count on it.
func FleetFileOf(view fleet.View) api.Fleet {
	out := api.Fleet{
		Hosts: make([]api.FleetHost, 0, len(view.Hosts)), Instances: make([]api.FleetInstance, 0, len(view.Workloads)),
		Rules: make([]api.FleetRule, 0, len(view.Rules)), Links: make([]api.FleetLink, 0, len(view.Links)),
	}
	for _, h := range view.Hosts {
		out.Hosts = append(out.Hosts, fleetHostOf(h))
	}
	for _, w := range view.Workloads {
		movable, _ := w.Movable()
		out.Instances = append(out.Instances, api.FleetInstance{
			ID: string(w.ID), Host: string(w.Owner), Reservation: VectorOf(w.Reservation), Usage: VectorOf(w.Usage),
			Priority: w.Priority, Tolerance: float64(w.Tolerance) / 1000, Movable: movable, Group: w.Group,
			Requires: capabilitiesOf(w.Requires),
		})
	}
	for _, r := range view.Rules {
		rule := api.FleetRule{ID: r.ID, Kind: r.Kind.String(), Hard: r.Hard, Instances: []string{}, Groups: r.Groups, Hosts: []string{}}
		for _, id := range r.Workloads {
			rule.Instances = append(rule.Instances, string(id))
		}
		for _, id := range r.Hosts {
			rule.Hosts = append(rule.Hosts, string(id))
		}
		out.Rules = append(out.Rules, rule)
	}
	for _, l := range view.Links {
		out.Links = append(out.Links, api.FleetLink(l))
	}
	return out
}

func fleetHostOf(h fleet.HostView) api.FleetHost {
	out := api.FleetHost{
		ID: string(h.ID), Zone: h.Zone, State: h.State.String(), Capacity: VectorOf(h.Capacity.Sub(h.Reserve)),
		Capabilities: capabilitiesOf(h.Capabilities), Labels: map[string]string{"name": h.Name},
	}
	if h.State == fleet.HostActive && h.Liveness != fleet.Alive {
		out.State = h.Liveness.String()
	}
	h.Overcommit.Each(func(r fleet.Resource, thousandths int64) {
		if thousandths != 0 && thousandths != 1000 {
			if out.Overcommit == nil {
				out.Overcommit = map[string]float64{}
			}
			out.Overcommit[string(r)] = float64(thousandths) / 1000
		}
	})
	if h.Price != (fleet.Price{}) {
		price := api.Price(h.Price)
		out.Price = &price
	}
	for name, value := range h.Labels {
		out.Labels[name] = value
	}
	if h.Class != "" {
		out.Labels["class"] = h.Class
	}
	return out
}

// abilityPrefix marks the keys of what drivers have found: a class that a host does
// not name is not known there, while every other capability is absent.
const abilityPrefix = "ability:"

func capabilitiesOf(c fleet.Capabilities) map[string]string {
	out := map[string]string{}
	for name, values := range map[string][]string{
		"cpu_features": c.CPUFeatures, "devices": c.Devices, "storage": c.Storage, "networks": c.Networks,
	} {
		if len(values) > 0 {
			out[name] = strings.Join(values, ",")
		}
	}
	if c.CPUModel != "" {
		out["cpu_model"] = c.CPUModel
	}
	for _, a := range c.Abilities {
		out[abilityPrefix+a.Class] = strings.Join(a.Values, ",")
	}
	if len(out) == 0 {
		return nil
	}
	return out
}
