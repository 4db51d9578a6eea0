// Package simulator owns a whole fleet in virtual time: recorded load, hosts,
// moves that take time and cost load, played through the real books, predictor,
// scorer and planner, and the figures of what came of it.
//
// It reads no file and no clock, and decides nothing itself: what to move is
// said by a Decider, of which the product's own pass is one. The published
// worlds of the literature are in simulator/reference.
package simulator
