package predictor

import (
	"math"
	"slices"
)

// sequence is one history as the sequence models see it: without gaps, with what
// is constant about it computed once.
type sequence struct {
	values []float64
	sums   []float64 // prefix sums of values
	season int       // the shortest one
	long   int       // the longest one, or seven of the shortest
	// unit is how far the series is from itself a season before, on average:
	// what scaled errors are counted in.
	unit float64
	// steadiness: the same for one step and for the long season, in units, and
	// the standard deviation.
	step, far, deviation float64
	floor                float64 // 0 for what was never negative, else -inf
	linear               *linear
}

// longSeason is how many seasons the long one has where none is given: what
// repeats daily often repeats weekly as well.
const longSeason = 7

// newSequence fills gaps with the value a season before, then with the last one.
func newSequence(history []float64, seasons []int) *sequence {
	s := &sequence{season: seasons[0], long: seasons[len(seasons)-1]}
	if len(seasons) == 1 {
		s.long = longSeason * s.season
	}
	s.values = withoutGaps(history, s.season)
	s.sums = make([]float64, len(s.values)+1)
	s.floor = math.Inf(-1)
	lowest := math.Inf(1)
	for i, v := range s.values {
		s.sums[i+1] = s.sums[i] + v
		lowest = min(lowest, v)
	}
	if lowest >= 0 {
		s.floor = 0
	}
	mean, square := s.mean(0, len(s.values)), 0.0
	for _, v := range s.values {
		square += (v - mean) * (v - mean)
	}
	s.deviation = math.Sqrt(square / max(float64(len(s.values)), 1))
	s.unit = s.lagError(s.season)
	if !(s.unit > 0) {
		s.unit = s.lagError(1)
	}
	s.step, s.far = s.lagError(1), s.lagError(s.long)
	return s
}

// lagError is the mean absolute change over a lag, NaN when there is none.
func (s *sequence) lagError(lag int) float64 {
	sum := 0.0
	for i := lag; i < len(s.values); i++ {
		sum += math.Abs(s.values[i] - s.values[i-lag])
	}
	return sum / float64(len(s.values)-lag)
}

// usable says whether models can say more of it than a naive forecast: it varies,
// and two seasons of it are known.
func (s *sequence) usable() bool {
	return len(s.values) > 2*s.season+1 && s.unit > 1e-9*math.Abs(s.mean(0, len(s.values))) && s.unit > 0
}

// mean of values[from:to], which are clamped to what exists; NaN if nothing does.
func (s *sequence) mean(from, to int) float64 {
	from, to = max(from, 0), min(to, len(s.values))
	if from >= to {
		return math.NaN()
	}
	return (s.sums[to] - s.sums[from]) / float64(to-from)
}

func (s *sequence) at(i int) float64 {
	if i < 0 || i >= len(s.values) {
		return math.NaN()
	}
	return s.values[i]
}

// withoutGaps returns the history without gaps and without missing values at its
// beginning; those at its end count as gaps.
func withoutGaps(history []float64, season int) []float64 {
	first := slices.IndexFunc(history, func(v float64) bool { return v == v })
	if first < 0 {
		return nil
	}
	out := slices.Clone(history[first:])
	for i, v := range out {
		if v == v {
			continue
		}
		if i >= season && season > 0 {
			out[i] = out[i-season]
		} else {
			out[i] = out[i-1]
		}
	}
	return out
}

// sequencePhases is how many seasons back a row looks at the target's phase.
const sequencePhases = 7

// sequenceCols is the length of a row.
const sequenceCols = sequencePhases + 35

// row fills x with the features of the value `ahead` steps after origin, which is
// the last known index, and returns what its target is counted from, in the
// units of s.unit. Nothing after origin is read.
func (s *sequence) row(x []float32, origin, ahead int, path []float64) (base float64) {
	target := origin + ahead
	near := target - s.season*((ahead+s.season-1)/s.season)
	far := target - s.long*((ahead+s.long-1)/s.long)
	base = s.base(origin, near, far)
	n := 0
	put := func(v float64) {
		x[n] = float32(v)
		n++
	}
	level := func(v float64) { put((v - base) / s.unit) }
	before := func(i int) float64 { // a value that is known at the origin
		if i > origin {
			return math.NaN()
		}
		return s.at(i)
	}
	var same, squares float64
	known := 0.0
	for k := range sequencePhases {
		v := s.at(near - k*s.season)
		level(v)
		if v == v {
			same, squares, known = same+v, squares+v*v, known+1
		}
	}
	level(same / known)
	put(math.Sqrt(max(squares/known-same/known*same/known, 0)) / s.unit)
	level(before(near - 1))
	level(before(near + 1))
	level((before(near-1-s.season) + s.at(near-s.season) + before(near+1-s.season)) / 3)
	level(s.at(far))
	level(s.at(far - s.long))
	level(s.at(far - 2*s.long))
	level((before(far-1) + s.at(far) + before(far+1)) / 3)
	level((before(far-1-s.long) + s.at(far-s.long) + before(far+1-s.long)) / 3)
	level(path[ahead-1])
	level(path[ahead-1] + (s.at(origin)-s.at(origin-s.season))*math.Exp(-float64(ahead)/6))

	now := s.at(origin)
	level(now)
	put((now - s.at(origin-1)) / s.unit)
	put((now - s.at(origin-3)) / s.unit)
	put((now - s.at(origin-s.season)) / s.unit)
	put((now - s.at(origin-s.long)) / s.unit)
	gap := func(width, lag int) {
		put((s.mean(origin+1-width, origin+1) - s.mean(origin+1-width-lag, origin+1-lag)) / s.unit)
	}
	if origin+1-s.season/4-s.season < 0 {
		put(math.NaN())
	} else {
		gap(max(s.season/4, 1), s.season)
	}
	gap(s.season, s.season)
	gap(s.season, s.long)
	gap(s.long, s.long)
	level(s.mean(origin+1-3, origin+1))
	level(s.mean(origin+1-s.season, origin+1))
	level(s.mean(origin+1-s.long, origin+1))
	level(s.mean(origin+1-4*s.long, origin+1))
	// How far the phase of the target usually stands above its seasons, on top
	// of the newest season.
	level(same/known - s.mean(origin+1-int(known)*s.season, origin+1) + s.mean(origin+1-s.season, origin+1))

	put(float64(ahead))
	put(float64((ahead - 1) % s.season))
	put(float64(ahead) / float64(s.season))
	put(s.step / s.unit)
	put(s.far / s.unit)
	put(s.deviation / s.unit)
	put(s.mean(0, origin+1) / s.unit)
	put(math.Log(float64(origin + 1)))
	put((s.at(near) - s.at(far)) / s.unit)
	return base
}

// base is the plain forecast that the models correct.
func (s *sequence) base(origin, near, far int) float64 {
	v := s.at(near)
	if w := s.at(far); w == w {
		v = 0.5*v + 0.5*w
	}
	return v
}
