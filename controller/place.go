package controller

import (
	"context"
	"fmt"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
)

// Place asks the books for room for a workload that is to start on its owner for
// the first time. The lease must be claimed by registering the workload, or
// released; otherwise it expires.
func (c *Controller) Place(ctx context.Context, w fleet.Workload) (fleet.Lease, error) {
	if !c.Leading() {
		return fleet.Lease{}, ErrNotLeader
	}
	result, err := c.cfg.Books.Propose(ctx, fsm.Grant{Workload: w.ID, Destination: w.Owner, Kind: fleet.LeasePlacement,
		Type: fleet.Requested, Reservation: w.Reservation, Group: w.Group, Reason: "first start"})
	if err != nil {
		return fleet.Lease{}, fmt.Errorf("asking the books for room for %s: %w", w.ID, err)
	}
	op := result.Ops[0]
	if op.Err != nil {
		return fleet.Lease{}, op.Err
	}
	return *op.Lease, nil
}
