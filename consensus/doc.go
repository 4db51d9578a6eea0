// Package consensus owns the Raft node of a host: its stores and their guard,
// membership, proposals, linearizable reads and leadership.
//
// It does not know what an entry means: the replicated state is a Replica, the
// network is a Stream, and both are handed in.
package consensus
