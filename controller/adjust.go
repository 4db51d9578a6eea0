package controller

import (
	"context"
	"fmt"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
)

// adjust writes into the books what a plan changes of workloads in place, and what it
// takes back. The hosts follow the books: nothing is sent to them. A refusal is no
// error: the books know better than the plan.
func (c *Controller) adjust(ctx context.Context, plan fleet.Plan) error {
	var ops []fsm.Operation
	for _, u := range plan.Undo {
		ops = append(ops, fsm.EndAdjustment{Workload: u.Workload, Kind: u.Kind, Reason: clip(u.Reason)})
	}
	for _, a := range plan.Adjust {
		a.Reason = clip(a.Reason)
		ops = append(ops, fsm.Adjust{Adjustment: a})
	}
	// One entry holds so many; what is left comes with the next pass.
	ops = ops[:min(len(ops), fsm.MaxOperations)]
	if len(ops) == 0 {
		return nil
	}
	var tooNew error
	c.cfg.Books.Read(func(s *fsm.State) { tooNew = s.Allows(ops...) })
	if tooNew != nil {
		c.log.Debug("nothing is changed in place yet", "reason", tooNew)
		return nil
	}
	result, err := c.cfg.Books.Propose(ctx, ops...)
	if err != nil {
		return fmt.Errorf("writing %d adjustments into the books: %w", len(ops), err)
	}
	for i, op := range result.Ops {
		switch o := ops[i].(type) {
		case fsm.EndAdjustment:
			c.said("adjustment is taken back", o.Workload, o.Kind, o.Reason, op.Err)
		case fsm.Adjust:
			c.said("workload is adjusted in place", o.Adjustment.Workload, o.Adjustment.Kind, o.Adjustment.Reason, op.Err)
		}
	}
	return nil
}

func (c *Controller) said(what string, id fleet.WorkloadID, kind fleet.AdjustmentKind, reason string, refused *fsm.Refusal) {
	if refused != nil {
		c.log.Warn("the books refuse an adjustment", "workload", id, "kind", kind, "reason", refused)
		return
	}
	c.log.Info(what, "workload", id, "kind", kind, "reason", reason)
}
