//go:build race

package planner

// raced says that the race detector is on, which makes these loops of arithmetic
// ten times slower and has little to find in a package without goroutines.
const raced = true
