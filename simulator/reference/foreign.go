package reference

import "fmt"

// Planner makes the plan of an instant in the place of the reference planner.
// It sees the hosts and the machines by index.
type Planner interface {
	Plan(s State) ([]Move, error)
}

// Move sends a machine to a host.
type Move struct{ Machine, To int }

// Machine is what a planner or an online detector sees of one machine.
type Machine struct {
	Index, Host  int
	MIPS, Demand float64
	RAM          float64 // MB
}

// Host is what a planner sees of one host.
type Host struct {
	MIPS, CoreMIPS float64
	RAM            float64 // MB
	// Watts at 0, 10 … 100 % of its MIPS.
	Watts [11]float64
}

// State is the world at one decision instant.
type State struct {
	Step     int // 1..287
	Hosts    []Host
	Machines []Machine
}

func (w *world) state() State {
	s := State{Step: w.step, Hosts: make([]Host, len(w.hosts)), Machines: make([]Machine, len(w.vms))}
	for i, h := range w.hosts {
		s.Hosts[i] = Host{MIPS: h.total, CoreMIPS: h.mips, RAM: w.rules.HostRAM, Watts: h.watts}
	}
	for i, v := range w.vms {
		s.Machines[i] = Machine{Index: v.index, Host: v.host.index, MIPS: v.mips, Demand: v.demand, RAM: v.ram}
	}
	return s
}

// foreignPlan asks the planner and refuses what the world does not allow.
func (w *world) foreignPlan() ([]move, error) {
	wanted, err := w.planner.Plan(w.state())
	if err != nil {
		return nil, err
	}
	byIndex := map[int]*vm{}
	ram := make([]float64, len(w.hosts))
	for _, v := range w.vms {
		byIndex[v.index] = v
		ram[v.host.index] += v.ram
	}
	var moves []move
	for _, m := range wanted {
		v := byIndex[m.Machine]
		if v == nil || m.To < 0 || m.To >= len(w.hosts) || v.host.index == m.To {
			return nil, fmt.Errorf("step %d: the plan moves machine %d to host %d, which cannot be", w.step, m.Machine, m.To)
		}
		if w.hosts[m.To].mips < v.demand {
			continue // no core is fast enough: the world does not place it there
		}
		if ram[m.To] += v.ram; w.rules.EnforceRAM && ram[m.To] > w.rules.HostRAM {
			return nil, fmt.Errorf("step %d: the plan gives host %d more memory than it has", w.step, m.To)
		}
		moves = append(moves, move{v, w.hosts[m.To]})
		delete(byIndex, m.Machine)
	}
	return moves, nil
}
