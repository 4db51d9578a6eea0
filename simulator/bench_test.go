package simulator

import "testing"

// BenchmarkPlaced plays six hours of 12 hosts with 12 workloads each after three
// days of history.
func BenchmarkPlaced(b *testing.B) {
	for b.Loop() {
		c := smallFleet(12, 8, 3*288+84, func(i, tick int) float64 {
			if peak := (tick % 288) / 24; peak == i/8 {
				return 1.5
			}
			return 0.7
		})
		c.From = 3 * 288
		c.Decider = placedDecider(c, true)
		run(b, c)
	}
}
