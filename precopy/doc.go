// Package precopy owns the physics of a live copy: how fast a workload dirties
// its state, how long a move will take, how long it will be down, and when to
// stop copying and cut over.
//
// It copies nothing and measures nothing: rounds come in as fleet.Checkpoint
// values, and planner and migrator judge a move by the same formulas.
//
// # The model
//
// The state written at least once during a time T is
//
//	D(T) = W × (1 − exp(−r × T / W))
//
// with the write rate r (bytes per second of first writes) and the working set
// W (bytes). It starts as r × T and saturates at W, because writing a dirty page
// again costs nothing more.
//
// Worked example: W = 64 MiB, r = 32 MiB/s, a link of 64 MiB/s, no compression,
// 256 MiB of state. Round 1 sends 256 MiB in 4 s; meanwhile D(4 s) =
// 64 × (1 − e^−2) = 55.3 MiB become dirty. Round 2 sends them in 0.865 s, round 3
// 22.5 MiB in 0.351 s, round 4 10.3 MiB in 0.161 s, round 5 5.0 MiB in 0.078 s. What
// is left then, 2.4 MiB, needs 38 ms: with a target of 50 ms and a fixed cutover
// of 5 ms that is the moment to cut. The whole move takes 5.5 s for 351 MiB.
package precopy
