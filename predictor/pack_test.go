package predictor

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/placed-dev/placed/fleet"
)

// TestPackedNumbers: a number keeps 0.2 % of itself or of its distance from the
// origin, whatever is less; small whole numbers, zero and NaN are exact, the order of
// two that lie further apart than that is kept.
func TestPackedNumbers(t *testing.T) {
	origin := float32(64 << 30) // of a memory that hardly moves
	values := []float32{0, 1, 287, origin, origin + 4<<20, origin - 900<<10, -3.25, float32(math.NaN()), 1e20, 1e-9}
	data := appendPacked(nil, values, origin)
	got := make([]float32, len(values))
	readPacked(data, got, origin)
	for i, v := range values[:4] {
		if got[i] != v {
			t.Errorf("%v became %v", v, got[i])
		}
	}
	for _, i := range []int{4, 5} {
		if moved := values[i] - origin; math.Abs(float64(got[i]-origin-moved)) > 0.002*math.Abs(float64(moved)) {
			t.Errorf("a move by %v became one by %v", moved, got[i]-origin)
		}
	}
	if got[6] != -3.25 || got[7] == got[7] || math.IsInf(float64(got[8]), 0) || got[9] != 0 {
		t.Errorf("%v", got[6:])
	}
	rapid.Check(t, func(rt *rapid.T) {
		v := rapid.Float32Range(1e-3, 1e12).Draw(rt, "value")
		from := rapid.Float32Range(0, 1e12).Draw(rt, "origin")
		var out [1]float32
		readPacked(appendPacked(nil, []float32{v}, from), out[:], from)
		// A float32 itself errs by one in 2^24 of the origin.
		most := 0.00196*math.Min(float64(v), math.Abs(float64(v)-float64(from))) + 2e-7*math.Max(float64(from), float64(v))
		if math.Abs(float64(out[0])-float64(v)) > most {
			rt.Fatalf("%v from %v became %v, it may err by %v", v, from, out[0], most)
		}
	})
}

// TestPackedSeriesForecastsAlike: what a voter unpacks forecasts as the host's own
// series does, at every level and step, within what the errors of a day leave open;
// and so do the calibrated bands.
func TestPackedSeriesForecastsAlike(t *testing.T) {
	all := &SharedShifts{}
	s, track := tracked(3, 11, nil, all)
	exact := reported(s, track, all)
	for _, r := range []fleet.Resource{fleet.CPU, fleet.Net} { // in 16 bits and in eight
		exact.Resource = r
		told, err := Unpacked(Packed(exact))
		if err != nil {
			t.Fatal(err)
		}
		fifth := int64(0)
		if residualCount(told) == len(exact.Residuals) {
			fifth, _ = residualAt(told, 5, new([Steps]float32))
		}
		if fifth != exact.Residuals[5].Tick || !Readable(told) {
			t.Fatalf("%s: %d residuals became %d", r, len(exact.Residuals), residualCount(told))
		}
		a, b := Sum(0, []Block{NewBlock(exact, Baseline{})}), Sum(0, []Block{NewBlock(told, Baseline{})})
		for step := 1; step <= Steps; step++ {
			width := a.Quantile(step, 0.95) - a.Quantile(step, 0.5)
			for _, level := range Levels {
				if off := math.Abs(a.Quantile(step, level) - b.Quantile(step, level)); off > 0.02*width {
					t.Errorf("%s: step %d at %v: %v of a band of %v apart", r, step, level, off, width)
				}
			}
		}
	}
	own := s.Outlook()
	read, err := DecodeOutlook(exact.Outlook)
	if err != nil {
		t.Fatal(err)
	}
	for h := range Horizons {
		x, _ := OpinionsOf(nil, own, h)
		y, _ := OpinionsOf(nil, read, h)
		for e := expertPersistence; e < ExpertCount; e++ {
			for q := range LevelCount {
				if off := math.Abs(x.Of[e][q] - y.Of[e][q]); off > 0.01*x.Scale {
					t.Errorf("%s, %s at %v: %v of a scale of %v apart", Horizons[h], ExpertNames[e], Levels[q], off, x.Scale)
				}
			}
		}
	}
	for name, bad := range map[string][]byte{"short": Packed(exact).Packed[:40], "other version": append([]byte{9}, Packed(exact).Packed[1:]...)} {
		if _, err := Unpacked(fleet.Series{Workload: "w", Packed: bad}); err == nil {
			t.Errorf("%s: it was read", name)
		}
	}
}

func FuzzUnpacked(f *testing.F) {
	all := &SharedShifts{}
	s, track := tracked(1, 10, nil, all)
	told := reported(s, track, all)
	for _, told.Resource = range []fleet.Resource{fleet.CPU, fleet.Disk} {
		f.Add(Packed(told).Packed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := Unpacked(fleet.Series{Workload: "w", Packed: data})
		if err != nil || len(data) == 0 {
			return
		}
		block := NewBlock(got, Baseline{})
		if q := Sum(0, []Block{block}).Quantile(3, 0.9); math.IsNaN(q) || q < 0 {
			t.Fatalf("a forecast of %v", q)
		}
	})
}
