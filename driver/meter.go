package driver

import (
	"context"

	"github.com/placed-dev/placed/fleet"
)

// Meter is a Driver whose hypervisor knows of its workloads what their processes do
// not show: which of the host's traffic is theirs, and what they ask of storage that
// is not a disk of the host.
type Meter interface {
	Driver
	// Run reads the hypervisor's counters until ctx ends. A hypervisor that does
	// not answer delays nobody else.
	Run(ctx context.Context) error
	// Measured returns the newest rates without asking: Net and Disk in bytes per
	// second, fleet.Unknown where there is no recent reading; CPU and Memory are
	// always fleet.Unknown, for those the process is asked.
	Measured() map[fleet.WorkloadID]fleet.Vector
}
