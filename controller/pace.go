package controller

import (
	"context"
	"time"
)

// restShare is how long learning rests after a piece of work, as a multiple of what
// that has taken: so it has at most half of a core, and less where others want the
// processors, too. A thread of low priority would not do: the collector stops
// every goroutine of the process and would wait for that thread while the guests
// have the processors, and heartbeats with it.
const restShare = 1

// longestRest bounds a rest, so that a machine that slept does not keep it waiting.
const longestRest = time.Second

// pace lets a long computation rest between its pieces.
type pace struct {
	now   func() time.Time
	began time.Time
}

func newPace(now func() time.Time) *pace { return &pace{now: now, began: now()} }

// rest sleeps in proportion to what the piece before has taken, or until ctx ends.
func (p *pace) rest(ctx context.Context) {
	timer := time.NewTimer(min(restShare*p.now().Sub(p.began), longestRest))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	p.began = p.now()
}
