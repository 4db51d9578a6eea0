package predictor

import "math"

// FeatureVersion names the layout below. A leader that meets another version
// must not read the features.
const FeatureVersion = 1

// Layout of the features, all finite and in base units unless said otherwise.
// Where a value is missing its place is taken by the nearest older one (lags)
// or by the newest value (seasonal ones); FeatureHistory tells how much to
// believe.
const (
	FeatureHistory = 0  // observed ticks of the last eight days (count)
	FeaturePhase   = 1  // tick of the day, UTC (0..287)
	FeatureWeekday = 2  // day of the week, UTC (0 = Sunday)
	FeatureLags    = 3  // values 0, 1, 2, 3, 6, 12 ticks ago
	FeatureMeans   = 9  // means of the last 3, 6, 12, 36, 72, 144, 288 ticks
	FeatureMaxima  = 16 // maxima of the last 3, 12, 36, 288 ticks
	FeatureSDs     = 20 // standard deviations of the last 12, 72, 288 ticks
	FeatureEWMA    = 23 // exponential mean, half-life 6 ticks
	FeatureWeek    = 24 // mean and standard deviation of 7 days, up to the last full hour
	FeatureDaily   = 26 // how well yesterday's hourly changes foretold today's (slope, 0..1), up to the last full hour
	FeatureHourly  = 27 // how well what sticks out repeats every hour (slope, 0..1), up to the last full hour
	FeatureRevert  = 28 // how far it returns within 15 min to the mean of its hour (slope, 0..1), up to the last full hour
	FeatureSame    = 29 // mean of the same time of day on the last 7 days, three ticks wide
	FeatureSteps   = 30 // per step 1..Steps: FeaturesPerStep values
	// FeaturesPerStep: for the target's time of day the mean of the last 7
	// days (three ticks wide) and their maximum, yesterday's value, the value
	// a week before, and the mean of the same minute of the last 6 hours.
	FeaturesPerStep = 5
	// FeatureCount is the length of the feature vector (360 bytes).
	FeatureCount = FeatureSteps + Steps*FeaturesPerStep
)

var (
	lagTicks     = [...]int64{0, 1, 2, 3, 6, 12}
	meanWindows  = [...]int{3, 6, 12, 36, 72, 144, ticksPerDay}
	maxWindows   = [...]int{3, 12, 36, ticksPerDay}
	sdWindows    = [...]int{12, 72, ticksPerDay}
	ewmaHalfLife = 6.0
)

// computeFeatures reads them from the ring. Running sums would be cheaper but
// drift, and a series that moved to another host must go on with the very same
// bytes; what looks back a week is therefore computed once an hour.
func (s *Series) computeFeatures() []float32 {
	f := make([]float32, FeatureCount)
	newest := s.at(s.tick)
	if hour := s.tick - slot(s.tick, Steps) - 1; !s.weekly.valid || s.weekly.until != hour {
		s.weekly = s.computeWeekly(hour)
	}
	f[FeatureHistory] = float32(s.known)
	f[FeaturePhase] = float32(slot(s.tick, ticksPerDay))
	f[FeatureWeekday] = float32(slot(floorDiv(s.tick, ticksPerDay)+4, 7))
	for i, lag := range lagTicks {
		f[FeatureLags+i] = s.before(s.tick - lag)
	}
	s.windows(f)
	f[FeatureEWMA] = s.ewma()
	f[FeatureWeek], f[FeatureWeek+1] = s.weekly.mean, s.weekly.sd
	if !s.weekly.any {
		f[FeatureWeek] = newest
	}
	f[FeatureDaily], f[FeatureHourly], f[FeatureRevert] = s.weekly.daily, s.weekly.hourly, s.weekly.revert
	s.sameTimes(f, newest)
	return f
}

// windows fills the rolling means, maxima and deviations in one walk back over
// the last day. The newest value is never missing, so every window has one.
func (s *Series) windows(f []float32) {
	var n, sum, square float64
	largest := float32(0)
	origin := float64(s.at(s.tick)) // shifting keeps the squares small
	c := s.cursor(s.tick)
	mean, top, sd, age := 0, 0, 0, 0
	for age < ticksPerDay {
		until := min(nextWindow(meanWindows[:], mean), nextWindow(maxWindows[:], top), nextWindow(sdWindows[:], sd))
		for ; age < until; age++ {
			if v := c.back(); v == v {
				d := float64(v) - origin
				n, sum, square = n+1, sum+d, square+d*d
				largest = max(largest, v)
			}
		}
		if nextWindow(meanWindows[:], mean) == age {
			f[FeatureMeans+mean] = float32(origin + sum/n)
			mean++
		}
		if nextWindow(maxWindows[:], top) == age {
			f[FeatureMaxima+top] = largest
			top++
		}
		if nextWindow(sdWindows[:], sd) == age {
			f[FeatureSDs+sd] = float32(math.Sqrt(max(square/n-(sum/n)*(sum/n), 0)))
			sd++
		}
	}
}

