package telemetry

import (
	"maps"
	"math"
	"slices"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// Accumulator averages samples into ticks of the load clock. A sample speaks for
// the time since the sample before it, so every value weighs as long as it
// lasted, and one that spans a boundary is divided between its ticks. It is
// plain arithmetic: no clock, not safe for concurrent use.
type Accumulator struct {
	workloads map[fleet.WorkloadID]*accumulation
}

// TickValue is one workload's load in one complete tick.
type TickValue struct {
	Workload fleet.WorkloadID
	Tick     int64
	// Mean is weighted by time, Max the largest sample. A resource that no
	// sample knew is fleet.Unknown.
	Mean, Max fleet.Vector
	// Wait is the mean run-queue wait in millicores.
	Wait int64
	// Covered is how much of the tick the samples speak for.
	Covered time.Duration
}

// maxSpan bounds what one sample speaks for: after a longer silence the ticks
// before it are missing, not invented.
const maxSpan = 2 * fleet.Tick

// maxOpenTicks bounds memory when nobody collects.
const maxOpenTicks = 288

// NewAccumulator returns an empty accumulator.
func NewAccumulator() *Accumulator {
	return &Accumulator{workloads: map[fleet.WorkloadID]*accumulation{}}
}

type accumulation struct {
	last time.Time // of the newest sample
	done int64     // ticks up to this one have been handed out
	open map[int64]*tickSum
}

type tickSum struct {
	covered   time.Duration
	resources map[fleet.Resource]*cell
	wait      cell
}

type cell struct {
	sum, weight float64
	max         int64
}

// Add takes a sample whose At is load time. A sample that is not newer than the
// workload's last one is ignored. The first one speaks for its instant only.
func (a *Accumulator) Add(w fleet.WorkloadID, s fleet.Sample) {
	acc := a.workloads[w]
	if acc == nil {
		acc = &accumulation{last: s.At, done: math.MinInt64, open: map[int64]*tickSum{}}
		a.workloads[w] = acc
		acc.put(fleet.TickOf(s.At.Add(-time.Nanosecond)), time.Nanosecond, s)
		return
	}
	if !s.At.After(acc.last) {
		return
	}
	from := acc.last
	if s.At.Sub(from) > maxSpan {
		from = s.At.Add(-maxSpan)
	}
	acc.last = s.At
	for from.Before(s.At) {
		tick := fleet.TickOf(from)
		to := fleet.TickStart(tick + 1)
		if to.After(s.At) {
			to = s.At
		}
		acc.put(tick, to.Sub(from), s)
		from = to
	}
	for len(acc.open) > maxOpenTicks {
		acc.close(slices.Min(slices.Collect(maps.Keys(acc.open))))
	}
}

func (acc *accumulation) put(tick int64, span time.Duration, s fleet.Sample) {
	if tick <= acc.done {
		return
	}
	sum := acc.open[tick]
	if sum == nil {
		sum = &tickSum{resources: map[fleet.Resource]*cell{}}
		acc.open[tick] = sum
	}
	sum.covered += span
	s.Usage.Each(func(r fleet.Resource, amount int64) {
		c := sum.resources[r]
		if c == nil {
			c = &cell{max: fleet.Unknown}
			sum.resources[r] = c
		}
		c.add(amount, span)
	})
	sum.wait.add(s.Wait, span)
}

func (c *cell) add(amount int64, span time.Duration) {
	if amount == fleet.Unknown {
		return
	}
	c.sum += float64(amount) * float64(span)
	c.weight += float64(span)
	c.max = max(c.max, amount)
}

func (c *cell) mean() int64 {
	if c.weight == 0 {
		return fleet.Unknown
	}
	return int64(math.Round(c.sum / c.weight))
}

func (acc *accumulation) close(tick int64) {
	delete(acc.open, tick)
	acc.done = max(acc.done, tick)
}

// Complete hands out the ticks that ended by now (load time), each once, in the
// order of workloads and ticks. What is added to such a tick later is ignored.
func (a *Accumulator) Complete(now time.Time) []TickValue {
	running := fleet.TickOf(now)
	var out []TickValue
	for _, w := range slices.Sorted(maps.Keys(a.workloads)) {
		acc := a.workloads[w]
		for _, tick := range slices.Sorted(maps.Keys(acc.open)) {
			if tick < running {
				out = append(out, acc.open[tick].value(w, tick))
				acc.close(tick)
			}
		}
		acc.done = max(acc.done, running-1)
	}
	return out
}

func (s *tickSum) value(w fleet.WorkloadID, tick int64) TickValue {
	v := TickValue{Workload: w, Tick: tick, Wait: s.wait.mean(), Covered: s.covered}
	for _, r := range slices.Sorted(maps.Keys(s.resources)) {
		c := s.resources[r]
		v.Mean, v.Max = v.Mean.With(r, c.mean()), v.Max.With(r, c.max)
	}
	return v
}

// Forget drops a workload that no longer runs here.
func (a *Accumulator) Forget(w fleet.WorkloadID) { delete(a.workloads, w) }
