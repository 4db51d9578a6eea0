package predictor

import (
	"math"
	"slices"
)

// OutlookVersion names the layout of the outlook features below. A leader that
// meets another version must not read them.
const OutlookVersion = 2

// Levels are the quantiles that a pooled forecast gives, ascending.
var Levels = [LevelCount]float64{0.5, 0.9, 0.95, 0.99}

// LevelCount is the number of Levels.
const LevelCount = 4

// Layout of the outlook: what a leader needs of one series to forecast every one
// of Horizons with pooled models. Base units unless said otherwise; NaN is what
// the history is too short for.
const (
	outlookHistory = 0  // share of the last eight days that was observed
	outlookPhase   = 1  // tick of the day, UTC (0..287)
	outlookWeekday = 2  // day of the week, UTC (0 = Sunday)
	outlookLags    = 3  // values 0, 1, 2, 3, 4, 6, 9, 12, 24 ticks ago
	outlookMeans   = 12 // means of the last 3, 6, 12, 36, 144, 288, 2016 ticks
	outlookMaxima  = 19 // maxima of the last 3, 12, 36, 288, 2016 ticks
	outlookMinima  = 24 // minima of the last 12, 288 ticks
	outlookSDs     = 26 // standard deviations of the last 3, 12, 36, 288, 2016 ticks
	outlookEWMA    = 31 // exponential mean, half-life 6 ticks
	outlookAbove   = 32 // newest value, and means of the last 12 and 36, above the mean of the same time of the last 7 days
	outlookSlopes  = 35 // slopes 0..1 of Features: daily, hourly, revert
	outlookDays    = 38 // maxima of the last 7 periods of 24 h, newest first
	outlookPerDay  = 45 // quantiles .1 .5 .9 .99 of the last 24 h
	outlookMinute  = 49 // mean of the same minute of the last 6 hours as 15 min, 1 h and 4 h ahead
	outlookValues  = 52 // quantiles (Levels) over the last week of full hours: of the values, of peaks of 1 h, of peaks of 24 h
	outlookTargets = 64 // per horizon: outlookPerTarget values
	// Per horizon: for the same time on the 7 days before the target its mean,
	// maximum, deviation, yesterday's and last week's value; over the last week
	// of full hours the quantiles (Levels) of the target's distance from where
	// the series stood (for peaks: the peak of the last hour), and the mean
	// absolute distance.
	outlookPerTarget = 5 + LevelCount + 1
	targetMean       = 0
	targetMax        = 1
	targetSD         = 2
	targetDay        = 3
	targetWeek       = 4
	targetMoves      = 5
	targetRough      = targetMoves + LevelCount
	// OutlookCount is the length of an outlook (496 bytes).
	OutlookCount = outlookTargets + HorizonCount*outlookPerTarget
)

var (
	outlookLagTicks    = [...]int{0, 1, 2, 3, 4, 6, 9, 12, 24}
	outlookMeanWindows = [...]int{3, 6, 12, 36, 144, ticksPerDay, ticksPerWeek}
	outlookMaxWindows  = [...]int{3, 12, 36, ticksPerDay, ticksPerWeek}
	outlookMinWindows  = [...]int{12, ticksPerDay}
	outlookSDWindows   = [...]int{3, 12, 36, ticksPerDay, ticksPerWeek}
)

// weekOfTargets is what the outlook takes from a whole week; like weekly it is
// computed once per full hour, so that a tick costs little.
type weekOfTargets struct {
	valid  bool
	until  int64
	moves  [HorizonCount][LevelCount + 1]float32
	values [3][LevelCount]float32
	perDay [4]float32
}

// Outlook returns the outlook features of the newest tick, nil when nothing has
// been observed. It is computed when asked for.
func (s *Series) Outlook() []float32 {
	if !s.started {
		return nil
	}
	hour := s.tick - slot(s.tick, Steps) - 1
	if !s.weekly.valid || s.weekly.until != hour {
		s.weekly = s.computeWeekly(hour)
	}
	if !s.week.valid || s.week.until != hour {
		s.week = s.computeTargets(hour)
	}
	return s.outlook()
}

