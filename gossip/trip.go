package gossip

import "time"

// floorWindow is how long a low round-trip time counts, at least: a member is
// probed once in as many seconds as there are members.
const floorWindow = 5 * time.Minute

// floor is the lowest round-trip time of the current and the previous window.
// Busy CPUs and queues only ever add to a distance, so the lowest is nearest to
// it; a way that has become longer shows after two windows.
type floor struct {
	began       time.Time
	now, before time.Duration // 0: none
}

func (f *floor) add(at time.Time, rtt time.Duration) {
	if rtt <= 0 {
		return
	}
	if f.began.IsZero() || at.Sub(f.began) >= floorWindow {
		f.began, f.now, f.before = at, 0, f.now
	}
	if f.now == 0 || rtt < f.now {
		f.now = rtt
	}
}

func (f *floor) lowest() time.Duration {
	if f.before > 0 && f.before < f.now {
		return f.before
	}
	return f.now
}
