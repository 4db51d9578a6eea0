package daemon

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/placed-dev/placed/controller"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/predictor"
)

// TestWarningsAreShown: what is said of a host and how such words have fared reach
// the API and the metrics; what is not known yet is left out.
func TestWarningsAreShown(t *testing.T) {
	w, reports := controller.NewWarnings(), controller.NewReports()
	now := time.Date(2026, 10, 1, 12, 0, 1, 0, time.UTC)
	if warningsOf(w, "h1") != nil {
		t.Error("something is said of a host that nobody has looked at")
	}
	for i := range int64(40) {
		at := now.Add(time.Duration(i) * fleet.Tick)
		tick := fleet.TickOf(at) - 1
		used := int64(400)
		if i%20 >= 10 {
			used = 2000
		}
		reports.Add(controller.Report{Host: "h1", Boot: "b", Seq: uint64(i + 1), At: at,
			Workloads: []controller.WorkloadReport{{ID: "w", Tick: tick, TickCPU: used}}}, time.Now())
		w.Observe(fleet.View{Now: at, Policy: fleet.DefaultPolicy(),
			Hosts:     []fleet.HostView{{Host: fleet.Host{ID: "h1", Capacity: fleet.Vector{CPU: 1000}}, Liveness: fleet.Alive}},
			Workloads: []fleet.WorkloadView{{Workload: fleet.Workload{ID: "w", Owner: "h1"}, Usage: fleet.Vector{CPU: used}}}}, reports)
	}
	shown := warningsOf(w, "h1")
	if len(shown) != len(predictor.WarningLeads) || shown[0].LeadMinutes != 15 || shown[0].Judged < 20 || shown[0].Brier == nil || shown[0].Recall == nil {
		t.Fatalf("%+v", shown)
	}
	if shown[0].Probability < 0.9 || shown[0].Calibrated >= shown[0].Probability {
		t.Errorf("a load that stays is said to stay, and did not every time: %+v", shown[0])
	}
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(newWarningCollector(w)); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil || len(families) != len(warningHelp)-1 { // nothing was warned of, so no precision
		t.Errorf("%d families, %v", len(families), err)
	}
	empty := prometheus.NewPedanticRegistry()
	if err := empty.Register(newWarningCollector(controller.NewWarnings())); err != nil {
		t.Fatal(err)
	}
	if families, err := empty.Gather(); err != nil || len(families) != 1 {
		t.Errorf("before anything was judged: %v, %v", families, err)
	}
}
