package workload

import (
	"testing"
	"time"
)

// TestDebtIsForgotten: clients that keep a workload busier than its trace asks
// for, hour after hour, take nothing off the next peak; and a peak that contention
// kept from running is not made up for later.
func TestDebtIsForgotten(t *testing.T) {
	const serving, peak = 5.0, 100.0 // millicores
	of := func(millicores float64) time.Duration {
		return time.Duration(millicores / 1000 * float64(period))
	}
	state := testState(t, 1)
	for _, c := range []struct {
		name       string
		used, asks float64 // while it is off balance, in millicores
	}{
		{"serves more than it is asked to burn", serving, 1},
		{"gets less than it asks for", serving, peak},
	} {
		l := labour{state: state}
		now, used := testClock.Wall, time.Duration(0)
		l.account(now, used, c.asks)
		for range 20 * 60 { // a minute of it
			now, used = now.Add(period), used+of(c.used)
			l.account(now, used, c.asks)
		}
		// Then a peak, in which it burns whatever it has credit for.
		var got time.Duration
		for range 20 {
			now = now.Add(period)
			l.account(now, used, peak)
			burnt := max(l.credit, 0)
			used, got = used+burnt, got+burnt
		}
		want := 20 * of(peak)
		if got < want-2*of(peak) || got > want+2*of(peak) {
			t.Errorf("%s: burns %s in the first second of a peak, want %s give or take two periods", c.name, got, want)
		}
	}
}
