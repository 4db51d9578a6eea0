package predictor

import (
	"fmt"
	"math"
	"testing"

	"github.com/placed-dev/placed/fleet"
	"pgregory.net/rapid"
)

func habitsOf(days int, load func(tick int64) float64) *Habits {
	h := &Habits{}
	for tick := range int64(days * ticksPerDay) {
		h.Observe(fleet.CPU, tick, load(tick))
	}
	return h
}

// TestHabitsByHour: every hour has the quantiles of what was seen in it, within the
// error of the sketch; one never seen takes those of the whole history.
func TestHabitsByHour(t *testing.T) {
	h := habitsOf(35, func(tick int64) float64 { return 100 * float64(slot(tick, ticksPerDay)/Steps) })
	for tick := range int64(2 * Steps) {
		h.Observe(fleet.Memory, tick, 1<<33)
	}
	h.Observe("gpu", 1, 5)
	p := NewProfile(h, Membership{})
	if p.Days != 35 || p.Category != CategoryUnknown || len(p.Resources) != 2 {
		t.Fatalf("%+v", p)
	}
	for hour := range 24 {
		want := float64(100 * hour)
		if r := p.Resources[0]; math.Abs(r.Q50[hour]-want) > sketchError*want || math.Abs(r.Q95[hour]-want) > sketchError*want {
			t.Errorf("hour %d: %v, %v, want %v", hour, r.Q50[hour], r.Q95[hour], want)
		}
		if r := p.Resources[1]; math.Abs(r.Q50[hour]-1<<33) > sketchError*(1<<33) {
			t.Errorf("memory at hour %d, mostly never seen: %v", hour, r.Q50[hour])
		}
	}
}

// TestHabitsFade: a load that has changed for good is soon known by what it is now,
// and peaks that grow have a slope.
func TestHabitsFade(t *testing.T) {
	changed := habitsOf(100, func(tick int64) float64 {
		if tick < 50*ticksPerDay {
			return 1000
		}
		return 100
	})
	if got := changed.Resources()[0].Q50[3]; got > 103 {
		t.Errorf("fifty days after it fell from 1000 to 100 the median is %v", got)
	}
	growing := habitsOf(40, func(tick int64) float64 {
		return (1000 + 10*float64(tick)/ticksPerDay) * (1 + 0.2*math.Sin(2*math.Pi*float64(tick)/ticksPerDay))
	})
	if trend := growing.Resources()[0].Trend; math.Abs(trend.Slope-12) > 0.5 || trend.Error > 0.2 {
		t.Errorf("peaks grow by 12 a day, the trend is %+v", trend)
	}
	even := habitsOf(40, func(tick int64) float64 { return 1000 + 200*hash(tick) })
	if trend := even.Resources()[0].Trend; math.Abs(trend.Slope) > 3*trend.Error+0.1 {
		t.Errorf("peaks that do not grow have the trend %+v", trend)
	}
	if trend := habitsOf(3, func(int64) float64 { return 7 }).Resources()[0].Trend; trend.Slope != 0 || trend.Level != 7 {
		t.Errorf("three days make no trend: %+v", trend)
	}
}

// TestHabitsMerge: a history that was cut anywhere and put together again says what
// the whole one says.
func TestHabitsMerge(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		days := rapid.IntRange(2, 40).Draw(rt, "days")
		cut := int64(rapid.IntRange(1, days*ticksPerDay-1).Draw(rt, "cut"))
		load := func(tick int64) float64 { return 100 + 900*hash(tick/40) }
		whole, first, second := habitsOf(days, load), &Habits{}, &Habits{}
		for tick := range int64(days * ticksPerDay) {
			if into := first; tick >= cut {
				second.Observe(fleet.CPU, tick, load(tick))
			} else {
				into.Observe(fleet.CPU, tick, load(tick))
			}
		}
		if rapid.Bool().Draw(rt, "the later one first") {
			second.Merge(first)
			first = second
		} else {
			first.Merge(second)
		}
		a, b := whole.Resources()[0], first.Resources()[0]
		for hour := range 24 {
			if math.Abs(a.Q50[hour]-b.Q50[hour]) > 0.05*a.Q50[hour]+1 || math.Abs(a.Q95[hour]-b.Q95[hour]) > 0.05*a.Q95[hour]+1 {
				rt.Fatalf("hour %d: %v %v and %v %v", hour, a.Q50[hour], a.Q95[hour], b.Q50[hour], b.Q95[hour])
			}
		}
		if whole.Days(fleet.CPU) != first.Days(fleet.CPU) {
			rt.Fatalf("%d days became %d", whole.Days(fleet.CPU), first.Days(fleet.CPU))
		}
	})
}

