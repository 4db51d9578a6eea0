package daemon

import (
	"runtime"
	"runtime/debug"
	"testing"
)

// Small heaps may grow by a fixed amount before they are collected, larger ones
// double, and the largest again grow by a fixed amount: a pass over ten thousand
// workloads does not take twice its memory of the host.
func TestGrowthOfTheHeap(t *testing.T) {
	for _, row := range []struct {
		live uint64 // MiB
		want int    // percent
	}{{0, 300}, {10, 300}, {21, 300}, {32, 200}, {50, 128}, {64, 100}, {90, 100}, {192, 50}, {384, 25}, {4000, 25}} {
		if got := growth(row.live << 20); got != row.want {
			t.Errorf("%d MiB live: %d %%, want %d", row.live, got, row.want)
		}
	}
}

// What was found is what the collector works with.
func TestCollectorIsTuned(t *testing.T) {
	before := debug.SetGCPercent(17)
	defer debug.SetGCPercent(before)
	runtime.GC()
	c := new(collector)
	c.tune()
	if got := debug.SetGCPercent(17); got != c.percent || got < collectLeast || got > collectPercent {
		t.Errorf("the collector works with %d %%, set were %d %%", got, c.percent)
	}
}
