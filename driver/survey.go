package driver

import "github.com/placed-dev/placed/fleet"

// Surveyor is a Driver that can say beforehand which workloads could go on on which
// hosts, so that moves which the destination would refuse are never planned.
type Surveyor interface {
	Driver
	// Survey returns, without asking, what this host has by the newest look at it,
	// and what each of its workloads requires of another host. A class that it
	// does not name is not known, and refuses nothing.
	Survey() (has []fleet.Ability, needs map[fleet.WorkloadID][]fleet.Ability)
}