// TestProfileRoundTrip: any profile fits and comes back to 1/65535 of its largest.
func TestProfileRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		category := rapid.SampledFrom(categories)
		p := Profile{Days: rapid.IntRange(0, 255).Draw(rt, "days"), Membership: Membership{
			Category: category.Draw(rt, "category"), Confidence: rapid.Float64Range(0, 1).Draw(rt, "confidence"),
			Diurnal: rapid.Bool().Draw(rt, "diurnal"), Day: rapid.Int64Range(0, 1<<32-1).Draw(rt, "day"),
			Days: rapid.IntRange(1, daysToChange).Draw(rt, "in a row"), Candidate: category.Draw(rt, "candidate")}}
		for range rapid.IntRange(0, maxCategoryChanges).Draw(rt, "changes") {
			p.Changes = append(p.Changes, CategoryChange{Day: rapid.Int64Range(0, 1<<32-1).Draw(rt, "on"), From: category.Draw(rt, "from"), To: category.Draw(rt, "to")})
		}
		for _, r := range fleet.Resources() {
			if !rapid.Bool().Draw(rt, "has") {
				continue
			}
			one := ResourceProfile{Resource: r, Trend: Trend{rapid.Float64Range(0, 1e12).Draw(rt, "level"), rapid.Float64Range(-1e9, 1e9).Draw(rt, "slope"), 1}}
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
		if math.Abs(got.Confidence-p.Confidence) > 1.0/255 {
			rt.Fatalf("a confidence of %v became %v", p.Confidence, got.Confidence)
		}
		got.Confidence = p.Confidence
		if got.Days != p.Days || len(got.Resources) != len(p.Resources) || fmt.Sprint(got.Membership) != fmt.Sprint(p.Membership) {
			rt.Fatalf("%+v became %+v", p, got)
		}
		for i, r := range p.Resources {
			largest := 0.0
			for h := range 24 {
				largest = max(largest, r.Q50[h], r.Q95[h])
			}
			if math.Abs(got.Resources[i].Trend.Slope-r.Trend.Slope) > 1e-6*math.Abs(r.Trend.Slope)+1e-30 {
				rt.Fatalf("the slope %v became %v", r.Trend.Slope, got.Resources[i].Trend.Slope)
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
		{Membership: Membership{Category: "lazy"}},
		{Membership: Membership{Category: CategoryIdle}, Resources: []ResourceProfile{{Resource: "gpu"}}},
		{Membership: Membership{Category: CategoryIdle}, Resources: []ResourceProfile{{Resource: fleet.Net}, {Resource: fleet.CPU}}},
		{Membership: Membership{Category: CategoryIdle}, Resources: []ResourceProfile{bad}},
	} {
		if data, err := p.MarshalBinary(); err == nil {
			t.Errorf("%+v was encoded into %d bytes", p, len(data))
		}
	}
}

// FuzzProfile: no bytes make the decoder panic; what it accepts encodes again.
func FuzzProfile(f *testing.F) {
	good, _ := NewProfile(habitsOf(2, func(tick int64) float64 { return float64(tick % 50) }), Membership{Category: CategoryIdle, Changes: []CategoryChange{{3, CategoryIdle, CategoryLight, ""}}}).MarshalBinary()
	f.Add(good)
	f.Add([]byte{1, 0, 0, 0})
	f.Add(good[:len(good)-1])
	f.Fuzz(func(t *testing.T, data []byte) {
		var p Profile
		if err := p.UnmarshalBinary(data); err != nil {
			return
		}
		again, err := p.MarshalBinary()
		if err != nil || data[0] == profileVersion && len(again) != len(data) || len(again) > MaxProfileBytes {
			t.Fatalf("%d bytes became %d: %v", len(data), len(again), err)
		}
	})
}
