// Package reference owns the worlds that the literature compares placement
// policies in, exactly as published: the PlanetLab world of CloudSim ("a") and
// the same world with enforced memory and immortal workloads ("b32"), with their
// overload tests and their greedy planner.
//
// It is used by scenarios only and is no part of the product's planner: its
// planner takes no lease, keeps no memory and knows no rule.
//
// Every digit of its results is specified, so the order of the floating point
// operations is part of the specification. Products that are added to are
// written float64(x*y)+z: the conversion forbids a fused multiply-add, which
// rounds once where the published results were rounded twice.
package reference
