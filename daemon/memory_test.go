package daemon

import (
	"runtime"
	"runtime/debug"
	"testing"
)

// Small books may grow by a fixed amount before they are collected, large ones
// double; neither takes the memory of a host.
func TestGrowthOfTheHeap(t *testing.T) {
	for _, row := range []struct {
		live uint64 // MiB
		want int    // percent
	}{{0, 300}, {10, 300}, {21, 300}, {32, 200}, {50, 128}, {64, 100}, {1000, 100}} {
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
	if got := debug.SetGCPercent(17); got != c.percent || got < 100 || got > collectPercent {
		t.Errorf("the collector works with %d %%, set were %d %%", got, c.percent)
	}
}
