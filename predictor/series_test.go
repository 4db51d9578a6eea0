package predictor

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/placed-dev/placed/fleet"
	"pgregory.net/rapid"
)

// observations draws a load with a level, a daily shape, noise, gaps, NaN,
// negative values and ticks out of order.
func observations(rt *rapid.T, most int) []observation {
	n := rapid.IntRange(1, most).Draw(rt, "n")
	seed := rapid.Uint64().Draw(rt, "seed")
	gaps := rapid.SampledFrom([]uint64{0, 5, 60}).Draw(rt, "gaps per thousand")
	next := func() uint64 {
		seed = seed*6364136223846793005 + 1442695040888963407
		return seed >> 33
	}
	tick := rapid.Int64Range(-5000, 1e7).Draw(rt, "start")
	level := rapid.Float64Range(0, 1e10).Draw(rt, "level")
	out := make([]observation, n)
	for i := range out {
		tick++
		if next()%1000 < gaps {
			tick += int64(next() % 40)
		}
		if gaps == 60 && next()%2000 == 0 {
			tick += int64(next() % 4000)
		}
		v := level * (1 + 0.5*math.Sin(float64(tick)/288*2*math.Pi) + float64(next()%1000)/1000)
		switch next() % 200 {
		case 0:
			v = math.NaN()
		case 1:
			v = -v
		}
		out[i] = observation{tick, v}
		if next()%300 == 0 {
			out[i].tick -= 3
		}
	}
	return out
}

type observation struct {
	tick  int64
	value float64
}

// TestSeriesFollowsTheWorkload: a history that is encoded and decoded anywhere
// on its way ends in the same bytes, features and residuals.
func TestSeriesFollowsTheWorkload(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		stayed, moved := NewSeries(), NewSeries()
		all := observations(rt, 400)
		at := rapid.IntRange(0, len(all)-1).Draw(rt, "move")
		for i, o := range all {
			if i == at {
				data, err := moved.MarshalBinary()
				if err != nil {
					rt.Fatal(err)
				}
				moved = NewSeries()
				moved.Observe(7, 99) // what was there before is replaced
				if err := moved.UnmarshalBinary(data); err != nil {
					rt.Fatal(err)
				}
			}
			stayed.Observe(o.tick, o.value)
			moved.Observe(o.tick, o.value)
		}
		a, _ := stayed.MarshalBinary()
		b, _ := moved.MarshalBinary()
		if !bytes.Equal(a, b) || !slices.Equal(stayed.Features(), moved.Features()) {
			rt.Fatal("the series that moved differs")
		}
		for _, f := range stayed.Features() {
			if !finite(float64(f)) {
				rt.Fatalf("features %v", stayed.Features())
			}
		}
		residuals := stayed.Residuals(Window)
		for i, r := range residuals {
			if i > 0 && r.Tick <= residuals[i-1].Tick || r.Tick <= stayed.Tick()-Window || r.Tick > stayed.Tick() || len(r.Errors) != Steps {
				rt.Fatalf("residual %d: %+v", i, r)
			}
			for _, e := range r.Errors {
				if !finite(float64(e)) {
					rt.Fatalf("residual %+v", r)
				}
			}
		}
	})
}

// TestFeaturesByDefinition computes features the plain way from what was put in.
func TestFeaturesByDefinition(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := NewSeries()
		known := map[int64]float64{}
		for _, o := range observations(rt, 2200) {
			if o.tick > s.Tick() || s.Empty() {
				if !math.IsNaN(o.value) {
					known[o.tick] = max(o.value, 0)
				}
			}
			s.Observe(o.tick, o.value)
		}
		if s.Empty() {
			return
		}
		f, now := s.Features(), s.Tick()
		if float64(f[FeatureLags]) != float64(float32(known[now])) {
			rt.Fatalf("newest %v, want %v", f[FeatureLags], known[now])
		}
		window := func(n int64) (mean, largest, sd float64) {
			var values []float64
			for t := now - n + 1; t <= now; t++ {
				if v, ok := known[t]; ok {
					values = append(values, v)
				}
			}
			for _, v := range values {
				mean += v / float64(len(values))
				largest = max(largest, v)
			}
			for _, v := range values {
				sd += (v - mean) * (v - mean) / float64(len(values))
			}
			return mean, largest, math.Sqrt(sd)
		}
		near := func(what string, got float32, want float64) {
			if math.Abs(float64(got)-want) > 1e-4*(1+math.Abs(want)) {
				rt.Fatalf("%s: %v, want %v", what, got, want)
			}
		}
		for i, n := range meanWindows {
			mean, _, _ := window(int64(n))
			near(fmt.Sprint("mean of ", n), f[FeatureMeans+i], mean)
		}
		for i, n := range maxWindows {
			_, largest, _ := window(int64(n))
			near(fmt.Sprint("max of ", n), f[FeatureMaxima+i], largest)
		}
		mean, _, _ := window(ticksPerDay)
		for i, n := range sdWindows {
			_, _, sd := window(int64(n))
			if math.Abs(float64(f[FeatureSDs+i])-sd) > 1e-3*(1+mean) {
				rt.Fatalf("sd of %d: %v, want %v", n, f[FeatureSDs+i], sd)
			}
		}
		for k := int64(1); k <= Steps; k++ {
			if v, ok := known[now+k-ticksPerDay]; ok {
				near("yesterday", f[FeatureSteps+(k-1)*FeaturesPerStep+2], v)
			}
			if v, ok := known[now+k-ticksPerWeek]; ok {
				near("last week", f[FeatureSteps+(k-1)*FeaturesPerStep+3], v)
			}
		}
	})
}