func (s *Series) outlook() []float32 {
	f := make([]float32, OutlookCount)
	ages := new([ringTicks]float32)
	s.unroll(s.tick, ages)
	f[outlookHistory] = float32(s.known) / ringTicks
	f[outlookPhase] = float32(slot(s.tick, ticksPerDay))
	f[outlookWeekday] = float32(slot(floorDiv(s.tick, ticksPerDay)+4, 7))
	for i, lag := range outlookLagTicks {
		f[outlookLags+i] = ages[lag]
	}
	rollingOutlook(f, ages)
	f[outlookEWMA] = s.ewma()
	f[outlookSlopes], f[outlookSlopes+1], f[outlookSlopes+2] = s.weekly.daily, s.weekly.hourly, s.weekly.revert
	for d := range 7 {
		f[outlookDays+d] = maximum(ages[d*ticksPerDay : (d+1)*ticksPerDay])
	}
	copy(f[outlookPerDay:], s.week.perDay[:])
	above(f[outlookAbove:], ages)
	for i, h := range Horizons[:3] {
		f[outlookMinute+i] = sameMinuteAhead(ages, h)
	}
	for i := range s.week.values {
		copy(f[outlookValues+i*LevelCount:], s.week.values[i][:])
	}
	for i, h := range Horizons {
		at := f[outlookTargets+i*outlookPerTarget:][:outlookPerTarget]
		seasonal(at, ages, h)
		copy(at[targetMoves:], s.week.moves[i][:])
	}
	return f
}

// unroll writes the ring by age: out[0] is the given tick. What the ring has
// already given to ticks after it is missing.
func (s *Series) unroll(tick int64, out *[ringTicks]float32) {
	c := s.cursor(tick)
	kept := ringTicks - int(s.tick-tick)
	for age := range out[:kept] {
		out[age] = c.back()
	}
	fill(out[kept:], float32(math.NaN()))
}

// rollingOutlook fills means, maxima, minima and deviations in one walk.
func rollingOutlook(f []float32, ages *[ringTicks]float32) {
	var n, sum, square float64
	largest, smallest := float32(math.Inf(-1)), float32(math.Inf(1))
	origin := float64(ages[0])
	mean, top, low, sd := 0, 0, 0, 0
	for age := range ticksPerWeek {
		if v := ages[age]; v == v {
			d := float64(v) - origin
			n, sum, square = n+1, sum+d, square+d*d
			largest, smallest = max(largest, v), min(smallest, v)
		}
		if mean < len(outlookMeanWindows) && age == outlookMeanWindows[mean]-1 {
			f[outlookMeans+mean] = float32(origin + sum/n)
			mean++
		}
		if top < len(outlookMaxWindows) && age == outlookMaxWindows[top]-1 {
			f[outlookMaxima+top] = largest
			top++
		}
		if low < len(outlookMinWindows) && age == outlookMinWindows[low]-1 {
			f[outlookMinima+low] = smallest
			low++
		}
		if sd < len(outlookSDWindows) && age == outlookSDWindows[sd]-1 {
			f[outlookSDs+sd] = float32(math.Sqrt(max(square/n-(sum/n)*(sum/n), 0)))
			sd++
		}
	}
}

// above says how far the newest value and the last one and three hours stand
// above the mean of the same times on the days before.
func above(f []float32, ages *[ringTicks]float32) {
	windows := [...]int{1, 12, 36}
	sum, n := 0.0, 0.0
	at := 0
	for age := range windows[len(windows)-1] {
		days, count := 0.0, 0.0
		for day := 1; day <= 7; day++ {
			if v := ages[age+day*ticksPerDay]; v == v {
				days, count = days+float64(v), count+1
			}
		}
		if v := ages[age]; v == v && count > 0 {
			sum, n = sum+float64(v)-days/count, n+1
		}
		if age == windows[at]-1 {
			f[at] = float32(sum / n) // NaN without a day of history
			at++
		}
	}
}

// seasonal reads what the target of h was on the days before it.
func seasonal(f []float32, ages *[ringTicks]float32, h Horizon) {
	nan := float32(math.NaN())
	value := func(day int) float32 { // of the target's window, day days before
		age := day*ticksPerDay - h.Ticks
		if !h.Peak {
			return ages[age]
		}
		return maximum(ages[age : age+h.Ticks])
	}
	var n, sum, square float64
	largest := nan
	for day := 1; day <= 7; day++ {
		v := value(day)
		if v != v {
			continue
		}
		n, sum, square = n+1, sum+float64(v), square+float64(v)*float64(v)
		if !(largest >= v) {
			largest = v
		}
	}
	f[targetMean], f[targetMax] = float32(sum/n), largest
	f[targetSD] = float32(math.Sqrt(max(square/n-(sum/n)*(sum/n), 0)))
	f[targetDay], f[targetWeek] = value(1), value(7)
}

