// Package virtual runs the real voters in virtual time: hashicorp/raft, the
// consensus node with its guard and checksums, the replicated state and the
// leader's controller, on an in-memory network and on disks that lose what was
// not synced, under partitions, losses, crashes, slow and dead disks and clocks
// that drift. It owns the faults, the agents that use the voters, and the judge
// that holds every promise about the books against what happened.
//
// It holds no code of the product and tests no process: sockets, files, kill -9
// and pauses of whole processes belong to the tests on real processes.
package virtual
