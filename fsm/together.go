package fsm

import (
	"slices"

	"github.com/placed-dev/placed/fleet"
)

// grantTogether applies the grants of an entry that make sense only as one: its
// placements, if there are several, and the migrations of one hard affinity
// rule. When one of a group is refused, none of it is granted. It returns which
// operations are done.
func (e *entry) grantTogether(ops []Operation, results []OpResult) []bool {
	groups := e.groups(ops)
	if len(groups) == 0 {
		return nil
	}
	done := make([]bool, len(ops))
	for _, group := range groups {
		e.allOrNone(ops, group, results)
		for _, i := range group {
			done[i] = true
		}
	}
	return done
}

// groups returns the operations that are granted together, as indexes, in order.
func (e *entry) groups(ops []Operation) [][]int {
	if e.grants < 2 {
		return nil
	}
	var placements []int
	for i, op := range ops {
		if g, ok := op.(Grant); ok && g.Kind == fleet.LeasePlacement {
			placements = append(placements, i)
		}
	}
	groups := [][]int{placements}
	taken := make([]bool, len(ops))
	for _, rule := range e.hard {
		if rule.Kind != fleet.Affinity {
			continue
		}
		var group []int
		for i, op := range ops {
			g, ok := op.(Grant)
			if !ok || taken[i] || g.Kind != fleet.LeaseMigration {
				continue
			}
			if w := e.workloads[g.Workload]; w != nil && rule.Applies(w.Workload) {
				group = append(group, i)
			}
		}
		if len(group) > 1 {
			for _, i := range group {
				taken[i] = true
			}
			groups = append(groups, group)
		}
	}
	return slices.DeleteFunc(groups, func(g []int) bool { return len(g) < 2 })
}

func (e *entry) allOrNone(ops []Operation, group []int, results []OpResult) {
	e.together = map[fleet.WorkloadID]fleet.HostID{}
	for _, i := range group {
		if g := ops[i].(Grant); g.Kind == fleet.LeaseMigration {
			e.together[g.Workload] = g.Destination
		}
	}
	events, grants := len(e.events), e.State.grants
	var bad *Refusal
	for _, i := range group {
		results[i] = e.one(ops[i])
		if r := results[i].Err; r != nil && bad == nil {
			bad = r
		}
	}
	e.together = nil
	if bad == nil {
		return
	}
	refused := slices.DeleteFunc(slices.Clone(e.events[events:]), func(r *eventRecord) bool { return r.Type != "lease.refused" })
	e.events = e.events[:events]
	for _, r := range refused {
		e.emit(r.Event, r.object)
	}
	e.State.grants = grants
	for _, i := range group {
		if l := results[i].Lease; l != nil {
			e.dropLease(l.ID)
			delete(e.tokens, l.Workload)
			r := refuse(CodeRule, "%ss of one entry are granted all or none: %s", l.Kind, bad.Message)
			r.Host, r.Workload = l.Destination, l.Workload
			results[i] = OpResult{Err: r}
		}
	}
	e.settle()
}
