// Package planner owns everything one pass decides: which hosts are or will be
// contended, which workload leaves, where it goes, when it must leave by, what is
// refused and why. It turns a fleet.View into a fleet.Plan.
//
// It grants nothing and moves nothing: the books check every lease again when it
// is granted, and hosts carry the moves out. It reads no clock; the same view
// gives the same bytes.
//
// # Why a pass ends
//
// With stationary load the planner must reach zero moves and stay there. Five
// rules together see to it:
//   - a breach must be predicted for policy.HoldPasses passes in a row, for two days
//     of passes while it stays within the headroom above the line, and for an hour
//     within twice the headroom;
//   - a destination must keep policy.Headroom free at every step with the
//     workload on it, judged not by the moment alone: demand that is below its
//     mean of the last day is taken to return to it at once;
//   - the quantile asked of it is stricter than the one that calls a host
//     contended: a quarter of the probability is left;
//   - the workload that leaves is chosen so that the source meets the same
//     strict quantile, not just the line;
//   - a workload that moved cools down, twice as long after each further move.
//
// So load only ever flows from hosts above the line to hosts that stay well
// below it. What noise can still do is to push a host that is near the line, and
// has never been relieved, over it once.
//
// # Order
//
// A move never counts on room that another move of the same plan makes: the
// source keeps its reservation until its memory is proved released, and what is
// promised at a destination is counted at once. Every prefix of a plan is
// therefore safe, in any order.
package planner
