package predictor

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"
)

// poolExamples are moments of a few simple loads: a daily wave with noise.
func poolExamples(series int) []Example {
	var out []Example
	for i := range series {
		values := waveLoad(i, 11*ticksPerDay)
		s := NewSeries()
		for tick, v := range values {
			s.record(int64(tick), v)
			if tick < 8*ticksPerDay || tick%9 != 0 {
				continue
			}
			e := Example{Outlook: s.Outlook()}
			for h := range Horizons {
				e.Targets[h] = float32(Horizons[h].target(values, tick))
			}
			out = append(out, e)
		}
	}
	return out
}

func waveLoad(seed, ticks int) []float64 {
	rng := sequenceRandom(seed)
	values := make([]float64, ticks)
	for t := range values {
		wave := math.Sin(2 * math.Pi * float64(t) / ticksPerDay)
		values[t] = float64(500*(seed+1)) * (1 + 0.5*wave + float64(rng.below(1000))/5000)
	}
	return values
}

var quickPool = PoolConfig{Seed: 3, Trees: 12, Leaves: 8, Rate: 0.3, Only: []Horizon{{3, false}, {Steps, true}}}

// TestPoolIsDeterministic: the same examples and seed give the same bytes on one
// thread and on two, and another seed other ones.
func TestPoolIsDeterministic(t *testing.T) {
	examples := poolExamples(6)
	serial, err := TrainPool(examples, quickPool, nil)
	if err != nil {
		t.Fatal(err)
	}
	parallel, err := TrainPool(examples, quickPool, twoThreads)
	if err != nil {
		t.Fatal(err)
	}
	a, err := serial.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	b, _ := parallel.MarshalBinary()
	if !bytes.Equal(a, b) {
		t.Error("two threads train other models than one")
	}
	other := quickPool
	other.Seed++
	seeded, err := TrainPool(examples, other, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c, _ := seeded.MarshalBinary(); bytes.Equal(a, c) {
		t.Error("the seed changes nothing")
	}
}

// TestPoolForecasts: quantiles ascend, are not negative, cover what they promise
// on series of the same kind that were not trained on, and models that went
// through bytes say the same.
func TestPoolForecasts(t *testing.T) {
	p, err := TrainPool(poolExamples(6), quickPool, twoThreads)
	if err != nil {
		t.Fatal(err)
	}
	data, err := p.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	read, err := DecodePool(data)
	if err != nil {
		t.Fatal(err)
	}
	if a, _ := p.Hash(); true {
		if b, _ := read.Hash(); a != b {
			t.Error("the hash changed on the way")
		}
	}
	var n, covered float64
	values := waveLoad(40, 11*ticksPerDay)
	s := NewSeries()
	for tick, v := range values {
		s.record(int64(tick), v)
		truth := Horizons[0].target(values, tick)
		if tick < 8*ticksPerDay || truth != truth {
			continue
		}
		var q, again [LevelCount]float64
		if !p.Forecast(s.Outlook(), 0, &q) || !read.Forecast(s.Outlook(), 0, &again) {
			t.Fatal("no forecast")
		}
		if q != again {
			t.Fatalf("decoded models say %v, not %v", again, q)
		}
		if !slices.IsSorted(q[:]) || q[0] < 0 {
			t.Fatalf("quantiles %v", q)
		}
		n++
		if truth <= q[1] {
			covered++
		}
	}
	if c := covered / n; c < 0.85 || c > 0.96 {
		t.Errorf("the .9 quantile covers %.3f of an unseen series", c)
	}
	var q [LevelCount]float64
	if p.Ready(3) || p.Forecast(s.Outlook(), 3, &q) {
		t.Error("a horizon that was not trained has a forecast")
	}
	if p.Forecast(make([]float32, 3), 0, &q) || (*Pool)(nil).Ready(0) {
		t.Error("a forecast without ground")
	}
}

// TestTrainPoolRefuses what it cannot be trained on, with the reason.
func TestTrainPoolRefuses(t *testing.T) {
	few := poolExamples(3)
	if _, err := TrainPool(few, quickPool, nil); err == nil || !strings.Contains(err.Error(), "wait for more history") {
		t.Errorf("too few examples: %v", err)
	}
	if _, err := TrainPool([]Example{{Outlook: make([]float32, 5)}}, quickPool, nil); err == nil || !strings.Contains(err.Error(), "5 features") {
		t.Errorf("another layout: %v", err)
	}
	if _, err := TrainPool(nil, PoolConfig{Only: []Horizon{{7, false}}}, nil); err == nil || !strings.Contains(err.Error(), "35m") {
		t.Errorf("another horizon: %v", err)
	}
	many := make([]Example, 3*MaxExamples+7)
	for i := range many {
		many[i].Targets[0] = float32(i)
	}
	if got := thinned(many); len(got) != MaxExamples || got[0].Targets[0] != 0 || got[MaxExamples-1].Targets[0] < 3*MaxExamples-4 {
		t.Errorf("thinned to %d", len(got))
	}
}

// TestDecodePoolRefuses damaged bytes at any place.
func TestDecodePoolRefuses(t *testing.T) {
	p, err := TrainPool(poolExamples(6), PoolConfig{Trees: 2, Leaves: 3, Only: []Horizon{{3, false}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	data, _ := p.MarshalBinary()
	for i := 0; i < len(data); i += 7 {
		damaged := slices.Clone(data)
		damaged[i] ^= 0x40
		if _, err := DecodePool(damaged); err == nil {
			t.Fatalf("byte %d may be anything", i)
		}
		if _, err := DecodePool(data[:i]); err == nil {
			t.Fatalf("%d of %d bytes are enough", i, len(data))
		}
	}
}

// FuzzDecodePool: no bytes make it fail otherwise than by an error, and what is
// accepted encodes to the same bytes.
func FuzzDecodePool(f *testing.F) {
	p, err := TrainPool(poolExamples(6), PoolConfig{Trees: 1, Leaves: 2, Only: []Horizon{{3, false}}}, nil)
	if err != nil {
		f.Fatal(err)
	}
	data, _ := p.MarshalBinary()
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := DecodePool(data)
		if err != nil {
			return
		}
		if again, err := p.MarshalBinary(); err != nil || !bytes.Equal(again, data) {
			t.Errorf("%d bytes became %d (%v)", len(data), len(again), err)
		}
	})
}