// nextWindow is where the window at that place ends, a day when there is none.
func nextWindow(windows []int, at int) int {
	if at == len(windows) {
		return ticksPerDay
	}
	return windows[at]
}

// weekly holds what looks back a week, computed when the hour is full.
type weekly struct {
	valid, any            bool
	until                 int64 // the last tick of a full hour
	mean, sd              float32
	daily, hourly, revert float32
}

func (s *Series) computeWeekly(until int64) weekly {
	w := weekly{valid: true, until: until}
	var n, sum, square float64
	var origin float64 // the newest of them: shifting keeps the squares small
	c := s.cursor(until)
	for range ticksPerWeek - Steps {
		if v := c.back(); v == v {
			if n == 0 {
				origin = float64(v)
			}
			d := float64(v) - origin
			n, sum, square = n+1, sum+d, square+d*d
		}
	}
	if n > 0 {
		w.any = true
		w.mean = float32(origin + sum/n)
		w.sd = float32(math.Sqrt(max(square/n-(sum/n)*(sum/n), 0)))
	}
	w.daily = s.dailySlope(until, ticksPerWeek-2*Steps)
	w.hourly = s.hourlySlope(until, 3*ticksPerDay)
	w.revert = s.reversion(until, 3*ticksPerDay)
	return w
}

// cursor walks the ring backwards without a division per step.
type cursor struct {
	values *[ringTicks]float32
	next   int
}

func (s *Series) cursor(tick int64) cursor {
	return cursor{values: &s.values, next: int(slot(tick, ringTicks))}
}

func (c *cursor) back() float32 {
	v := c.values[c.next]
	if c.next--; c.next < 0 {
		c.next = ringTicks - 1
	}
	return v
}

// ewmaWeights fall by half every half-life; what lies before ten of them weighs
// less than 0.1 %.
var ewmaWeights = func() (w [60]float64) {
	decay := math.Exp2(-1 / ewmaHalfLife)
	weight := 1.0
	for i := range w {
		w[i] = weight
		weight *= decay
	}
	return w
}()

func (s *Series) ewma() float32 {
	total, sum := 0.0, 0.0
	c := s.cursor(s.tick)
	for _, weight := range ewmaWeights {
		if v := c.back(); v == v {
			total, sum = total+weight, sum+weight*float64(v)
		}
	}
	return float32(sum / total)
}

// reversion regresses the change over the next 15 minutes on the distance from
// the mean of the last hour: 0 for load that stays where it goes (a random walk,
// a jump, a slow wave), 1 for noise around a level. Without it a mean would be
// trusted for loads that never come back to it.
func (s *Series) reversion(until, over int64) float32 {
	const ahead = 3
	var r regression
	var n, sum float64 // of the hour that ends where the cursors stand
	later, now, leaving := s.cursor(until), s.cursor(until-ahead), s.cursor(until-ahead)
	entering := s.cursor(until - ahead)
	for range Steps {
		if v := entering.back(); v == v {
			n, sum = n+1, sum+float64(v)
		}
	}
	for range over {
		if v, next := now.back(), later.back(); v == v {
			r.add(sum/n-float64(v), float64(next)-float64(v))
		}
		if v := leaving.back(); v == v {
			n, sum = n-1, sum-float64(v)
		}
		if v := entering.back(); v == v {
			n, sum = n+1, sum+float64(v)
		}
	}
	return r.slope()
}

// dailySlope regresses the change over an hour on the same change a day before:
// 0 for load without a daily shape, 1 for load that repeats itself.
func (s *Series) dailySlope(until, over int64) float32 {
	var r regression
	nows, thens := s.cursor(until), s.cursor(until-Steps)
	pasts, pastThens := s.cursor(until-ticksPerDay), s.cursor(until-ticksPerDay-Steps)
	for range over {
		r.add(float64(pasts.back())-float64(pastThens.back()), float64(nows.back())-float64(thens.back()))
	}
	return r.slope()
}

