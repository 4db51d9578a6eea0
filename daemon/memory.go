package daemon

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

// A voter holds the books of the fleet and allocates with every operation. Go's
// collector begins when the heap has doubled, which with the small heap of small
// books is many times in a second: a fifth of the CPU time of a batch of grants.
// Here it may grow by collectAfter first, but by no more than collectPercent of
// what lives. Large heaps would double as usual, and the largest stand only for
// the seconds of a pass, whose forecasts are most of them: above collectMost the
// growth stays what it is, down to collectLeast of what lives. Forecasts hold no
// pointers, so the collector that comes oftener then finds little to follow.
const (
	collectAfter   = 64 << 20
	collectMost    = 96 << 20
	collectPercent = 300
	collectLeast   = 25
)

// tuned: there is one collector in a process, however many agents a test runs.
var tuned sync.Once

// tuneCollector lets an operator's GOGC stand.
func tuneCollector(voter bool) {
	if voter && os.Getenv("GOGC") == "" {
		tuned.Do(func() { afterCycle(new(collector)) })
	}
}

// collector remembers what it has set.
type collector struct{ percent int }

func (c *collector) tune() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	percent := growth(live[0].Value.Uint64())
	// Setting it stops the world for a moment, so not for a trifle.
	if change := percent - c.percent; change > 10 || change < -10 {
		debug.SetGCPercent(percent)
		c.percent = percent
	}
}

// growth is how many percent of what lives the heap may grow.
func growth(live uint64) int {
	bytes := min(max(live, collectAfter), collectMost)
	return int(min(max(bytes*100/max(live, 1), collectLeast), collectPercent))
}

// afterCycle tunes now and whenever the collector has found an object that nobody
// holds, which is once in each cycle.
func afterCycle(c *collector) {
	c.tune()
	runtime.SetFinalizer(&struct{ self *collector }{c}, func(any) { afterCycle(c) })
}
