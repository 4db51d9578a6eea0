package controller

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
)

// standbys writes into the books which standbys a plan gives up and which it begins,
// and returns the leases of these. A refusal is no error: the books know better than
// the plan.
func (c *Controller) standbys(ctx context.Context, plan fleet.Plan) ([]fleet.Lease, error) {
	var ops []fsm.Operation
	for _, e := range plan.Cancel {
		ops = append(ops, fsm.Abort{Lease: e.Lease, Reason: clip(e.Reason)})
	}
	for _, m := range plan.Standbys {
		ops = append(ops, fsm.Grant{Workload: m.Workload, Destination: m.To, Kind: fleet.LeaseStandby,
			Type: m.Type, Decision: m.Decision, Reason: clip(m.Reason)})
	}
	// One entry holds so many; what is left comes with the next pass.
	ops = ops[:min(len(ops), fsm.MaxOperations)]
	if len(ops) == 0 {
		return nil, nil
	}
	var tooNew error
	c.cfg.Books.Read(func(s *fsm.State) { tooNew = s.Allows(ops...) })
	if tooNew != nil {
		c.log.Debug("no standby is begun yet", "reason", tooNew)
		return nil, nil
	}
	result, err := c.cfg.Books.Propose(ctx, ops...)
	if err != nil {
		return nil, fmt.Errorf("writing %d standbys into the books: %w", len(ops), err)
	}
	var begun []fleet.Lease
	for i, op := range result.Ops {
		switch o := ops[i].(type) {
		case fsm.Abort:
			if op.Err != nil {
				c.log.Warn("the books refuse to give a standby up", "lease", o.Lease, "reason", op.Err)
				continue
			}
			c.log.Info("standby given up", "lease", o.Lease, "reason", o.Reason)
		case fsm.Grant:
			if op.Err != nil {
				c.log.Warn("standby refused", "workload", o.Workload, "host", o.Destination, "reason", op.Err)
				continue
			}
			c.log.Info("standby granted", "lease", op.Lease.ID, "workload", o.Workload, "to", o.Destination, "reason", o.Reason)
			begun = append(begun, *op.Lease)
		}
	}
	return begun, nil
}

// standing fills in what the sources of standbys say of them. The caller holds the
// lock.
func (r *Reports) standing(view *fleet.View) {
	kept := map[fleet.LeaseID]bool{}
	for _, l := range view.Leases {
		kept[l.ID] = l.Kind == fleet.LeaseStandby && l.State == fleet.Transferring
	}
	view.Standbys = nil
	for _, have := range r.hosts {
		for _, p := range have.report.Migrations {
			if n := len(p.Rounds); n > 0 && p.Phase == fleet.PhaseStandby && kept[p.Lease] {
				view.Standbys = append(view.Standbys, fleet.Standby{Lease: p.Lease, Refresh: p.Refresh, Took: p.Rounds[n-1].Took})
			}
		}
	}
	slices.SortFunc(view.Standbys, func(a, b fleet.Standby) int { return cmp.Compare(a.Lease, b.Lease) })
}