// hourlySlope regresses how far a value sticks out from those 15 minutes before
// and after it on the same an hour before. A plain change would do for jobs that
// run every hour as well, but it takes every slow wave for one.
func (s *Series) hourlySlope(until, over int64) float32 {
	const side = 3
	var r regression
	after, at, before := s.cursor(until), s.cursor(until-side), s.cursor(until-2*side)
	pastAfter, pastAt, pastBefore := s.cursor(until-Steps), s.cursor(until-Steps-side), s.cursor(until-Steps-2*side)
	for range over {
		y := float64(at.back()) - (float64(after.back())+float64(before.back()))/2
		x := float64(pastAt.back()) - (float64(pastAfter.back())+float64(pastBefore.back()))/2
		r.add(x, y)
	}
	return r.slope()
}

// regression of y on x through the origin.
type regression struct{ xy, xx, pairs float64 }

// add takes a pair of which neither is missing.
func (r *regression) add(x, y float64) {
	if x == x && y == y {
		r.xy, r.xx, r.pairs = r.xy+x*y, r.xx+x*x, r.pairs+1
	}
}

// slope lies within 0..1 and is drawn toward 0 while there are few pairs.
func (r *regression) slope() float32 {
	if r.xx <= 0 {
		return 0
	}
	return float32(min(max(r.xy/r.xx*r.pairs/(r.pairs+ticksPerDay/2), 0), 1))
}

// sameTimes fills what the coming steps were at the same time on other days and
// at the same minute of the last hours. The days are read out of the ring once:
// the steps look at nearly the same ticks of them.
func (s *Series) sameTimes(f []float32, newest float32) {
	const first = -1 // the tick before now, seen from the day's own now
	var days [7][Steps + 3]float32
	for day := range days {
		s.read(days[day][:], s.tick-int64(day+1)*ticksPerDay+first)
	}
	var hours [6 * Steps]float32
	s.read(hours[:], s.tick-int64(len(hours))+1)
	for k := range Steps + 1 {
		same := sameTime(&days, k, newest)
		if k == 0 {
			f[FeatureSame] = same.mean
			continue
		}
		at := f[FeatureSteps+(k-1)*FeaturesPerStep:][:FeaturesPerStep]
		at[0], at[1] = same.mean, same.max
		at[2] = or(days[0][k-first], newest)
		at[3] = or(days[6][k-first], newest)
		at[4] = sameMinute(&hours, k, newest)
	}
}

// read copies ticks from the given one on, oldest first.
func (s *Series) read(out []float32, first int64) {
	at := int(slot(first, ringTicks))
	n := copy(out, s.values[at:])
	copy(out[n:], s.values[:])
}

// sameMinute is the mean at the minute of the step of the last six hours; hours
// ends with the newest tick.
func sameMinute(hours *[6 * Steps]float32, step int, otherwise float32) float32 {
	n, sum := 0.0, 0.0
	for at := len(hours) - 1 + step - Steps; at >= 0; at -= Steps {
		if v := hours[at]; v == v {
			n, sum = n+1, sum+float64(v)
		}
	}
	if n == 0 {
		return otherwise
	}
	return float32(sum / n)
}

type meanMax struct{ mean, max float32 }

// sameTime looks at the time of day of the step, three ticks wide, on the seven
// days before; its maximum is of that tick alone.
func sameTime(days *[7][Steps + 3]float32, step int, otherwise float32) meanMax {
	var n, sum float64
	largest := float32(-1)
	for day := range days {
		for side, v := range days[day][step : step+3] {
			if v != v {
				continue
			}
			n, sum = n+1, sum+float64(v)
			if side == 1 {
				largest = max(largest, v)
			}
		}
	}
	out := meanMax{mean: otherwise, max: otherwise}
	if n > 0 {
		out.mean = float32(sum / n)
	}
	if largest >= 0 {
		out.max = largest
	}
	return out
}

// before returns the value at the tick or, if it is missing, the nearest older
// one of the last day; failing that, the newest.
func (s *Series) before(tick int64) float32 {
	for t := tick; t > tick-ticksPerDay; t-- {
		if v := s.at(t); v == v {
			return v
		}
	}
	return s.at(s.tick)
}

func or(v, otherwise float32) float32 {
	if v == v {
		return v
	}
	return otherwise
}

func floorDiv(a, b int64) int64 { return (a - slot(a, b)) / b }
