package simulator

import (
	"github.com/placed-dev/placed/fleet"
)

// Move sends a workload to a host; both by index.
type Move struct {
	Workload, To int
	Type         fleet.MigrationType
	// Decision explains it, where the decider explains itself.
	Decision *fleet.Decision
}

// Situation is what a decider sees at the end of a tick. Slices are only lent.
type Situation struct {
	Tick int
	// Demand of the tick per workload, in cores.
	Demand []float64
	// At is the host of each workload, by index. Workloads under way count at
	// their destination, and Busy says so.
	At   []int
	Busy []bool
	// Capacity of the hosts in cores, and the memory that the books may
	// still grant there.
	Capacity []float64
	Free     []int64
	// Memory of the workloads.
	Memory []int64
	// Allowed is how many moves the budget has left.
	Allowed int
	// Policy as the books hold it.
	Policy fleet.Policy
	// View is what a pass of the leader decides from, built when asked for.
	View func() fleet.View
}

// Decider says what to move.
type Decider interface {
	Name() string
	// Observe is told every tick's demand in cores, history included, in
	// order. Values and slices must not be kept: copy them.
	Observe(tick int, demand []float64)
	// Decide returns moves in order of importance. Those that the books
	// refuse, and those beyond the budget, are not made.
	Decide(s Situation) ([]Move, error)
}

// Nothing never moves anything.
type Nothing struct{ title string }

// Named returns a Nothing under a title.
func Named(title string) Nothing { return Nothing{title} }

// Name of the decider.
func (n Nothing) Name() string { return n.title }

// Observe does nothing.
func (Nothing) Observe(int, []float64) {}

// Decide returns no move.
func (Nothing) Decide(Situation) ([]Move, error) { return nil, nil }
