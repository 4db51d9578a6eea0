// Package throttle keeps the same news from being said again and again. It does not
// log: the caller asks whether to speak.
package throttle

import (
	"sync"
	"time"
)

// Throttle lets the same thing be said once per interval, so that a scanner or a
// misconfigured host in a loop does not fill the log.
type Throttle struct {
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

// New returns a throttle that speaks of a subject once per interval.
func New(interval time.Duration) *Throttle {
	return &Throttle{interval: interval, said: map[string]*repeat{}}
}

// Allow says whether to speak of subject now, and how often it was kept quiet
// since the last time.
func (t *Throttle) Allow(now time.Time, subject string) (skipped int, ok bool) {
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

func (t *Throttle) forget(now time.Time) {
	for subject, last := range t.said {
		if now.Sub(last.at) >= t.interval {
			delete(t.said, subject)
		}
	}
}
