// Package gossip owns membership: which hosts there are, whether they answer,
// what they can do (Meta) and roughly how loaded they are (Load).
//
// It decides nothing: what gossip says never frees and never grants capacity, and
// never starts or ends a move. Full load reports go to the voters by rpc.
package gossip
