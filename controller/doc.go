// Package controller is the leader's loop: build a view, let the planner decide,
// ask the books for a lease, tell the source to go, remember why, and look back
// whether the predicted contention came. It also keeps the reports that every
// voter hears, so that a new leader is warm.
//
// It decides nothing itself (planner does), holds no capacity (fsm does) and
// moves no byte (migrator does). Nothing of a term survives in memory except
// what can be rebuilt from the books and the reports.
package controller
