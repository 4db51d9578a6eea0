package workload

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// period of the labour: short against a tick of a second, long against
	// the cost of a wake-up.
	period = 50 * time.Millisecond
	// idlePeriod applies while the trace asks for nothing.
	idlePeriod = 250 * time.Millisecond
	// spinChunk bounds how late a spinning thread sees that the gate shuts
	// or that its share is used up.
	spinChunk = 20 * time.Microsecond
	// oneThread is the demand, in millicores, up to which one thread burns:
	// beyond it one thread could not catch up after being held back.
	oneThread = 850
	// maxPages written in one period, whatever the configuration says.
	maxPages = 1 << 16
)

// labour does what the trace asks for: it writes heap pages and burns CPU until
// the process as a whole, serving included, has used its share.
type labour struct {
	state *state
	gate  *gate

	last   time.Time     // when the last period began; zero after a pause
	used   time.Duration // process cpu time at last
	credit time.Duration // cpu time still to use; negative when overdrawn, within bounds
	pages  float64       // page writes still to do
}

// run works until ctx ends, parked while the gate is shut.
func (l *labour) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		if l.gate.shutting.Load() {
			l.last = time.Time{}
		}
		if l.gate.enter(ctx) != nil {
			return
		}
		demand := l.work(time.Now())
		l.gate.leave()
		if demand == 0 {
			timer.Reset(idlePeriod)
		} else {
			timer.Reset(time.Until(l.last.Add(period)))
		}
	}
}

// work does one period and returns the demand in millicores.
func (l *labour) work(now time.Time) float64 {
	demand := l.state.demand(now)
	l.account(now, processCPU(), demand)
	for l.pages >= 1 && !l.gate.shutting.Load() {
		l.state.dirtyPage()
		l.pages--
	}
	if need := l.credit - (processCPU() - l.used); need > 0 {
		l.burn(need, now.Add(period), demand > oneThread)
	}
	return demand
}

// account adds what is due since the last period. What contention kept it from
// using, and what serving used beyond the demand, is forgotten after two periods:
// demand is a rate, not a debt. A debt collected in an idle hour would swallow the
// next peak.
func (l *labour) account(now time.Time, used time.Duration, demand float64) {
	elapsed := period
	if l.last.IsZero() {
		l.used, l.credit, l.pages = used, 0, 0
	} else {
		elapsed = min(now.Sub(l.last), 2*idlePeriod)
	}
	cores := demand / 1000
	share := time.Duration(float64(elapsed) * cores)
	most := time.Duration(float64(2*period) * cores)
	l.credit = max(min(l.credit-(used-l.used)+share, most), -most)
	l.pages = min(l.pages+elapsed.Seconds()*cores*l.state.head.dirtyRate, maxPages)
	l.last, l.used = now, used
}

// burn spins until the process has used need more cpu time, the period is over
// or the gate shuts.
func (l *labour) burn(need time.Duration, until time.Time, two bool) {
	target := processCPU() + need
	spin := func() {
		for !l.gate.shutting.Load() && processCPU() < target && time.Now().Before(until) {
			spinFor(spinChunk)
		}
	}
	if !two {
		spin()
		return
	}
	var second sync.WaitGroup
	second.Go(spin)
	spin()
	second.Wait()
}

// spinFor keeps one thread busy. Reading the clock is the work: it cannot be
// optimized away and touches no memory.
func spinFor(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
	}
}

// processCPU returns the cpu time of all threads of this process.
func processCPU() time.Duration {
	var ts unix.Timespec
	// Cannot fail for this clock and a valid pointer.
	_ = unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts)
	return time.Duration(ts.Nano())
}
