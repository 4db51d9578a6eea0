// Package traffic owns the way of clients to workloads: a holding proxy on every
// host, a process of its own that outlives the agent, and the agent's control of
// it. The proxy holds a workload's requests between messages while it moves, and
// sends them to the new owner afterwards.
//
// It does not decide who owns a workload: it obeys the route table it is given.
//
// The protocol of workloads is one line per request and one line per answer. A
// request is forwarded at most once: when it was sent and no answer came, the
// client's connection is closed, because its outcome is unknown.
//
// Proxies forward to each other in plain text at PeerPort, like the clients they
// serve. That port belongs into the traffic network of the workloads, never on a
// network that the clients themselves could not be on.
package traffic
