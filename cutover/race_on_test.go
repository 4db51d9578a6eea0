//go:build race

package cutover

// boundedDepth keeps the exploration short under the race detector: the package
// has no goroutines for it to watch.
const boundedDepth = 11
