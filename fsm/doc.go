// Package fsm owns the replicated state: who owns which workload, who may move
// where, and the commands that change it; it refuses whatever would double-book
// a host or leave a workload with two owners.
//
// It plans nothing, observes nothing and reads no clock: time, ids and every
// observation travel in the command, so that all replicas that apply the same
// log hold the same bytes. Only raft.go knows of Raft.
package fsm
