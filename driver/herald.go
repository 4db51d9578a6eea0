package driver

import "github.com/placed-dev/placed/fleet"

// Herald is a Driver that hears from its hypervisor when workloads come, go or change,
// so that nobody has to wait for the next inventory.
type Herald interface {
	Driver
	// News receives after something may have changed; what, an inventory tells.
	// News that nobody has taken yet are not repeated. One reader.
	News() <-chan struct{}
}

// Usher is a Handover that hears of what is expected here.
type Usher interface {
	Handover
	// Stirred receives after the hypervisor has spoken of a workload, from Expect to
	// Shut; nil when it is not expected. Like News it may miss some.
	Stirred(id fleet.WorkloadID) <-chan struct{}
}
