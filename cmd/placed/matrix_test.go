package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/placed-dev/placed/fleet"
)

// TestMatrix: the table says per direction how many workloads could go, and below it
// why the others could not; hosts that are equal share a row where there are many.
func TestMatrix(t *testing.T) {
	has := func(segments ...string) fleet.Capabilities {
		return fleet.Capabilities{Abilities: fleet.Abilities(map[string][]string{"network segment": segments})}
	}
	view := fleet.View{
		Hosts: []fleet.HostView{
			{Host: fleet.Host{ID: "h1"}, Labels: map[string]string{"name": "hv-1"}, Capabilities: has("br0=prod")},
			{Host: fleet.Host{ID: "h2"}, Labels: map[string]string{"name": "hv-2"}, Capabilities: has()},
			{Host: fleet.Host{ID: "h3"}},
		},
		Workloads: []fleet.WorkloadView{
			{Workload: fleet.Workload{ID: "a", Owner: "h1"}, Requires: has("br0=prod")},
			{Workload: fleet.Workload{ID: "b", Owner: "h1"}},
			{Workload: fleet.Workload{ID: "c", Owner: "h2", Pinned: true}},
		},
	}
	var out strings.Builder
	if err := matrixOf(view).print(&out); err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		`FROM \ TO  hv-1    hv-2    h3`,
		`hv-1               1 of 2  2 of 2`,
		`hv-2       0 of 1          0 of 1`,
		`h3         -       -`,
		`hv-1 → hv-2  a: it lacks network segment br0=prod, which the workload requires`,
		`hv-2 → hv-1  c: it is pinned by an operator`,
		`hv-2 → h3  c: it is pinned by an operator`, ``}, "\n")
	lines := strings.Split(out.String(), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	if got := strings.Join(lines, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for i := range 20 {
		view.Hosts = append(view.Hosts, fleet.HostView{Host: fleet.Host{ID: fleet.HostID(fmt.Sprintf("like-%02d", i))}, Capabilities: has("br0=prod")})
	}
	if m := matrixOf(view); len(m.Hosts) != 3 || m.Hosts[0] != "hv-1 and 20 like it" {
		t.Errorf("rows %q", m.Hosts)
	}
}
