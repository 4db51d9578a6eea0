package simulator

import (
	"fmt"
	"math"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// Workload is one workload with the load that was recorded of it.
type Workload struct {
	fleet.Workload
	// Demand is the mean cpu demand per tick in cores, from tick 0 on. All
	// workloads of a world have the same number of ticks.
	Demand []float64
}

// Migration is what a move costs.
type Migration struct {
	// Bandwidth of the link between two hosts in bytes per second.
	Bandwidth float64
	// Rounds is how often the memory crosses the link: 1.3 means that three
	// tenths are sent again because they were written meanwhile.
	Rounds float64
	// Degradation is the share of the workload's demand that the move costs
	// in cpu, on both hosts, while it lasts.
	Degradation float64
}

// Duration of moving so much memory.
func (m Migration) Duration(memory int64) time.Duration {
	return time.Duration(float64(memory) / m.Bandwidth * m.Rounds * float64(time.Second))
}

// Budget bounds the moves of every decider alike: tokens that fill at an even
// rate, of which each move takes one.
type Budget struct {
	// PerDay is the moves per workload and day; 0 means no bound.
	PerDay float64
	// Burst is how many days of tokens may be saved up.
	Burst float64
}

// FaultKind is what happens to a host.
type FaultKind string

// Kinds of faults.
const (
	// FaultSilent: the host's agent stops, its workloads run on. A move that
	// it takes part in is broken off.
	FaultSilent FaultKind = "silent"
	// FaultDrain: an operator drains the host.
	FaultDrain FaultKind = "drain"
)

// Fault befalls a host from a tick until another.
type Fault struct {
	Host        fleet.HostID
	Kind        FaultKind
	From, Until int
}

// Config of a Simulation. Every field is required unless said otherwise.
type Config struct {
	Hosts     []fleet.Host
	Workloads []Workload
	// Start is the load time of tick 0. Decisions are made at the end of the
	// ticks From … To−1; the ticks before are history, and so many ticks as
	// Ahead looks at must follow To.
	Start    time.Time
	From, To int
	// Policy is put into the books; its automation says what Placed may do.
	Policy    fleet.Policy
	Decider   Decider
	Migration Migration
	Budget    Budget  // optional
	Faults    []Fault // optional, in any order
	// Interrupted is asked once per tick and ends the run with its error;
	// optional.
	Interrupted func() error
}

// Ahead is how many ticks after a move it is judged by: an hour.
const Ahead = 12

// maxHosts and maxWorkloads are what a simulation is built for; a mistyped
// scenario ends in an error and not in all of the memory.
const (
	maxHosts     = 10_000
	maxWorkloads = 200_000
)

func (c Config) validate() error {
	switch {
	case len(c.Hosts) == 0 || len(c.Hosts) > maxHosts:
		return fmt.Errorf("simulator: %d hosts: want 1 to %d", len(c.Hosts), maxHosts)
	case len(c.Workloads) == 0 || len(c.Workloads) > maxWorkloads:
		return fmt.Errorf("simulator: %d workloads: want 1 to %d", len(c.Workloads), maxWorkloads)
	case c.Decider == nil:
		return fmt.Errorf("simulator: nobody decides: want a decider")
	case c.From < 0 || c.To <= c.From:
		return fmt.Errorf("simulator: decisions from tick %d to %d: want a window that is not empty", c.From, c.To)
	case c.Migration.Bandwidth <= 0 || c.Migration.Rounds < 1 || c.Migration.Degradation < 0:
		return fmt.Errorf("simulator: migration model %+v: want a bandwidth above 0, rounds of at least 1 and no negative degradation", c.Migration)
	case c.Budget.PerDay < 0 || c.Budget.Burst < 0:
		return fmt.Errorf("simulator: budget %+v: must not be negative", c.Budget)
	}
	owner := map[fleet.HostID]bool{}
	for _, h := range c.Hosts {
		if err := h.Validate(); err != nil {
			return fmt.Errorf("simulator: %w", err)
		}
		if owner[h.ID] {
			return fmt.Errorf("simulator: host %s is there twice", h.ID)
		}
		if h.Allocatable().CPU <= 0 {
			return fmt.Errorf("simulator: host %s has no cpu to give: declare its capacity", h.ID)
		}
		owner[h.ID] = true
	}
	for _, w := range c.Workloads {
		if err := w.Validate(); err != nil {
			return fmt.Errorf("simulator: %w", err)
		}
		if !owner[w.Owner] {
			return fmt.Errorf("simulator: workload %s belongs to host %q, which is not there", w.ID, w.Owner)
		}
		if len(w.Demand) < c.To+Ahead {
			return fmt.Errorf("simulator: workload %s has %d ticks of load: want %d, an hour beyond the last decision", w.ID, len(w.Demand), c.To+Ahead)
		}
		for t, d := range w.Demand {
			if !(d >= 0) || math.IsInf(d, 0) {
				return fmt.Errorf("simulator: workload %s, tick %d: a demand of %g cores cannot be", w.ID, t, d)
			}
		}
	}
	for _, f := range c.Faults {
		if !owner[f.Host] || f.Until <= f.From || f.Kind != FaultSilent && f.Kind != FaultDrain {
			return fmt.Errorf("simulator: fault %+v: want a host that is there, kind %s or %s, and an end after its beginning", f, FaultSilent, FaultDrain)
		}
	}
	return nil
}
