package predictor

import (
	"math"
	"strings"
	"testing"
)

// opinionsAround gives every expert the quantiles of a bell of width 1 around a
// centre of its own.
func opinionsAround(centres [ExpertCount]float64) Opinions {
	o := Opinions{Scale: 1}
	for e, c := range centres {
		for q, z := range [...]float64{0, 1.2816, 1.6449, 2.3263} {
			o.Of[e][q] = c + z
		}
	}
	return o
}

func bell(rng *sequenceRandom) float64 {
	return math.Sqrt2 * math.Erfinv(2*(float64(rng.below(1<<20))+0.5)/(1<<20)-1)
}

// TestBlendFindsTheChampion: a pool that is far off loses its say to the expert
// that is right, and keeps it where it is right.
func TestBlendFindsTheChampion(t *testing.T) {
	for _, c := range []struct {
		name     string
		centres  [ExpertCount]float64
		champion int
	}{
		{"pool", [ExpertCount]float64{100, 103, 97, 110}, expertPool},
		{"history", [ExpertCount]float64{104, 97, 100, 110}, expertHistory},
	} {
		o := opinionsAround(c.centres)
		var cal Calibration
		rng := sequenceRandom(5)
		for range 500 {
			cal.Observe(Horizons[0], &o, 100+bell(&rng), nil)
		}
		w := cal.weights(guardOf(Horizons[0]), &o)
		if w[c.champion] < 0.9 {
			t.Errorf("%s: weights %v", c.name, w)
		}
		var q [LevelCount]float64
		cal.Blend(Horizons[0], &o, nil, &q)
		if math.Abs(q[0]-100) > 0.5 {
			t.Errorf("%s: the median is %v", c.name, q[0])
		}
	}
}

// TestSharedShiftCovers: where the experts of every series are too narrow for
// targets a day ahead, the quantiles of all move until they cover their share; for
// 15 minutes ahead the shared shift does not count.
func TestSharedShiftCovers(t *testing.T) {
	const series = 20
	o := opinionsAround([ExpertCount]float64{100, 100, 100, 100})
	cover := func(h Horizon) float64 {
		var cals [series]Calibration
		var shared Shared
		rng := sequenceRandom(9)
		covered, n := 0.0, 0.0
		for step := range 3000 {
			for i := range cals {
				truth := 100 + 3*bell(&rng)
				var q [LevelCount]float64
				cals[i].Blend(h, &o, &shared, &q)
				if step >= 2000 {
					n, covered = n+1, covered+boolean(truth <= q[2])
				}
				cals[i].Observe(h, &o, truth, &shared)
				shared.Observe(h, &q, truth, series)
			}
		}
		return covered / n
	}
	// Without a shift it would be .708.
	if c := cover(Horizon{ticksPerDay, false}); c < 0.93 || c > 0.97 {
		t.Errorf("a day ahead the .95 quantile covers %.3f", c)
	}
	// Daily peaks have no shift of their own: that of all covers them alone.
	if c := cover(Horizon{ticksPerDay, true}); c < 0.92 || c > 0.98 {
		t.Errorf("of daily peaks the .95 quantile covers %.3f", c)
	}
	if c := cover(Horizon{3, false}); c > 0.9 {
		t.Errorf("15 minutes ahead the .95 quantile covers %.3f: the shared shift counts", c)
	}
}

// TestNoPoolIsNoOpinion: before a model exists the baselines serve alone, and
// nothing becomes NaN.
func TestNoPoolIsNoOpinion(t *testing.T) {
	s := NewSeries()
	for i := range 40 {
		s.record(int64(i), 100)
	}
	for h := range Horizons {
		o, _ := OpinionsOf(nil, s.Outlook(), h)
		if _, ok := OpinionsOf(nil, make([]float32, 7), h); ok {
			t.Error("an outlook of another layout is read")
		}
		var cal Calibration
		var q [LevelCount]float64
		cal.Observe(Horizons[h], &o, 100, nil)
		cal.Blend(Horizons[h], &o, nil, &q)
		for _, v := range q {
			if !(v >= 90 && v <= 110) {
				t.Errorf("%s of a constant load with 40 ticks of history: %v", Horizons[h], q)
			}
		}
	}
}

// TestCalibrationsTravel: bytes bring back the same state, damage is refused, and
// merging two halves in either order gives the same.
func TestCalibrationsTravel(t *testing.T) {
	var a, b Calibrations
	o := opinionsAround([ExpertCount]float64{100, 101, 99, 103})
	rng := sequenceRandom(2)
	for i := range 300 {
		a[0].Observe(Horizons[0], &o, 100+bell(&rng), nil)
		if i%2 == 0 {
			b[0].Observe(Horizons[0], &o, 100+2*bell(&rng), nil)
		}
	}
	data, err := a.MarshalBinary()
	if err != nil || len(data) != calibrationsSize {
		t.Fatalf("%d bytes, %v", len(data), err)
	}
	var read Calibrations
	if err := read.UnmarshalBinary(data); err != nil || read != a {
		t.Errorf("came back as another state (%v)", err)
	}
	for i := range data {
		data[i] ^= 1
		kept := read
		if read.UnmarshalBinary(data) == nil || read != kept {
			t.Fatalf("byte %d may be damaged", i)
		}
		data[i] ^= 1
	}
	ab, ba := a[0], b[0]
	ab.Merge(&b[0])
	ba.Merge(&a[0])
	if ab != ba || ab.Weight != a[0].Weight+b[0].Weight {
		t.Errorf("merged to %+v and %+v", ab, ba)
	}
	empty := Calibration{}
	empty.Merge(&a[0])
	if empty != a[0] {
		t.Error("merging into nothing changes the state")
	}
}

// TestGate: closed without figures, for a forecast that covers too little and for
// one that loses to persistence; each says why.
func TestGate(t *testing.T) {
	run := func(centres [ExpertCount]float64, spread float64, targets int) Gate {
		o := opinionsAround(centres)
		var cal Calibration
		rng := sequenceRandom(4)
		for range targets {
			cal.Observe(Horizons[0], &o, 100+spread*bell(&rng), nil)
		}
		return cal.Gate()
	}
	good := [ExpertCount]float64{100, 102, 102, 102}
	if g := run(good, 1, 400); !g.Open || g.Reason != "" || g.Skill < 0.1 || g.Coverage < 0.9 {
		t.Errorf("a good forecast: %+v", g)
	}
	for reason, g := range map[string]Gate{
		"have been judged": run(good, 1, 20),
		"quantile covered": run(good, 20, 200),
		"its loss was":     run([ExpertCount]float64{101.5, 100, 104, 104}, 1, gateTargets+15),
	} {
		if g.Open || !strings.Contains(g.Reason, reason) {
			t.Errorf("want a gate closed because %q, got %+v", reason, g)
		}
	}
}
