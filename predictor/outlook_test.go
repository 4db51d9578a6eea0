package predictor

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestOutlookOfAKnownSeries holds the outlook against the history read directly.
func TestOutlookOfAKnownSeries(t *testing.T) {
	const ticks = 9*ticksPerDay + 101
	values := make([]float64, ticks)
	load := storyLoad(1000, 600, 50, 800, 14)
	for i := range values {
		values[i] = math.Round(load(int64(i)) + float64(i*i%97))
	}
	s := NewSeries()
	for i, v := range values {
		s.record(int64(i), v)
	}
	now := ticks - 1
	f := s.Outlook()
	largest := func(from, to int) float32 { return float32(slices.Max(values[from:to])) }
	check := func(name string, got, want float32) {
		t.Helper()
		if math.Abs(float64(got-want)) > 1e-4*(1+math.Abs(float64(want))) {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	check("history", f[outlookHistory], 1)
	check("phase", f[outlookPhase], float32(now%ticksPerDay))
	for i, lag := range outlookLagTicks {
		check("lag", f[outlookLags+i], float32(values[now-lag]))
	}
	for i, w := range outlookMeanWindows {
		sum := 0.0
		for _, v := range values[now-w+1:] {
			sum += v
		}
		check("mean", f[outlookMeans+i], float32(sum/float64(w)))
	}
	for i, w := range outlookMaxWindows {
		check("maximum", f[outlookMaxima+i], largest(now-w+1, ticks))
	}
	for d := range 7 {
		check("day", f[outlookDays+d], largest(now-(d+1)*ticksPerDay+1, now-d*ticksPerDay+1))
	}
	for i, h := range Horizons {
		at := f[outlookTargets+i*outlookPerTarget:][:outlookPerTarget]
		past := func(day int) float32 { return float32(h.target(values, now-day*ticksPerDay)) }
		sum, most := float32(0), float32(0)
		for day := 1; day <= 7; day++ {
			sum, most = sum+past(day)/7, max(most, past(day))
		}
		check(h.String()+" mean", at[targetMean], sum)
		check(h.String()+" max", at[targetMax], most)
		check(h.String()+" day", at[targetDay], past(1))
		check(h.String()+" week", at[targetWeek], past(7))
		// The moves, sampled as the outlook does, ending with the last full hour.
		hour := now - now%Steps - 1
		rough, n := 0.0, 0.0
		for age := 0; age < ticksPerWeek-Steps && age+h.Ticks < ringTicks; age += targetStride {
			origin := hour - age - h.Ticks
			from := values[max(origin, 0)]
			if h.Peak {
				if origin-Steps+1 < hour-ringTicks+1 {
					continue
				}
				from = slices.Max(values[origin-Steps+1 : origin+1])
			}
			rough, n = rough+math.Abs(h.target(values, origin)-from), n+1
		}
		check(h.String()+" rough", at[targetRough], float32(rough/n))
	}
}

// TestOutlookFollowsTheWorkload: a series that moved goes on with the very same
// outlook, and what is computed once an hour does not depend on when it was
// asked for.
func TestOutlookFollowsTheWorkload(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 3*ticksPerDay).Draw(t, "ticks")
		seed := rapid.Uint64().Draw(t, "seed")
		gaps := rapid.IntRange(2, 50).Draw(t, "every which tick is missing")
		ask := rapid.IntRange(1, 40).Draw(t, "asked every")
		rng := sequenceRandom(seed)
		s := NewSeries()
		for i := range n {
			if i%gaps == gaps-1 {
				continue
			}
			s.Observe(int64(i), float64(rng.below(5000)))
			if i%ask == 0 {
				s.Outlook()
			}
		}
		data, err := s.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		moved := NewSeries()
		if err := moved.UnmarshalBinary(data); err != nil {
			t.Fatal(err)
		}
		a, b := s.Outlook(), moved.Outlook()
		for i := range a {
			if math.Float32bits(a[i]) != math.Float32bits(b[i]) && (a[i] == a[i] || b[i] == b[i]) {
				t.Fatalf("feature %d is %v here and %v there", i, a[i], b[i])
			}
		}
	})
	if NewSeries().Outlook() != nil {
		t.Error("an empty series has an outlook")
	}
}

// TestWindowMaxima compares the doubling with a plain search.
func TestWindowMaxima(t *testing.T) {
	var ages [ringTicks]float32
	rng := sequenceRandom(7)
	for i := range ages {
		ages[i] = float32(rng.below(1000))
		if rng.below(20) == 0 {
			ages[i] = float32(math.NaN())
		}
	}
	for _, n := range []int{1, 2, 3, 7, Steps, ticksPerDay} {
		got := windowMaxima(&ages, n)
		for age := range ringTicks - n + 1 {
			want := maximum(ages[age : age+n])
			if got[age] != want && (got[age] == got[age] || want == want) {
				t.Fatalf("the largest of %d from age %d is %v, want %v", n, age, got[age], want)
			}
		}
		if n > 1 && got[ringTicks-1] == got[ringTicks-1] {
			t.Errorf("a window of %d that leaves the ring has the maximum %v", n, got[ringTicks-1])
		}
	}
}
