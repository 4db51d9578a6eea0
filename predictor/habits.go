package predictor

import (
	"maps"
	"math"
	"slices"

	"github.com/placed-dev/placed/fleet"
)

// Habits are what remains of a workload's whole history, however long: how much
// it uses at which hour of the day and where its daily peaks are going. Every
// tick is added once, what is older counts less and less, and the habits of two
// hosts can be merged, so they follow the workload when it moves. The zero Habits
// have seen nothing.
type Habits struct {
	of [resourceCount]habit
}

var builtin = fleet.Resources()

// resourceCount is the number of built-in resources; custom ones have names that
// could outgrow a profile.
const resourceCount = len(builtin)

// habit of one resource. Weights are counted as of tick base: later ticks weigh
// more, which is the same as letting earlier ones fade.
type habit struct {
	started     bool
	first, last int64
	base        int64
	seen        int64 // ticks
	hours       [24]sketch
	peaks       trend
	day         int64 // of the running peak
	peak        float64
	ticks       int // of that day
}

const (
	// habitHalfLife is after how many ticks an observation counts half: two weeks.
	habitHalfLife = 14 * ticksPerDay
	// habitRebase keeps weights small: 2^16 is reached in 32 weeks.
	habitRebase = 16 * habitHalfLife
	// wholeDay is how many ticks make a day's peak one of the day.
	wholeDay = ticksPerDay * 3 / 4
)

// Observe adds the mean of one tick, base units. A tick that is not newer than the
// last one is ignored, and so is a value that is not one.
func (h *Habits) Observe(r fleet.Resource, tick int64, value float64) {
	n := slices.Index(builtin[:], r)
	if n < 0 || math.IsNaN(value) || math.IsInf(value, 0) || !sensibleTick(tick) {
		return
	}
	h.of[n].observe(tick, max(value, 0))
}

func (h *habit) observe(tick int64, value float64) {
	if h.started && tick <= h.last {
		return
	}
	if !h.started {
		h.started, h.first, h.base, h.day = true, tick, tick, floorDiv(tick, ticksPerDay)
	}
	h.last = tick
	h.seen++
	if tick-h.base > habitRebase {
		h.rebase(tick)
	}
	if day := floorDiv(tick, ticksPerDay); day != h.day {
		h.endDay()
		h.day = day
	}
	h.peak, h.ticks = max(h.peak, value), h.ticks+1
	h.hours[slot(tick, ticksPerDay)/Steps].add(value, h.weight(tick))
}

func (h *habit) weight(tick int64) float64 {
	return math.Exp2(float64(tick-h.base) / habitHalfLife)
}

// endDay takes the peak of a day of which enough was seen.
func (h *habit) endDay() {
	if h.ticks >= wholeDay {
		h.peaks.add(float64(h.day), h.peak, h.weight((h.day+1)*ticksPerDay))
	}
	h.peak, h.ticks = 0, 0
}

func (h *habit) rebase(tick int64) {
	factor := math.Exp2(-float64(tick-h.base) / habitHalfLife)
	for i := range h.hours {
		h.hours[i].scale(factor)
	}
	h.peaks.scale(factor)
	h.base = tick
}

// Merge adds what other has seen of the same workload at other times.
func (h *Habits) Merge(other *Habits) {
	for i := range h.of {
		a, b := &h.of[i], other.of[i].clone()
		switch {
		case !b.started:
			continue
		case !a.started:
			*a = b
			continue
		}
		base := max(a.base, b.base)
		a.rebase(base)
		b.rebase(base)
		for hour := range a.hours {
			for key, w := range b.hours[hour].weights {
				a.hours[hour].put(key, w)
			}
		}
		a.peaks.merge(b.peaks)
		if b.day > a.day {
			a.endDay()
			a.day, a.peak, a.ticks = b.day, b.peak, b.ticks
		} else if b.day == a.day {
			a.peak, a.ticks = max(a.peak, b.peak), a.ticks+b.ticks
		}
		a.first, a.last, a.seen = min(a.first, b.first), max(a.last, b.last), a.seen+b.seen
	}
}

func (h *habit) clone() habit {
	out := *h
	for i := range out.hours {
		out.hours[i].weights = maps.Clone(h.hours[i].weights)
	}
	return out
}

// Days of history that a resource was seen for, from its first tick to its last.
func (h *Habits) Days(r fleet.Resource) int {
	n := slices.Index(builtin[:], r)
	if n < 0 || !h.of[n].started {
		return 0
	}
	return int(math.Round(float64(h.of[n].last-h.of[n].first+1) / ticksPerDay))
}

// Upper is the quantile .95 over all hours, 0 when nothing was seen.
func (h *Habits) Upper(r fleet.Resource) float64 {
	n := slices.Index(builtin[:], r)
	if n < 0 || !h.of[n].started {
		return 0
	}
	return h.of[n].whole().quantile(0.95)
}