// sameMinuteAhead is the mean at the target's minute of the six hours that end
// with now.
func sameMinuteAhead(ages *[ringTicks]float32, h Horizon) float32 {
	n, sum := 0.0, 0.0
	first := (h.Ticks + Steps - 1) / Steps
	for hour := first; hour < first+6; hour++ {
		if v := ages[hour*Steps-h.Ticks]; v == v {
			n, sum = n+1, sum+float64(v)
		}
	}
	return float32(sum / n)
}

// targetStride is how many ticks lie between two past targets that the week counts.
const targetStride = 3

func (s *Series) computeTargets(until int64) weekOfTargets {
	w := weekOfTargets{valid: true, until: until}
	ages := new([ringTicks]float32)
	s.unroll(until, ages)
	peaks := [...]*[ringTicks]float32{ages, windowMaxima(ages, Steps), windowMaxima(ages, ticksPerDay)}
	var sample []float32
	for i, of := range peaks {
		sample = sample[:0]
		for age := 0; age < ticksPerWeek-Steps; age += targetStride {
			if y := of[age]; y == y {
				sample = append(sample, y)
			}
		}
		quantiles(w.values[i][:], sample)
	}
	for i, h := range Horizons {
		of, from := ages, ages
		if h.Peak {
			of, from = peaks[h.valuesOf()], peaks[1]
		}
		sample = sample[:0]
		rough := 0.0
		for age := 0; age < ticksPerWeek-Steps && age+h.Ticks < ringTicks; age += targetStride {
			if d := of[age] - from[age+h.Ticks]; d == d {
				sample = append(sample, d)
				rough += math.Abs(float64(d))
			}
		}
		quantiles(w.moves[i][:LevelCount], sample)
		w.moves[i][LevelCount] = float32(rough / float64(len(sample)))
	}
	day := slices.DeleteFunc(slices.Clone(ages[:ticksPerDay]), func(v float32) bool { return v != v })
	slices.Sort(day)
	for i, level := range [...]float64{0.1, 0.5, 0.9, 0.99} {
		w.perDay[i] = interpolated(day, level)
	}
	return w
}

// valuesOf is which of the outlook's quantiles of values are of the same kind
// as the target.
func (h Horizon) valuesOf() int {
	switch {
	case !h.Peak:
		return 0
	case h.Ticks <= Steps:
		return 1
	}
	return 2
}

// quantiles sorts the sample and reads Levels from it.
func quantiles(out []float32, sample []float32) {
	slices.Sort(sample)
	for q, level := range Levels {
		out[q] = interpolated(sample, level)
	}
}

// windowMaxima returns, for every age, the largest of the n values from it
// backwards; NaN where the window has none or leaves the ring.
func windowMaxima(ages *[ringTicks]float32, n int) *[ringTicks]float32 {
	out := new([ringTicks]float32)
	*out = *ages
	width := 1
	grow := func(by int) {
		for age := range out {
			if age+by >= ringTicks {
				out[age] = float32(math.NaN())
				continue
			}
			if v := out[age+by]; v > out[age] || out[age] != out[age] {
				out[age] = v
			}
		}
		width += by
	}
	for width < n {
		grow(min(width, n-width))
	}
	return out
}

// maximum of the known values, NaN without any.
func maximum(values []float32) float32 {
	largest := float32(math.Inf(-1))
	for _, v := range values {
		if v > largest {
			largest = v
		}
	}
	if math.IsInf(float64(largest), -1) {
		return float32(math.NaN())
	}
	return largest
}

// interpolated reads the quantile of ascending values, between two of them in
// proportion; NaN without values.
func interpolated[F float32 | float64](sorted []F, level float64) F {
	if len(sorted) == 0 {
		return F(math.NaN())
	}
	place := level * float64(len(sorted)-1)
	i := min(int(place), len(sorted)-1)
	if i == len(sorted)-1 {
		return sorted[i]
	}
	return sorted[i] + F(place-float64(i))*(sorted[i+1]-sorted[i])
}
