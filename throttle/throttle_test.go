package throttle

import (
	"strings"
	"testing"
	"time"
)

func TestSaysOncePerIntervalAndCounts(t *testing.T) {
	th := New(time.Minute)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	if _, ok := th.Allow(now, "x"); !ok {
		t.Fatal("the first time was kept quiet")
	}
	for range 3 {
		if _, ok := th.Allow(now.Add(time.Minute-1), "x"); ok {
			t.Fatal("said twice within the interval")
		}
	}
	if skipped, ok := th.Allow(now.Add(time.Minute), "x"); !ok || skipped != 3 {
		t.Fatalf("after the interval: skipped %d, ok %v; want 3, true", skipped, ok)
	}
	for i := range 2 * maxSubjects {
		th.Allow(now, strings.Repeat("y", i))
	}
	if len(th.said) > maxSubjects {
		t.Fatalf("it remembers %d subjects, at most %d may be", len(th.said), maxSubjects)
	}
	if _, ok := th.Allow(now.Add(3*time.Minute), "new"); !ok {
		t.Fatal("old subjects were not forgotten")
	}
}