// whole puts all hours together.
func (h *habit) whole() *sketch {
	all := &sketch{}
	for i := range h.hours {
		for key, w := range h.hours[i].weights {
			all.put(key, w)
		}
	}
	return all
}

// Resources lists what the habits know, as a profile has it; an hour never seen
// takes the quantiles of the whole history.
func (h *Habits) Resources() []ResourceProfile {
	var out []ResourceProfile
	for n, r := range builtin {
		of := &h.of[n]
		if !of.started {
			continue
		}
		p := ResourceProfile{Resource: r}
		whole := of.whole()
		for hour := range p.Q50 {
			from := &of.hours[hour]
			if len(from.weights) == 0 {
				from = whole
			}
			p.Q50[hour], p.Q95[hour] = from.quantile(0.5), from.quantile(0.95)
		}
		p.Trend = of.peaks.line()
		out = append(out, p)
	}
	return out
}

// sketch is a histogram with bins of a constant ratio, so that a quantile is right
// to sketchError of itself, whatever the unit; sums of two are those of both. The
// method is that of DDSketch (Masson, Rim, Lee: VLDB 2019).
type sketch struct {
	weights map[int16]float64
}

const (
	sketchError = 0.02
	zeroKey     = math.MinInt16 // values below one base unit
)

var sketchRatio = math.Log((1 + sketchError) / (1 - sketchError))

func (s *sketch) add(value, weight float64) {
	key := int16(zeroKey)
	if value >= 1 {
		key = int16(min(math.Ceil(math.Log(value)/sketchRatio), math.MaxInt16))
	}
	s.put(key, weight)
}

func (s *sketch) put(key int16, weight float64) {
	if s.weights == nil {
		s.weights = map[int16]float64{}
	}
	s.weights[key] += weight
}

func (s *sketch) scale(factor float64) {
	for key, w := range s.weights {
		if w *= factor; w < 1e-6 {
			delete(s.weights, key) // half a year ago
		} else {
			s.weights[key] = w
		}
	}
}

// quantile reads a level; 0 without values.
func (s *sketch) quantile(level float64) float64 {
	keys := slices.Sorted(maps.Keys(s.weights))
	total := 0.0
	for _, k := range keys {
		total += s.weights[k]
	}
	sum := 0.0
	for i, k := range keys {
		sum += s.weights[k]
		if sum >= level*total || i == len(keys)-1 {
			if k == zeroKey {
				return 0
			}
			return 2 * math.Exp(float64(k)*sketchRatio) / (1 + math.Exp(sketchRatio))
		}
	}
	return 0
}

// trend is a weighted line through daily peaks, as sums.
type trend struct{ w, ww, wx, wy, wxx, wxy, wyy float64 }

// trendOrigin is the day (since 1970) that x counts from, so that squares stay
// exact for a century.
const trendOrigin = 20_000

func (t *trend) add(day, y, weight float64) {
	x := day - trendOrigin
	t.w += weight
	t.ww += weight * weight
	t.wx += weight * x
	t.wy += weight * y
	t.wxx += weight * x * x
	t.wxy += weight * x * y
	t.wyy += weight * y * y
}

func (t *trend) scale(f float64) {
	t.w, t.wx, t.wy, t.wxx, t.wxy, t.wyy = t.w*f, t.wx*f, t.wy*f, t.wxx*f, t.wxy*f, t.wyy*f
	t.ww *= f * f
}

func (t *trend) merge(o trend) {
	t.w, t.ww, t.wx, t.wy = t.w+o.w, t.ww+o.ww, t.wx+o.wx, t.wy+o.wy
	t.wxx, t.wxy, t.wyy = t.wxx+o.wxx, t.wxy+o.wxy, t.wyy+o.wyy
}

// Trend is where the daily peaks of a resource are going, in base units.
type Trend struct {
	Level float64 // of the line in the middle of what was seen
	Slope float64 // per day
	// Error is the standard error of the slope, per day; 0 while there are too few
	// days for a slope.
	Error float64
}

// TrendDays is from how many days on a trend has a slope.
const TrendDays = 5

// Known says whether the trend has seen enough days to have a slope.
func (t Trend) Known() bool { return t.Error > 0 }

// leastError of a slope, so that a line that errs nowhere is not taken for none.
const leastError = 1e-3

// line fits the peaks; with fewer than TrendDays there is a level and no slope.
func (t *trend) line() Trend {
	if !(t.w > 0) {
		return Trend{}
	}
	mx, my := t.wx/t.w, t.wy/t.w
	out := Trend{Level: my}
	days := t.w * t.w / t.ww // how many days the weights stand for
	sxx, sxy, syy := t.wxx/t.w-mx*mx, t.wxy/t.w-mx*my, t.wyy/t.w-my*my
	if days < TrendDays || sxx < 1 {
		return out
	}
	out.Slope = sxy / sxx
	out.Error = max(math.Sqrt(max(syy-out.Slope*sxy, 0)/sxx/(days-2)), leastError)
	return out
}
