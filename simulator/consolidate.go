package simulator

import (
	"fmt"
	"math"
	"slices"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/planner"
	"github.com/placed-dev/placed/simulator/reference"
)

// Consolidator plays a reference world with the product's planner: it relieves
// the hosts that a DayDetector expects to be short, and empties hosts whose
// machines fit on the others with room to spare. That room is the hysteresis:
// what is packed to the brim has to be unpacked at the next instant.
type Consolidator struct {
	detector *DayDetector
}

const (
	// relieveZ calls a host short, consolidateHeadroom (thousandths) is what
	// emptying a host must leave free on the others.
	relieveZ            = 1.5
	consolidateHeadroom = 150
	relieveHeadroom     = 50
	// spares is how many empty hosts relief may open at one instant.
	spares = 12
)

// Plan makes the moves of one instant.
func (c *Consolidator) Plan(s reference.State) ([]reference.Move, error) {
	if c.detector == nil {
		c.detector = NewDayDetector()
	}
	most := 0
	for _, m := range s.Machines {
		most = max(most, m.Index)
	}
	demand, nominal := make([]float64, most+1), make([]float64, most+1)
	at := make([]int, most+1)
	for _, m := range s.Machines {
		demand[m.Index], nominal[m.Index], at[m.Index] = m.Demand, m.MIPS, m.Host
	}
	c.detector.Observe(s.Step, demand, nominal)
	start := slices.Clone(at)
	// Without empty hosts first: relief that needs none opens none.
	left, err := c.arrange(s, at, planner.Goal{Objective: planner.Relieve, Ceiling: 1000, Minimise: planner.MinimiseMoves, Headroom: relieveHeadroom}, 0)
	if err == nil && left > 0 {
		_, err = c.arrange(s, at, planner.Goal{Objective: planner.Relieve, Ceiling: 1000, Minimise: planner.MinimiseMoves, Headroom: relieveHeadroom}, spares)
	}
	if err == nil {
		_, err = c.arrange(s, at, planner.Goal{Objective: planner.Consolidate, Ceiling: 1000, Minimise: planner.MinimiseMoves, Headroom: consolidateHeadroom}, 0)
	}
	if err != nil {
		return nil, err
	}
	return moves(s, start, at), nil
}

// moves are the machines whose place has changed. Each counts on both hosts
// while it moves, so one that fits only after another has left waits for the next
// instant.
func moves(s reference.State, start, at []int) (out []reference.Move) {
	ram := make([]float64, len(s.Hosts))
	for _, m := range s.Machines {
		ram[start[m.Index]] += m.RAM
	}
	for _, m := range s.Machines {
		to := at[m.Index]
		if to == start[m.Index] || ram[to]+m.RAM > s.Hosts[to].RAM {
			continue
		}
		ram[to] += m.RAM
		out = append(out, reference.Move{Machine: m.Index, To: to})
	}
	return out
}

// arrange asks the planner for one goal, applies its steps to at, and returns
// how many hosts stay short.
func (c *Consolidator) arrange(s reference.State, at []int, goal planner.Goal, empty int) (int, error) {
	view := c.view(s, at, empty)
	answer, err := planner.WhatIf(view, goal)
	if err != nil {
		return 0, fmt.Errorf("step %d: %w", s.Step, err)
	}
	for _, step := range answer.Steps {
		var machine, host int
		if _, err := fmt.Sscanf(string(step.Workload), "m%d", &machine); err != nil {
			return 0, fmt.Errorf("step %d: workload %q: %w", s.Step, step.Workload, err)
		}
		if _, err := fmt.Sscanf(string(step.To), "h%d", &host); err != nil {
			return 0, fmt.Errorf("step %d: host %q: %w", s.Step, step.To, err)
		}
		at[machine] = host
	}
	return len(answer.Unrelieved), nil
}

// view is the world as the planner sees it, one millicore per MIPS: the hosts in
// use and some empty ones. A host's demand with its margin is the sum of the
// forecasts plus Z times the root of the sum of the variances V. A plan needs
// amounts that add up, so the root is replaced by its tangent at the mean
// deviation s of the hosts: √V ≤ (V/s + s)/2, exact where V = s².
func (c *Consolidator) view(s reference.State, at []int, empty int) fleet.View {
	holds := make([]float64, len(s.Hosts))
	ram := make([]float64, len(s.Hosts))
	count := make([]int, len(s.Hosts))
	for _, m := range s.Machines {
		h := at[m.Index]
		holds[h] += c.detector.Row(m.Index)[1]
		ram[h] += m.RAM
		count[h]++
	}
	sum, active := 0.0, 0
	for h := range holds {
		if count[h] > 0 {
			sum, active = sum+math.Sqrt(holds[h]), active+1
		}
	}
	typical := max(sum/float64(max(active, 1)), 1)
	v := fleet.View{Now: fleet.TickStart(int64(s.Step))}
	for h, host := range s.Hosts {
		if count[h] == 0 {
			if empty == 0 || host.MIPS < s.Hosts[1].MIPS {
				continue
			}
			empty--
		}
		id := fleet.HostID(fmt.Sprintf("h%04d", h))
		v.Hosts = append(v.Hosts, fleet.HostView{
			Host: fleet.Host{ID: id, Name: string(id), Zone: "z", Capacity: fleet.Vector{
				CPU: int64(host.MIPS), Memory: int64(host.RAM) << 20, Net: fleet.Unknown, Disk: fleet.Unknown}},
			Liveness: fleet.Alive, Reported: fleet.TickStart(int64(s.Step)), Held: fleet.Vector{Memory: int64(ram[h]) << 20},
			Foreign: fleet.Vector{CPU: int64(relieveZ * typical / 2)},
		})
	}
	for _, m := range s.Machines {
		row := c.detector.Row(m.Index)
		v.Workloads = append(v.Workloads, fleet.WorkloadView{
			Workload: fleet.Workload{ID: fleet.WorkloadID(fmt.Sprintf("m%05d", m.Index)), Owner: fleet.HostID(fmt.Sprintf("h%04d", at[m.Index])),
				Reservation: fleet.Vector{Memory: int64(m.RAM) << 20}},
			Usage: fleet.Vector{CPU: int64(row[0] + relieveZ*row[1]/typical/2 + 0.5), Memory: int64(m.RAM) << 20},
			Size:  int64(m.RAM) << 20,
		})
	}
	return v
}
