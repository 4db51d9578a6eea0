package predictor

import (
	"math"
	"testing"

	"github.com/placed-dev/placed/fleet"
	"pgregory.net/rapid"
)

func history(hours int, load func(tick int64) float64) *Series {
	s := NewSeries()
	for tick := range int64(hours * Steps) {
		s.Observe(tick, load(tick))
	}
	return s
}

func TestCategorise(t *testing.T) {
	for _, c := range []struct {
		name        string
		hours       int
		reservation int64
		load        func(int64) float64
		want        Category
	}{
		{"half a day", 12, 0, func(int64) float64 { return 500 }, CategoryUnknown},
		{"nearly nothing", 100, 0, func(tick int64) float64 { return 40 * hash(tick) }, CategoryIdle},
		{"nearly nothing of a large machine", 100, 16000, func(tick int64) float64 { return 700 * hash(tick) }, CategoryIdle},
		{"always at its limit", 100, 2000, func(tick int64) float64 { return 1700 + 300*hash(tick) }, CategoryCPU},
		{"by day", 120, 4000, storyLoad(1000, 700, 300, 0, 99), CategoryDiurnal},
		{"by day, two days of it", 48, 4000, storyLoad(1000, 700, 300, 0, 99), CategorySteady},
		{"peaks", 120, 4000, func(tick int64) float64 {
			if hash(tick) > 0.95 {
				return 3000
			}
			return 200 + 100*hash(tick+1)
		}, CategoryBursty},
		{"even", 120, 4000, func(tick int64) float64 { return 1000 + 200*hash(tick) }, CategorySteady},
		{"constant", 120, 4000, func(int64) float64 { return 1000 }, CategorySteady},
	} {
		if got := Categorise(history(c.hours, c.load), c.reservation); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestProfileOf(t *testing.T) {
	cpu := history(96, func(tick int64) float64 { return 100 * float64(slot(tick, ticksPerDay)/Steps) }) // hour × 100
	memory := history(2, func(int64) float64 { return 1 << 33 })
	p := ProfileOf(map[fleet.Resource]*Series{fleet.Memory: memory, fleet.CPU: cpu, "gpu": cpu, fleet.Net: NewSeries()}, 0)
	if p.Days != 4 || p.Category != CategoryDiurnal || len(p.Resources) != 2 {
		t.Fatalf("%+v", p)
	}
	for h := range 24 {
		if r := p.Resources[0]; r.Resource != fleet.CPU || r.Q50[h] != float64(100*h) || r.Q95[h] != float64(100*h) {
			t.Errorf("hour %d: %v, %v", h, r.Q50[h], r.Q95[h])
		}
		if r := p.Resources[1]; r.Resource != fleet.Memory || r.Q50[h] != 1<<33 {
			t.Errorf("memory at hour %d, mostly never seen: %v", h, r.Q50[h])
		}
	}
}

// TestProfileRoundTrip: any profile fits and comes back to 1/65535 of its largest.
func TestProfileRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := Profile{Category: rapid.SampledFrom(categories).Draw(rt, "category"), Days: rapid.IntRange(0, SeriesDays).Draw(rt, "days")}
		for _, r := range fleet.Resources() {
			if !rapid.Bool().Draw(rt, "has") {
				continue
			}
			one := ResourceProfile{Resource: r}
			for h := range 24 {
				one.Q50[h] = rapid.Float64Range(0, 1e12).Draw(rt, "q50")
				one.Q95[h] = rapid.Float64Range(0, 1e12).Draw(rt, "q95")
			}
			p.Resources = append(p.Resources, one)
		}
		data, err := p.MarshalBinary()
		if err != nil || len(data) > MaxProfileBytes {
			rt.Fatalf("%d bytes, %v", len(data), err)
		}
		var got Profile
		if err := got.UnmarshalBinary(data); err != nil {
			rt.Fatal(err)
		}
		if got.Category != p.Category || got.Days != p.Days || len(got.Resources) != len(p.Resources) {
			rt.Fatalf("%+v became %+v", p, got)
		}
		for i, r := range p.Resources {
			largest := 0.0
			for h := range 24 {
				largest = max(largest, r.Q50[h], r.Q95[h])
			}
			for h := range 24 {
				if math.Abs(got.Resources[i].Q50[h]-r.Q50[h]) > largest/60_000 || math.Abs(got.Resources[i].Q95[h]-r.Q95[h]) > largest/60_000 {
					rt.Fatalf("hour %d of %s", h, r.Resource)
				}
			}
		}
	})
}

func TestProfileRefusesToEncode(t *testing.T) {
	bad := ResourceProfile{Resource: fleet.CPU}
	bad.Q95[3] = math.NaN()
	for _, p := range []Profile{
		{Category: "lazy"},
		{Category: CategoryIdle, Resources: []ResourceProfile{{Resource: "gpu"}}},
		{Category: CategoryIdle, Resources: []ResourceProfile{{Resource: fleet.Net}, {Resource: fleet.CPU}}},
		{Category: CategoryIdle, Resources: []ResourceProfile{bad}},
	} {
		if data, err := p.MarshalBinary(); err == nil {
			t.Errorf("%+v was encoded into %d bytes", p, len(data))
		}
	}
}

// FuzzProfile: no bytes make the decoder panic; what it accepts encodes again.
func FuzzProfile(f *testing.F) {
	good, _ := ProfileOf(map[fleet.Resource]*Series{fleet.CPU: history(30, func(tick int64) float64 { return float64(tick % 50) })}, 0).MarshalBinary()
	f.Add(good)
	f.Add([]byte{profileVersion, 0, 0, 0})
	f.Add(good[:len(good)-1])
	f.Fuzz(func(t *testing.T, data []byte) {
		var p Profile
		if err := p.UnmarshalBinary(data); err != nil {
			return
		}
		again, err := p.MarshalBinary()
		if err != nil || len(again) != len(data) {
			t.Fatalf("%d bytes became %d: %v", len(data), len(again), err)
		}
	})
}
