package predictor

import (
	"bytes"
	"cmp"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/placed-dev/placed/fleet"
	"pgregory.net/rapid"
)

// tracked follows a load for some days and judges the last ones.
func tracked(seed, days int, pool *Pool, all *SharedShifts) (*Series, *Track) {
	load := waveLoad(seed, days*ticksPerDay)
	values := make([]float32, len(load))
	for i, v := range load {
		values[i] = float32(v)
	}
	return NewTrack(0, values, int64(days-TrackDays)*ticksPerDay, pool, all, 3)
}

func reported(s *Series, t *Track, all *SharedShifts) fleet.Series {
	out := s.Report("w", fleet.CPU, Window)
	out.Outlook, out.Record = OutlookBytes(s.Outlook()), t.Record(all)
	return out
}

// TestTrackFollowsTheWorkload: a series and its track that move to a host whose
// series have other shifts in common forecast there as they did before, and go on
// to be judged alike.
func TestTrackFollowsTheWorkload(t *testing.T) {
	here := &SharedShifts{}
	s, track := tracked(2, 11, nil, here)
	here[5].Shift[2] += 0.4
	there := &SharedShifts{}
	there[5].Shift[1] = 0.7

	var moved Series
	data, err := s.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	if err := moved.UnmarshalBinary(data); err != nil {
		t.Fatal(err)
	}
	arrived := &Track{}
	if data, err = track.MarshalBinary(); err != nil {
		t.Fatal(err)
	}
	if err := arrived.UnmarshalBinary(data); err != nil {
		t.Fatal(err)
	}
	arrived.Absorb(here, there)
	before, _ := Foresee(reported(s, track, here), nil, "m")
	after, ok := Foresee(reported(&moved, arrived, there), nil, "m")
	if !ok || before.Gates != after.Gates {
		t.Fatalf("other gates after the move: %+v, %+v", before.Gates, after.Gates)
	}
	for h := range Horizons {
		for q := range LevelCount {
			// What looks back a week was computed an hour ago here and is
			// computed now there, with some of the oldest ticks gone.
			if a, b := before.Quantiles[h][q], after.Quantiles[h][q]; math.Abs(a-b) > 1e-4*math.Abs(a) {
				t.Errorf("%s at %v: %v here, %v there", Horizons[h], Levels[q], a, b)
			}
		}
	}
	// What was on its way is judged at the destination, too.
	for i, v := range waveLoad(2, 12*ticksPerDay)[11*ticksPerDay:] {
		tick := s.Tick() + 1
		_ = i
		s.Observe(tick, v)
		track.Observe(s, nil, &SharedShifts{}, 3)
		moved.Observe(tick, v)
		arrived.Observe(&moved, nil, &SharedShifts{}, 3)
	}
	for h := range Horizons[:3] {
		if track.Learned()[h] != arrived.Learned()[h] {
			t.Errorf("%s was judged differently after the move", Horizons[h])
		}
	}
}

// TestTrackJudgesEveryTarget: in two days each horizon is judged at every quarter
// of an hour whose target has come, and opinions do not pile up.
func TestTrackJudgesEveryTarget(t *testing.T) {
	_, track := tracked(1, 12, nil, &SharedShifts{})
	for h, horizon := range Horizons {
		want := 0.0
		for tick := 0; tick < TrackDays*ticksPerDay; tick++ {
			if slot(int64(12-TrackDays)*ticksPerDay+int64(tick), calibrateEvery) == 0 && tick+horizon.Ticks < TrackDays*ticksPerDay {
				want = want*calibrationDecay + 1
			}
		}
		if got := float64(track.Learned()[h].Weight); math.Abs(got-want) > 1e-3*want {
			t.Errorf("%s: a weight of %.2f, want %.2f", horizon, got, want)
		}
		if n := len(track.waiting[h]); n > horizon.Ticks/calibrateEvery+1 {
			t.Errorf("%s: %d opinions wait", horizon, n)
		}
	}
}

// TestTrackSurvivesGaps: after any gaps and strange values the weights stay weights
// and the bytes can be read.
func TestTrackSurvivesGaps(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s, track, all := NewSeries(), &Track{}, &SharedShifts{}
		for _, o := range observations(rt, 900) {
			s.Observe(o.tick, o.value)
			track.Observe(s, nil, all, 2)
		}
		data, err := track.MarshalBinary()
		if err != nil {
			rt.Fatal(err)
		}
		var again Track
		if err := again.UnmarshalBinary(data); err != nil {
			rt.Fatal(err)
		}
		second, _ := again.MarshalBinary()
		if !bytes.Equal(data, second) {
			rt.Fatal("other bytes after a round trip")
		}
		if !s.Empty() {
			if _, err := DecodeRecord(track.Record(all)); err != nil {
				rt.Fatal(err)
			}
		}
	})
}

