// Package fleet owns the nouns that two or more packages share: hosts,
// workloads, resources, leases, tokens, forecasts, decisions, and the View that
// one pass of the leader decides from.
//
// It holds values and their arithmetic only. It decides nothing, reads no clock
// and does no IO: `now` is always an argument.
package fleet
