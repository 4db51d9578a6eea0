// Package devfleet is what `placed dev` starts: a fleet of real agents as
// separate processes on loopback addresses, with real workloads that replay
// recorded load, and clients that notice every lost answer. It makes the
// certificates, keys and configuration files that an operator would make.
//
// It takes no short cut into an agent: it starts processes, reads their HTTP API
// and talks to their workloads as any client would.
package devfleet