// TestBandsKeepTheirWord: with open gates the block has the calibrated quantiles at
// 15 min and at 1 h, its scenarios keep their order, and a closed gate leaves the
// plain forecast or the present.
func TestBandsKeepTheirWord(t *testing.T) {
	all := &SharedShifts{}
	s, track := tracked(3, 11, nil, all)
	for h := range track.learned { // noise alone may leave a gate a hair below its line
		track.learned[h].Covered[2] = 0.95 * track.learned[h].Weight
	}
	for i := range track.plain {
		track.plain[i].Covered = 0.95 * track.plain[i].Weight
	}
	told := reported(s, track, all)
	f, ok := Foresee(told, nil, "m")
	if !ok || !f.Gates[0].Open || !f.Gates[1].Open {
		t.Fatalf("a plain wave has closed gates: %+v", f.Gates)
	}
	plain := NewBlock(told, Baseline{})
	told.Bands = &f.Bands
	block := NewBlock(told, Baseline{})
	for i, step := range plainSteps {
		sorted := block.sorted(step)
		for q, level := range Levels {
			want, got := f.Quantiles[bandHorizons[i]][q], quantileOf(sorted, level)
			if math.Abs(got-want) > 0.02*want {
				t.Errorf("step %d at %v: %v, calibrated was %v", step, level, got, want)
			}
		}
	}
	for k := range Steps {
		order := make([]int, Window)
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(plain.amounts[k][a], plain.amounts[k][b]) })
		for i := 1; i < Window; i++ {
			if block.amounts[k][order[i]] < block.amounts[k][order[i-1]] {
				t.Fatalf("step %d: what was larger is smaller now", k+1)
			}
		}
	}

	quiet := *track
	quiet.learned[1].Covered[2] = 0
	closed, _ := Foresee(reported(s, &quiet, all), nil, "m")
	if len(closed.Bands.From) > 0 || closed.Bands.Reactive || !strings.Contains(closed.Bands.Reason, "1 h ahead its 0.95 quantile covered 0.000") {
		t.Errorf("the plain forecast should stand: %+v", closed.Bands)
	}
	quiet.plain[0].Loss = 10 * quiet.plain[0].Persistence
	closed, _ = Foresee(reported(s, &quiet, all), nil, "m")
	if !closed.Bands.Reactive || !strings.Contains(closed.Bands.Reason, "15 min ahead its loss was 10.00 of repeating") {
		t.Errorf("no forecast should stand: %+v", closed.Bands)
	}
	told.Bands = &closed.Bands
	now := float64(told.Features[FeatureLags])
	if b := NewBlock(told, Baseline{}); math.Abs(quantileOf(b.sorted(Steps), 0.9)-now) > 1e-3*now {
		t.Error("a reactive series foresees something")
	}
}

// TestAbsentExpertEarnsNothing: an expert that says nothing is charged what
// persistence lost, so that it does not get all of the say on its first word.
func TestAbsentExpertEarnsNothing(t *testing.T) {
	var c Calibration
	o := Opinions{Scale: 1}
	for e := range o.Of {
		o.Of[e] = [LevelCount]float64{10, 11, 12, 13}
	}
	o.Of[expertPool] = [LevelCount]float64{math.NaN(), math.NaN(), math.NaN(), math.NaN()}
	o.Of[expertPersistence] = [LevelCount]float64{20, 20, 20, 20}
	for range 200 {
		c.Observe(Horizons[0], &o, 10, nil)
	}
	if c.Loss[expertPool] != c.Loss[expertPersistence] {
		t.Errorf("it was charged %v, persistence %v", c.Loss[expertPool], c.Loss[expertPersistence])
	}
}

// TestExamplesAreBounded: nothing at or after Until is looked at, the number is
// bounded, and they survive their way.
func TestExamplesAreBounded(t *testing.T) {
	values := make([]float32, 12*ticksPerDay)
	for i, v := range waveLoad(1, len(values)) {
		values[i] = float32(v)
	}
	l := Lesson{Until: 1000 + 10*ticksPerDay, Limit: 100, Phase: 12345}
	got := Examples(1000, values, l)
	if len(got) < 95 || len(got) > 100 {
		t.Fatalf("%d examples, want 100 at most and nearly so many", len(got))
	}
	changed := slices.Clone(values)
	for i := 10 * ticksPerDay; i < len(changed); i++ {
		changed[i] = 1e9
	}
	if !bytes.Equal(EncodeExamples(got), EncodeExamples(Examples(1000, changed, l))) {
		t.Error("what came after the lesson has taught")
	}
	back, err := DecodeExamples(EncodeExamples(got))
	if err != nil || !bytes.Equal(EncodeExamples(back), EncodeExamples(got)) {
		t.Errorf("they changed on their way: %v", err)
	}
	if Examples(1000, values, Lesson{Until: 1000 + ticksPerDay, Limit: 10}) != nil {
		t.Error("one day of history has taught")
	}
}

// FuzzTrack, FuzzRecord, FuzzExamples: no bytes make a decoder panic, and what one
// accepts can be used.
func FuzzTrack(f *testing.F) {
	_, track := tracked(1, 5, nil, &SharedShifts{})
	good, _ := track.MarshalBinary()
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Fuzz(func(t *testing.T, data []byte) {
		var track Track
		if err := track.UnmarshalBinary(data); err != nil {
			return
		}
		again, err := track.MarshalBinary()
		if err != nil || len(again) != len(data) {
			t.Fatalf("%d bytes became %d: %v", len(data), len(again), err)
		}
	})
}

func FuzzRecord(f *testing.F) {
	s, track := tracked(1, 5, nil, &SharedShifts{})
	told := reported(s, track, &SharedShifts{})
	f.Add(told.Record, told.Outlook)
	f.Fuzz(func(t *testing.T, record, outlook []byte) {
		damaged := told
		damaged.Record, damaged.Outlook = record, outlook
		f, ok := Foresee(damaged, nil, "m")
		if !ok {
			return
		}
		damaged.Bands = &f.Bands
		NewBlock(damaged, Baseline{})
	})
}

func FuzzExamples(f *testing.F) {
	f.Add(EncodeExamples([]Example{{Outlook: make([]float32, OutlookCount)}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		examples, err := DecodeExamples(data)
		if err == nil && !bytes.Equal(EncodeExamples(examples), data) {
			t.Fatal("other bytes after a round trip")
		}
	})
}
