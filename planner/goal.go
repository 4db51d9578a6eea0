package planner

import (
	"fmt"

	"github.com/placed-dev/placed/fleet"
)

// Objective is what a what-if plan is for.
type Objective string

// Objectives.
const (
	Relieve     Objective = "relieve"     // no host above the ceiling
	Balance     Objective = "balance"     // every host as loaded as the others
	Consolidate Objective = "consolidate" // as few, and as cheap, hosts as the ceiling allows
	Place       Objective = "place"       // what is pending runs somewhere, all of it or none
	Drain       Objective = "drain"       // the named and the draining hosts are empty
)

// Objectives lists them in the order of the manual.
func Objectives() []Objective { return []Objective{Relieve, Balance, Consolidate, Place, Drain} }

// Minimise is what a plan spends as little as possible of.
type Minimise string

// What can be minimised.
const (
	MinimiseMoves   Minimise = "moves"    // number of moves, then memory
	MinimiseMemory  Minimise = "memory"   // bytes moved, then number
	MinimiseMaxLoad Minimise = "max-load" // the load of the most loaded host
)

// Minimisations lists them in the order of the manual.
func Minimisations() []Minimise { return []Minimise{MinimiseMoves, MinimiseMemory, MinimiseMaxLoad} }

// Goal is what WhatIf should reach, from loads as they are and not as they are
// forecast.
type Goal struct {
	Objective Objective
	// Ceiling is the share of what a host can serve, in thousandths, above
	// which it counts as overloaded.
	Ceiling  int64
	Minimise Minimise
	// Headroom is the share of the ceiling, in thousandths, that a destination
	// keeps free (policy.headroom).
	Headroom int64
	// ReserveHosts is how many hosts of a zone may fail with the others having room
	// for their reservations (policy.reserve_hosts); 0 = none.
	ReserveHosts int
	// MaxMoves bounds the steps; 0 = no bound.
	MaxMoves int
	// Drain names hosts to be emptied, whatever the objective.
	Drain []fleet.HostID
}

// DefaultCeiling is where a host begins to be overloaded, in thousandths.
const DefaultCeiling = 800

// Validate checks a goal that comes from outside.
func (g Goal) Validate() error {
	known := false
	for _, o := range Objectives() {
		known = known || o == g.Objective
	}
	if !known {
		return fmt.Errorf("objective %q: want one of %v", g.Objective, Objectives())
	}
	known = false
	for _, m := range Minimisations() {
		known = known || m == g.Minimise
	}
	switch {
	case !known:
		return fmt.Errorf("minimise %q: want one of %v", g.Minimise, Minimisations())
	case g.Ceiling <= 0 || g.Ceiling > 10_000:
		return fmt.Errorf("ceiling %g: want more than 0 and at most 10 (1 = all that a host has)", float64(g.Ceiling)/1000)
	case g.Headroom < 0 || g.Headroom > 900:
		return fmt.Errorf("headroom %d is outside 0..900 (thousandths)", g.Headroom)
	case g.ReserveHosts < 0 || g.ReserveHosts > 100:
		return fmt.Errorf("reserve of %d hosts: want 0 to 100", g.ReserveHosts)
	case g.MaxMoves < 0:
		return fmt.Errorf("max moves %d: want 0 (no bound) or more", g.MaxMoves)
	}
	return nil
}

// Arrangement is the answer of WhatIf.
type Arrangement struct {
	// Steps in an order in which each is safe once those before it are done.
	Steps []Step
	// Before and After the steps.
	Before, After Picture
	// Unrelieved hosts stay above the ceiling, or are not empty after a drain.
	Unrelieved []fleet.Exclusion
	// Refused workloads should have moved and do not.
	Refused []fleet.Exclusion
	// Summary is one sentence: what was done, or why nothing.
	Summary string
}

// Step moves one workload; From is empty for one that was pending.
type Step struct {
	Workload fleet.WorkloadID
	From, To fleet.HostID
	Reason   string
	// Memory in bytes that the step copies.
	Memory int64
	Score  fleet.Score
}

// Picture is the state of a fleet in a few figures.
type Picture struct {
	// MaxCPU and MaxMemory are the largest usage by what the host can serve.
	MaxCPU, MaxMemory float64
	// Overloaded counts the hosts above the ceiling.
	Overloaded int
}
