package lab

import (
	"testing"
	"time"
)

func showReplay(t *testing.T) *Replay {
	t.Helper()
	begin := time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC).Add((showRow % 288) * tick)
	r, err := NewReplay(roles(), showRow, begin, begin, showScale)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The show rests on its history alone: on each of its days the first host's guests
// need more than it can give for about an hour, which begins between 15:10 and
// 16:20, and hardly at another time.
func TestShowHasItsHour(t *testing.T) {
	r := showReplay(t)
	for day := range showRow / 288 {
		var over []int // rows of the day
		for row := range 288 {
			needed := 0
			for _, role := range r.Roles {
				if role.Host == 0 {
					needed += r.at(role, r.Begin.Add(time.Duration(day*288+row-r.Row)*tick))
				}
			}
			if float64(needed) > 100*showCores {
				over = append(over, row)
			}
		}
		outside := 0
		for _, row := range over {
			if row-over[0] > 14 {
				outside++
			}
		}
		if len(over) < 8 || len(over) > 14 || over[0] < 15*12+2 || over[0] > 16*12+4 || outside > 1 {
			t.Errorf("day %d: over in rows %v", day, over)
		}
	}
	for _, role := range r.Roles {
		if mean := r.mean(role); mean < 0.03 || mean > 0.3 {
			t.Errorf("guest %s uses %.2f cores on average", role.Guest.Name, mean)
		}
	}
}

// The clock maps wall time to load time, rows begin with the first one that is not
// history, and before and after the record its ends stand.
func TestReplayClock(t *testing.T) {
	r := showReplay(t)
	if got := r.Load(r.Wall.Add(3 * time.Second)); !got.Equal(r.Begin.Add(5 * time.Minute)) {
		t.Errorf("three seconds on it is %s", got)
	}
	role := Role{Column: "steps", Scale: 2}
	r.columns["steps"] = []float64{10, 20, 30, 80}
	r.Row = 2
	for after, want := range map[time.Duration]int{-time.Hour: 20, -tick: 40, 0: 60, tick - 1: 60, tick: 100, time.Hour: 100} {
		if got := r.at(role, r.Begin.Add(after)); got != want {
			t.Errorf("%s after its begin: %d %%, want %d", after, got, want)
		}
	}
	if _, err := NewReplay([]Role{{Column: "no such"}}, 1, r.Begin, r.Wall, 1); err == nil {
		t.Error("a column that is not there was taken")
	}
}
