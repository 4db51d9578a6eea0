package gossip

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestLowestTrip: the lowest round trip is that of the last two windows in which
// there was a probe; a window ends with the first probe after its time.
func TestLowestTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var f floor
		if f.lowest() != 0 {
			t.Fatal("a way that was never measured has a length")
		}
		var windows [][]time.Duration
		var began time.Time
		at := time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)
		for range rapid.IntRange(1, 60).Draw(t, "probes") {
			at = at.Add(time.Duration(rapid.Int64Range(0, int64(2*floorWindow)).Draw(t, "pause")))
			rtt := time.Duration(rapid.Int64Range(1, int64(20*time.Millisecond)).Draw(t, "rtt"))
			if len(windows) == 0 || at.Sub(began) >= floorWindow {
				windows, began = append(windows, nil), at
			}
			last := len(windows) - 1
			windows[last] = append(windows[last], rtt)
			f.add(at, rtt)
			f.add(at, 0) // no measurement
			want := slices.Min(slices.Concat(windows[max(0, last-1):]...))
			if got := f.lowest(); got != want {
				t.Fatalf("%s, want %s: %v", got, want, windows)
			}
		}
	})
}

// TestLongerWayShows: a way that has become longer shows after two windows.
func TestLongerWayShows(t *testing.T) {
	var f floor
	at := time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)
	for range 100 {
		at = at.Add(10 * time.Second)
		f.add(at, time.Millisecond)
	}
	f.add(at.Add(time.Second), 40*time.Millisecond) // one that waited
	if got := f.lowest(); got != time.Millisecond {
		t.Fatalf("one slow probe made the way %s long", got)
	}
	changed := at
	for f.lowest() == time.Millisecond {
		at = at.Add(10 * time.Second)
		f.add(at, 9*time.Millisecond)
		if at.Sub(changed) > 2*floorWindow+10*time.Second {
			t.Fatalf("the old length still counts %s after the change", at.Sub(changed))
		}
	}
	if got := f.lowest(); got != 9*time.Millisecond {
		t.Fatalf("the way is %s long", got)
	}
}
