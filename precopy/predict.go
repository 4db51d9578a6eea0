package precopy

import (
	"math"
	"time"
)

// Link is what carries the copy.
type Link struct {
	// Bandwidth in bytes per second on the wire. A LOW percentile of what was
	// measured, not the mean: the last round meets the bad moment. Zero or
	// less means unmeasured and counts as DefaultBandwidth.
	Bandwidth float64
	// WireRatio is bytes on the wire per byte of state, after delta and
	// compression; zero or less means unmeasured and counts as 1.
	WireRatio float64
	// FixedCutover is the part of the downtime that no bandwidth shortens:
	// freeze, commit in Raft, activation, switching the traffic.
	FixedCutover time.Duration
}

// Target is what a move should reach and may spend.
type Target struct {
	// Downtime to reach; zero means DefaultDowntime.
	Downtime time.Duration
	// Limit is the longest downtime that is still better than giving up;
	// zero means ten times Downtime.
	Limit time.Duration
	// MaxRounds of copying; zero means DefaultMaxRounds.
	MaxRounds int
	// MaxBytes on the wire; zero means four times what sending the whole
	// state once would put on it.
	MaxBytes int64
}

// What an unmeasured link or an unstated target counts as.
const (
	// DefaultBandwidth is 1 Gbit/s, the slowest link a hypervisor still has.
	DefaultBandwidth = 125e6
	// DefaultDowntime is what QEMU aims at too.
	DefaultDowntime  = 300 * time.Millisecond
	DefaultMaxRounds = 16
	// budgetFactor times the whole state, when the target names no budget.
	budgetFactor = 4
	// limitFactor times the target is the longest tolerable downtime.
	limitFactor = 10
	// minShrink: a round that leaves more than this part of the round before
	// it will not get there.
	minShrink = 0.95
)

func (l Link) secondsFor(state float64) float64 {
	return state * l.ratio() / l.bandwidth()
}

func (l Link) bandwidth() float64 {
	if l.Bandwidth <= 0 {
		return DefaultBandwidth
	}
	return l.Bandwidth
}

func (l Link) ratio() float64 {
	if l.WireRatio <= 0 {
		return 1
	}
	return l.WireRatio
}

// downtimeFor is how long the workload is down while so much state is sent.
func (l Link) downtimeFor(state float64) time.Duration {
	return addDurations(seconds(l.secondsFor(state)), l.FixedCutover)
}

func (t Target) withDefaults(size float64, l Link) Target {
	if t.Downtime <= 0 {
		t.Downtime = DefaultDowntime
	}
	if t.Limit <= 0 {
		t.Limit = limitFactor * t.Downtime
	}
	if t.MaxRounds <= 0 {
		t.MaxRounds = DefaultMaxRounds
	}
	if t.MaxBytes <= 0 {
		t.MaxBytes = whole(budgetFactor * size * l.ratio())
	}
	return t
}

// Prediction is what a move will cost, in machine time.
type Prediction struct {
	// Duration from the first byte to the activation, downtime included.
	Duration time.Duration
	Downtime time.Duration
	// Bytes on the wire, the last copy included.
	Bytes int64
	// Rounds copied while the workload runs.
	Rounds int
	// Converges: the downtime meets the target. Otherwise the move ends with
	// the downtime given, at the round where more copying stops paying.
	Converges bool
}

// Predict plays a move of size bytes through the model. Rounds follow each other
// without a pause; the move is cut as soon as what is left meets the target. If
// it never does within the budget, it is cut where Next would: at the first
// round that shrinks by less than 5 %, or when the budget is spent.
func (m Model) Predict(link Link, size int64, target Target) Prediction {
	state := float64(max(size, 0))
	target = target.withDefaults(state, link)
	if p, ok := m.play(link, state, target, false); ok {
		return p
	}
	p, _ := m.play(link, state, target, true)
	return p
}

// play runs the rounds; impatient says to stop at the first that hardly shrinks.
func (m Model) play(link Link, size float64, target Target, impatient bool) (Prediction, bool) {
	var p Prediction
	var spent, elapsed float64
	dirty := size
	for {
		took := link.secondsFor(dirty)
		elapsed += took
		spent += dirty * link.ratio()
		p.Rounds++
		left := min(m.dirtyAfter(took), size)
		p.Downtime = link.downtimeFor(left)
		p.Converges = p.Downtime <= target.Downtime
		if p.Converges || p.Rounds >= target.MaxRounds || spent+left*link.ratio() > float64(target.MaxBytes) ||
			impatient && p.Rounds > 1 && left > minShrink*dirty {
			p.Duration = addDurations(seconds(elapsed), p.Downtime)
			p.Bytes = whole(spent + left*link.ratio())
			return p, p.Converges
		}
		dirty = left
	}
}

// seconds and whole saturate: a hopeless link must not wrap round into a fast one.
func seconds(s float64) time.Duration {
	if ns := s * float64(time.Second); ns < math.MaxInt64 {
		return time.Duration(math.Ceil(ns))
	}
	return math.MaxInt64
}

func whole(f float64) int64 {
	if f < math.MaxInt64 {
		return int64(math.Ceil(f))
	}
	return math.MaxInt64
}

func addDurations(a, b time.Duration) time.Duration {
	if b > 0 && a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
