package predictor

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// A load that repeats daily is foretold exactly, by every past day.
func TestReplayOfWhatRepeats(t *testing.T) {
	r := Replay{Days: 3, Offsets: []int{1, 12, 144, 288}, HalfLife: 12}
	load := func(tick int) float32 { return float32(100 + tick%ticksPerDay) }
	history := make([]float32, r.Ticks()+40)
	for i := range history {
		history[i] = load(i)
	}
	out := make([]float32, r.Len())
	if !r.Fill(history, out) {
		t.Fatal("a long history is too short")
	}
	now := len(history) - 1
	for day := range r.Days {
		for i, k := range r.Offsets {
			if got, want := out[day*len(r.Offsets)+i], load(now+k); got != want {
				t.Errorf("day %d, %d ticks ahead: %v, want %v", day, k, got, want)
			}
		}
	}
}

// What is different today fades by half per half-life: 80 more than on the past
// days is 40 more a half-life ahead, and hardly anything a day ahead.
func TestReplayFadesTheDifference(t *testing.T) {
	r := Replay{Days: 1, Offsets: []int{12, 24, 288}, HalfLife: 12}
	history := make([]float32, r.Ticks())
	for i := range history {
		history[i] = 100
	}
	history[len(history)-1] = 180
	out := make([]float32, r.Len())
	r.Fill(history, out)
	// The newest value stands a day ahead itself.
	for i, want := range []float64{140, 120, 180} {
		if math.Abs(float64(out[i])-want) > 0.01 {
			t.Errorf("%d ticks ahead: %v, want %v", r.Offsets[i], out[i], want)
		}
	}
}

// Whatever the history, gaps included: values are numbers and never negative; a
// history that is too short says so and goes on with the newest value.
func TestReplayProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Replay{Days: rapid.IntRange(1, 3).Draw(t, "days"), Offsets: []int{1, 50, 288}, HalfLife: rapid.Float64Range(1, 100).Draw(t, "half-life")}
		long := rapid.Bool().Draw(t, "long")
		n := rapid.IntRange(0, r.Ticks()-1).Draw(t, "ticks")
		if long {
			n = r.Ticks() + rapid.IntRange(0, 50).Draw(t, "more")
		}
		seed := rapid.Int64().Draw(t, "seed")
		gaps := rapid.IntRange(0, 4).Draw(t, "gaps")
		history := make([]float32, n)
		for i := range history {
			history[i] = float32(1000 * hash(seed+int64(i)))
			if gaps > 0 && hash(seed-int64(i)) < float64(gaps)/5 {
				history[i] = float32(math.NaN())
			}
		}
		out := make([]float32, r.Len())
		for i := range out {
			out[i] = -1 // whatever was there
		}
		if got := r.Fill(history, out); got != long {
			t.Fatalf("%d ticks: %t", n, got)
		}
		for i, v := range out {
			if !(v >= 0) || math.IsInf(float64(v), 0) {
				t.Fatalf("value %d: %v", i, v)
			}
			if newest := float32(0); !long && n > 0 {
				if newest = history[n-1]; newest == newest && v != newest {
					t.Fatalf("a short history goes on with %v, not its newest %v", v, newest)
				}
			}
		}
	})
}