// TestResidualsAreOutOfSample: the error of a tick belongs to the forecasts made
// one to twelve ticks before it, with what was known then.
func TestResidualsAreOutOfSample(t *testing.T) {
	s := NewSeries()
	made := map[int64][Steps]float64{}
	for tick := range int64(900) {
		v := 1000 + 400*math.Sin(float64(tick)/46) + float64(tick*tick%37)
		s.Observe(tick, v)
		r, ok := s.LastResidual()
		if ok != (tick >= Steps) {
			t.Fatalf("tick %d: residual %v", tick, ok)
		}
		for k, e := range r.Errors {
			if want := v - made[tick-int64(k)-1][k]; math.Abs(float64(e)-want) > 1e-3 {
				t.Fatalf("tick %d step %d: error %v, want %v", tick, k+1, e, want)
			}
		}
		var centres [Steps]float64
		for k := range Steps {
			centres[k] = Baseline{}.Centre(s.Features(), k+1)
		}
		made[tick] = centres
	}
	if n := len(s.Residuals(1000)); n != Window {
		t.Errorf("%d residuals, want %d", n, Window)
	}
	if r := s.Residuals(5); len(r) != 5 || r[4].Tick != 899 {
		t.Errorf("the newest five: %+v", r)
	}
}

// TestGaps: the forecast of the last observed tick stands during a short gap;
// after a long one residuals begin anew; after eight days nothing is left.
func TestGaps(t *testing.T) {
	for _, c := range []struct {
		gap       int64
		residual  bool
		remaining bool
	}{{1, true, true}, {5, true, true}, {12, true, true}, {13, false, true}, {2000, false, true}, {3000, false, false}} {
		s := NewSeries()
		for tick := range int64(400) {
			s.Observe(tick, 50)
		}
		next := 400 + c.gap - 1
		s.Observe(next, 60)
		if _, ok := s.LastResidual(); ok != c.residual {
			t.Errorf("after a step of %d ticks there is a residual: %v", c.gap, ok)
		}
		first, values := s.Values(ringTicks)
		known := 0
		for i, v := range values {
			if v == v {
				known++
				if tick := first + int64(i); tick >= 400 && tick < next {
					t.Errorf("missing tick %d has the value %v", tick, v)
				}
			}
		}
		if (known > 1) != c.remaining || values[len(values)-1] != 60 {
			t.Errorf("after a step of %d ticks %d values are known", c.gap, known)
		}
	}
}

func TestObserveIgnores(t *testing.T) {
	s := NewSeries()
	for _, v := range []float64{math.NaN(), math.Inf(1), 1e300} {
		s.Observe(5, v)
	}
	s.Observe(math.MaxInt64, 1)
	s.Observe(math.MinInt64, 1)
	if !s.Empty() || s.Features() != nil || len(s.Residuals(9)) != 0 {
		t.Fatal("nonsense was recorded")
	}
	s.Observe(5, -3)
	s.Observe(5, 8)
	s.Observe(4, 8)
	if s.Tick() != 5 || s.Features()[FeatureLags] != 0 {
		t.Errorf("tick %d, value %v", s.Tick(), s.Features()[FeatureLags])
	}
	if n := cap(s.features) * 4; n > 512 {
		t.Errorf("the features have %d bytes: four resources must fit into 2 KiB", n)
	}
}

func TestUnmarshalRefuses(t *testing.T) {
	s := NewSeries()
	s.Observe(10, 1)
	good, _ := s.MarshalBinary()
	changed := func(at int) []byte {
		b := slices.Clone(good)
		b[at] ^= 1
		return b
	}
	for _, c := range []struct {
		data []byte
		want string
	}{
		{nil, "too short"}, {changed(0), "version 0 is unknown"},
		{changed(100), "checksum"}, {good[:len(good)-1], "checksum"},
	} {
		if err := s.UnmarshalBinary(c.data); err == nil || !strings.Contains(err.Error(), c.want) || s.Tick() != 10 {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
	empty, _ := NewSeries().MarshalBinary()
	if err := s.UnmarshalBinary(empty); err != nil || !s.Empty() {
		t.Errorf("an empty history: %v", err)
	}
}

// FuzzSeries: no bytes make the decoder panic, and what it accepts works on.
func FuzzSeries(f *testing.F) {
	s := NewSeries()
	for tick := range int64(40) {
		s.Observe(tick, float64(tick*tick%7))
	}
	good, _ := s.MarshalBinary()
	f.Add(good[1:len(good)-4], uint16(0), byte(0))
	f.Add([]byte{}, uint16(3), byte(1))
	f.Fuzz(func(t *testing.T, body []byte, at uint16, flip byte) {
		if int(at) < len(body) {
			body[at] ^= flip
		}
		sealed := append([]byte{seriesVersion}, body...)
		sum := checksum(sealed)
		sealed = append(sealed, byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24))
		s := NewSeries()
		if err := s.UnmarshalBinary(sealed); err != nil {
			if !s.Empty() {
				t.Fatal("a refused history left something behind")
			}
			return
		}
		s.Observe(s.Tick()+1, 5)
		for k := 1; k <= Steps && !s.Empty(); k++ {
			if c := (Baseline{}).Centre(s.Features(), k); !finite(c) || c < 0 {
				t.Fatalf("centre %v", c)
			}
		}
	})
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

func BenchmarkObserve(b *testing.B) {
	s := NewSeries()
	tick := int64(0)
	for b.Loop() {
		s.Observe(tick, float64(tick*tick%997))
		tick++
	}
}

// report is a series as the leader gets it: n ticks of a load, up to tick n-1.
func report(id string, n int, load func(tick int64) float64) fleet.Series {
	s := NewSeries()
	for tick := range int64(n) {
		s.Observe(tick, load(tick))
	}
	return s.Report(fleet.WorkloadID(id), fleet.CPU, Window)
}
