// Package migrator carries out one migration under a lease, peer to peer: rounds
// of copying, the delta codec, the cutover with its words, recovery after any
// crash, and the host's token store.
//
// It decides neither who moves nor when: that is the planner's, and the books
// grant it. It knows no transport and no hypervisor: connections, books, traffic
// and drivers are handed in.
package migrator
