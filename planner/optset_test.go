package planner

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/placed-dev/placed/fleet"
)

// provedFleet is one of the fleets whose optima a solver has proved.
type provedFleet struct {
	Name  string
	Hosts []struct {
		CPU float64
		Mem int64 // MiB
	}
	VMs []struct {
		Mem  int64 // MiB
		Host int
		CPU  float64
	}
	MinMax, Fewest, LeastMiB map[string]struct {
		V      float64
		Proved bool
	}
}

func (p provedFleet) view() fleet.View {
	var v fleet.View
	for i, h := range p.Hosts {
		v.Hosts = append(v.Hosts, fleet.HostView{Host: fleet.Host{ID: fleet.HostID(fmt.Sprintf("h%d", i)),
			Capacity: fleet.Vector{CPU: int64(h.CPU * 1000), Memory: h.Mem << 20, Net: fleet.Unknown, Disk: fleet.Unknown}}, Reported: start})
	}
	for i, vm := range p.VMs {
		h := &v.Hosts[vm.Host]
		w := fleet.WorkloadView{Workload: fleet.Workload{ID: fleet.WorkloadID(fmt.Sprintf("vm%03d", i)), Owner: h.ID, Tolerance: 1000,
			Reservation: fleet.Vector{Memory: vm.Mem << 20}}, Usage: fleet.Vector{CPU: int64(vm.CPU*1000 + 0.5), Memory: vm.Mem << 20}, Size: vm.Mem << 20}
		h.Held = h.Held.Add(w.Reservation)
		v.Workloads = append(v.Workloads, w)
	}
	return v
}

// Fewest moves equal to the proved optimum everywhere; memory moved at most 5 %
// above it, summed; the maximum after up to four moves within 1 % on average.
func TestProvedOptima(t *testing.T) {
	dir := filepath.Join(cmp.Or(os.Getenv("PLACED_DATA"), "../../shared/data"), "optset")
	paths, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(paths) == 0 {
		t.Skipf("no data in %s", dir)
	}
	var moved, least, gap float64
	gaps := 0
	solve := func(v fleet.View, g Goal) Arrangement {
		out, err := WhatIf(v, g)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var p provedFleet
		if err := json.Unmarshal(text, &p); err != nil {
			t.Fatal(err)
		}
		v := p.view()
		for key, ceiling := range map[string]int64{"1.0": 1000, "0.9": 900, "0.8": 800} {
			few := solve(v, Goal{Objective: Relieve, Minimise: MinimiseMoves, Ceiling: ceiling})
			if want := int(p.Fewest[key].V); len(few.Steps) != want || len(few.Unrelieved) > 0 {
				t.Errorf("%s to %s: %d moves, %d unrelieved; %d are proved to be enough", p.Name, key, len(few.Steps), len(few.Unrelieved), want)
			}
			for _, s := range solve(v, Goal{Objective: Relieve, Minimise: MinimiseMemory, Ceiling: ceiling}).Steps {
				moved += float64(s.Memory >> 20)
			}
			least += p.LeastMiB[key].V
		}
		for k := 1; k <= 4; k++ {
			out := solve(v, Goal{Objective: Relieve, Minimise: MinimiseMaxLoad, MaxMoves: k, Ceiling: 1000})
			if len(out.Steps) > k {
				t.Errorf("%s: %d moves, %d allowed", p.Name, len(out.Steps), k)
			}
			gap += out.After.MaxCPU/p.MinMax[fmt.Sprint(k)].V - 1
			gaps++
		}
	}
	t.Logf("FIGURE memory over the optimum %.2f %%, mean gap of the maximum %.3f %%", 100*(moved/least-1), 100*gap/float64(gaps))
	if moved > 1.05*least || gap > 0.01*float64(gaps) {
		t.Errorf("memory %.0f of %.0f MiB, mean gap %.4f", moved, least, gap/float64(gaps))
	}
}
