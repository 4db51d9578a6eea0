package predictor

import (
	"fmt"
	"math"

	"github.com/placed-dev/placed/fleet"
)

// Usual is how much the workloads of one kind use of a resource at which hour of the
// day (UTC), as shares of what they have reserved: what a workload without a history
// of its own is taken to do.
type Usual struct {
	Kind     string // for people: "category diurnal"
	Members  int
	Q50, Q95 [24]float64
}

// Add takes in one more member by its profile; false when that says nothing of the
// resource, or nothing is reserved.
func (u *Usual) Add(p *Profile, r fleet.Resource, reservation int64) bool {
	if reservation <= 0 || p.Days < usualDays {
		return false
	}
	for _, of := range p.Resources {
		if of.Resource != r {
			continue
		}
		u.Members++
		for h := range u.Q50 {
			u.Q50[h] += (of.Q50[h]/float64(reservation) - u.Q50[h]) / float64(u.Members)
			u.Q95[h] += (of.Q95[h]/float64(reservation) - u.Q95[h]) / float64(u.Members)
		}
		return true
	}
	return false
}

const (
	// usualDays of history make a profile that others may borrow.
	usualDays = 3
	// borrowTicks is how much history of its own makes a workload stand alone: two
	// days, so that the same time yesterday has been seen twice. Until then both
	// count, its own the more the longer it is.
	borrowTicks = 2 * ticksPerDay
)

// bell are the distances of Levels from the median, the .95 at 1: between and beyond
// the two that a profile knows, load is taken to be spread like a bell.
var bellLevels = [LevelCount]float64{0, 1.2816 / 1.6449, 1, 2.3263 / 1.6449}

// Quantiles at the hour of a tick, base units.
func (u *Usual) Quantiles(tick, reservation int64) (q [LevelCount]float64) {
	h := slot(tick, ticksPerDay) / Steps
	for i := range q {
		q[i] = float64(reservation) * (u.Q50[h] + bellLevels[i]*max(u.Q95[h]-u.Q50[h], 0))
	}
	return q
}

// Borrow is for a series that has earned no trust because it is young: bands that
// lead from what little it has shown to what its kind usually does, for a workload
// of that reservation (base units). False when its own history is long enough.
func Borrow(s fleet.Series, u *Usual, reservation int64) (fleet.Bands, bool) {
	own := 0.0
	if Readable(s) {
		own = float64(s.Features[FeatureHistory])
	}
	if own >= borrowTicks || u.Members == 0 || reservation <= 0 {
		return fleet.Bands{}, false
	}
	trust := own / borrowTicks
	plain := NewBlock(withoutBands(s), Baseline{})
	out := fleet.Bands{Model: u.Kind, Reason: fmt.Sprintf("it has %.0f h of history; until it has %d h, what the %d workloads of its kind (%s) usually do counts as well, by its reservation",
		own/Steps, borrowTicks/Steps, u.Members, u.Kind)}
	for k := range Steps {
		usual := u.Quantiles(s.Tick+int64(k)+1, reservation)
		sorted := plain.sorted(k + 1)
		from, to := make([]float64, LevelCount), make([]float64, LevelCount)
		for q, level := range Levels {
			from[q] = quantileOf(sorted, level)
			to[q] = trust*from[q] + (1-trust)*usual[q]
		}
		out.From, out.To = append(out.From, from), append(out.To, to)
	}
	return out, true
}

// BorrowQuantiles is what is shown of the horizons of a series that borrows: its
// kind's, and the largest of the hours that a peak spans.
func BorrowQuantiles(tick int64, u *Usual, reservation int64) (out [HorizonCount][LevelCount]float64) {
	for i, h := range Horizons {
		first := h.Ticks
		if h.Peak {
			first = 1
		}
		for ahead := first; ahead <= h.Ticks; ahead++ {
			for q, v := range u.Quantiles(tick+int64(ahead), reservation) {
				out[i][q] = max(out[i][q], v)
			}
		}
	}
	return out
}

// UsageSeries stands for a workload of which only the present usage is known (base
// units, measured in the given tick): the series of a load that has always been
// there.
func UsageSeries(of fleet.WorkloadID, r fleet.Resource, tick int64, usage float64) fleet.Series {
	s := fleet.Series{Workload: of, Resource: r, Tick: tick, FeatureVersion: FeatureVersion, Features: make([]float32, FeatureCount)}
	fill(s.Features[FeatureLags:], float32(min(sane(usage), math.MaxFloat32)))
	fill(s.Features[FeatureSDs:FeatureEWMA], 0)
	fill(s.Features[FeatureWeek+1:FeatureSame], 0)
	return s
}
