package httpapi

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/trace"
)

// What GET /v1/fleet writes is what `placed plan --fleet` reads: nothing is lost
// that a plan depends on, and no key is unknown.
func TestFleetFileIsReadBack(t *testing.T) {
	view := fleet.View{
		Hosts: []fleet.HostView{
			{Host: fleet.Host{ID: "h1", Name: "hv-1", Zone: "z1", Class: "big", Overcommit: fleet.Vector{CPU: 2000},
				Capacity: fleet.Vector{CPU: 8500, Memory: 9 << 30, Net: fleet.Unknown, Disk: 1e9}.With("gpu", 2000), Reserve: fleet.Vector{CPU: 500, Memory: 1 << 30}},
				Price: fleet.Price{CPUHour: 1, GiBHour: 2}, Labels: map[string]string{"rack": "3"},
				Capabilities: fleet.Capabilities{CPUModel: "EPYC", CPUFeatures: []string{"aes", "avx2"}, Storage: []string{"ceph"},
					Abilities: []fleet.Ability{{Class: "bridge"}, {Class: "network segment", Values: []string{"br0=prod", "br1=test"}}}}},
			{Host: fleet.Host{ID: "h2", Name: "hv-2", Zone: "z2", State: fleet.HostDraining, Capacity: fleet.Vector{CPU: 1000, Memory: 1, Net: fleet.Unknown, Disk: fleet.Unknown}}},
			{Host: fleet.Host{ID: "h3", Name: "hv-3", Zone: "z2", Capacity: fleet.Vector{CPU: 1000, Memory: 1, Net: fleet.Unknown, Disk: fleet.Unknown}}, Liveness: fleet.Dead},
		},
		Workloads: []fleet.WorkloadView{
			{Workload: fleet.Workload{ID: "a", Owner: "h1", Reservation: fleet.Vector{CPU: 1500, Memory: 7}, Priority: 3, Tolerance: 250, Pinned: true, Group: "web"},
				Usage: fleet.Vector{CPU: 100, Memory: 5}, Requires: fleet.Capabilities{Storage: []string{"ceph"}, Abilities: []fleet.Ability{{Class: "network segment", Values: []string{"br0=prod"}}}}},
			{Workload: fleet.Workload{ID: "b", Tolerance: 1000}},
		},
		Rules: []fleet.Rule{{ID: "r", Kind: fleet.HostAffinity, Hard: true, Groups: []string{"web"}, Hosts: []fleet.HostID{"h1"}}},
		Links: []fleet.Link{{From: "z1", To: "h3", LatencyMS: .5, Bandwidth: 7, CostPerGiB: .1, Barred: "older cpu"}},
	}
	text, err := json.Marshal(FleetFileOf(view))
	if err != nil {
		t.Fatal(err)
	}
	file, err := trace.ReadFleet(strings.NewReader(string(text)))
	if err != nil || len(file.Notes) > 0 {
		t.Fatalf("%v %q\n%s", err, file.Notes, text)
	}
	got := file.View
	for i, h := range view.Hosts {
		g := got.Hosts[i]
		if !g.Allocatable().Equal(h.Allocatable()) || g.State != h.State || g.Liveness != h.Liveness || g.Zone != h.Zone || g.Price != h.Price ||
			!reflect.DeepEqual(g.Capabilities, h.Capabilities) || g.Class != h.Class || g.Labels["rack"] != h.Labels["rack"] {
			t.Errorf("host\n got %+v\nwant %+v", g, h)
		}
	}
	for i, w := range view.Workloads {
		g := got.Workloads[i]
		if !g.Reservation.Equal(w.Reservation) || !g.Usage.Equal(w.Usage) || g.Owner != w.Owner || g.Priority != w.Priority || g.Tolerance != w.Tolerance ||
			g.Pinned != w.Pinned || g.Group != w.Group || !reflect.DeepEqual(g.Requires, w.Requires) {
			t.Errorf("workload\n got %+v\nwant %+v", g, w)
		}
	}
	if !reflect.DeepEqual(got.Links, view.Links) || got.Rules[0].String() != view.Rules[0].String() || !reflect.DeepEqual(got.Rules[0].Hosts, view.Rules[0].Hosts) {
		t.Errorf("rules %+v, links %+v", got.Rules, got.Links)
	}
}
