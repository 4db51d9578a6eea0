package gossip

import (
	"sync"
	"time"
)

// throttle lets the same thing be said once per interval, so that a stranger or a
// misconfigured host in a loop does not fill the log.
type throttle struct {
	interval time.Duration
	mu       sync.Mutex
	said     map[string]*repeat // guarded by mu
}

type repeat struct {
	at      time.Time
	skipped int
}

// maxSubjects bounds the memory a flood of different subjects can take.
const maxSubjects = 1024

func newThrottle(interval time.Duration) *throttle {
	return &throttle{interval: interval, said: map[string]*repeat{}}
}

// allow says whether to speak of subject now, and how often it was kept quiet
// since the last time.
func (t *throttle) allow(now time.Time, subject string) (skipped int, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	last := t.said[subject]
	if last != nil && now.Sub(last.at) < t.interval {
		last.skipped++
		return 0, false
	}
	if last == nil && len(t.said) >= maxSubjects {
		t.forget(now)
		if len(t.said) >= maxSubjects {
			return 0, false
		}
	}
	if last != nil {
		skipped = last.skipped
	}
	t.said[subject] = &repeat{at: now}
	return skipped, true
}

func (t *throttle) forget(now time.Time) {
	for subject, last := range t.said {
		if now.Sub(last.at) >= t.interval {
			delete(t.said, subject)
		}
	}
}
