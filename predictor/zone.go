package predictor

import (
	"cmp"
	"math"
	"slices"

	"github.com/placed-dev/placed/fleet"
)

// DaysToFull is in how many days the daily peak of a zone reaches what its hosts
// can give, as its workloads have been growing: at the median, and at the edges of
// a band that holds nine of ten outcomes if they go on as they did. Infinite =
// not within a year.
type DaysToFull struct {
	Early, Median, Late float64
	// Growth of the peak per day at the median, base units.
	Growth float64
}

// farthestDays is how far a line through a month of peaks is drawn.
const farthestDays = 365

// FullAfter draws the lines through the workloads' daily peaks on. peak is what the
// zone used together at its busiest tick of the last day, in base units: the peaks
// of workloads do not come at one time, so their sum would be too much. Slopes err
// independently of each other. declared is by how much growth that the calendar
// knows multiplies the zone's load after so many days, beside the lines; nil = none.
func FullAfter(peak float64, trends []Trend, allocatable float64, declared func(days float64) float64) DaysToFull {
	level, slope, variance := 0.0, 0.0, 0.0
	for _, t := range trends {
		level += t.Level
		slope += t.Slope
		variance += t.Error * t.Error
	}
	if level > 0 {
		together := min(peak/level, 1)
		slope, variance = slope*together, variance*together*together
	}
	const ninth = 1.645 // deviations to the level .95
	width := ninth * math.Sqrt(variance)
	days := func(perDay float64) float64 {
		before := peak
		for day := range farthestDays + 1 {
			now := peak + perDay*float64(day)
			if declared != nil {
				now *= declared(float64(day))
			}
			switch {
			case now < allocatable:
				before = now
			case day == 0:
				return 0
			default: // within the day, in proportion
				return float64(day-1) + (allocatable-before)/(now-before)
			}
		}
		return math.Inf(1)
	}
	return DaysToFull{Early: days(slope + width), Median: days(slope), Late: days(slope - width), Growth: slope}
}

// Coupling says how far the loads of two workloads err alike: the correlation of
// the errors of their forecasts an hour ahead over the last day. Two that are
// coupled are worth less apart than they seem: their peaks meet.
type Coupling struct {
	A, B        fleet.WorkloadID
	Correlation float64
}

// minCoupled is the number of common errors below which a correlation is chance.
const minCoupled = Window / 2

// Couplings returns the pairs of series whose errors have a correlation of at least
// the given one, the closest first, at most so many.
func Couplings(series []fleet.Series, least float64, most int) []Coupling {
	var out []Coupling
	errors := make([]map[int64]float64, len(series))
	for i, s := range series {
		errors[i] = make(map[int64]float64, len(s.Residuals))
		for _, r := range s.Residuals {
			if len(r.Errors) == Steps {
				errors[i][r.Tick] = saneError(float64(r.Errors[Steps-1]))
			}
		}
	}
	for i := range series {
		for j := i + 1; j < len(series); j++ {
			if c, ok := correlation(series[i].Residuals, errors[i], errors[j]); ok && c >= least {
				out = append(out, Coupling{series[i].Workload, series[j].Workload, c})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Coupling) int {
		return cmp.Or(cmp.Compare(b.Correlation, a.Correlation), cmp.Compare(a.A, b.A), cmp.Compare(a.B, b.B))
	})
	return out[:min(len(out), most)]
}

// correlation goes through the ticks in order, so that sums are always the same.
func correlation(order []fleet.Residual, a, b map[int64]float64) (float64, bool) {
	var n, sx, sy, sxx, syy, sxy float64
	for _, r := range order {
		x, ok := a[r.Tick]
		y, both := b[r.Tick]
		if !ok || !both {
			continue
		}
		n, sx, sy, sxx, syy, sxy = n+1, sx+x, sy+y, sxx+x*x, syy+y*y, sxy+x*y
	}
	if n < minCoupled {
		return 0, false
	}
	vx, vy := sxx-sx*sx/n, syy-sy*sy/n
	if vx <= 1e-9*sxx || vy <= 1e-9*syy {
		return 0, false
	}
	return (sxy - sx*sy/n) / math.Sqrt(vx*vy), true
}
