package precopy

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestIntervalMeetsTheTarget: what is written in an interval can be sent within the
// target, and a longer interval would not do.
func TestIntervalMeetsTheTarget(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, link := drawModel(t), drawLink(t)
		target := time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, "target"))
		tau := m.Interval(link, target)
		down := func(d time.Duration) time.Duration { return link.downtimeFor(m.Dirty(d)) }
		const grain = 10 * time.Microsecond // of the arithmetic
		switch {
		case tau == 0:
			if link.FixedCutover < target-grain && m.WriteRate > 1 && m.Dirty(time.Microsecond) < 1 {
				t.Fatalf("nothing is short enough, and %s of the target are left", target-link.FixedCutover)
			}
		case tau == math.MaxInt64:
			if got := down(tau); got > target+grain {
				t.Fatalf("any interval will do, and in the end the downtime is %s, target %s", got, target)
			}
		default:
			if got := down(tau); got > target+grain {
				t.Fatalf("after %s the downtime is %s, target %s", tau, got, target)
			}
			longer := tau + min(tau/10+time.Millisecond, math.MaxInt64-tau)
			if got := down(longer); got <= target-grain && got < link.downtimeFor(m.Dirty(math.MaxInt64))-grain {
				t.Fatalf("%s is not the longest interval: after %s the downtime is %s, target %s", tau, longer, got, target)
			}
		}
	})
}

// TestIntervalOfTheExample is the one in the comment.
func TestIntervalOfTheExample(t *testing.T) {
	m := Model{WriteRate: 8 * mib, WorkingSet: 64 * mib}
	got := m.Interval(Link{Bandwidth: 256 * mib, FixedCutover: 20 * time.Millisecond}, 100*time.Millisecond)
	if got < 3050*time.Millisecond || got > 3110*time.Millisecond {
		t.Errorf("%s", got)
	}
}

// TestEstimateCountsTheWait: rounds with pauses between them show the same model as
// rounds without.
func TestEstimateCountsTheWait(t *testing.T) {
	want := Model{WriteRate: 8 * mib, WorkingSet: 64 * mib}
	rounds := copied(want, Link{Bandwidth: 256 * mib}, 1024*mib, 3)
	for i, waited := range []time.Duration{time.Second, 3 * time.Second, 9 * time.Second} {
		before := rounds[len(rounds)-1]
		dirty := want.Dirty(before.Took + waited)
		rounds = append(rounds, before)
		last := &rounds[len(rounds)-1]
		last.Round, last.Dirty, last.Waited = 4+i, int64(dirty), waited
		last.Took = seconds(dirty / (256 * mib))
	}
	got := Estimate(rounds)
	if math.Abs(got.WriteRate/want.WriteRate-1) > 0.02 || math.Abs(got.WorkingSet/want.WorkingSet-1) > 0.02 {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
