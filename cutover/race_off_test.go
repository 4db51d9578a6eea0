//go:build !race

package cutover

// boundedDepth 0: every reachable state.
const boundedDepth = 0
