package predictor

import "math"

// Replay asks what the coming day would be if a past day came again: one
// scenario per past day, each the load of that day, shifted by how far the load
// is from it now, a difference that fades. The same day of every member of a host
// belongs together, so what rises together in the past does so here.
//
// It sees further than the features do (an hour), and so finds the hosts whose
// workloads do not go together at another time of the day.
type Replay struct {
	// Days is how many past days are replayed, the newest first.
	Days int
	// Offsets are the ticks ahead that are looked at, ascending, from 1 to a
	// day.
	Offsets []int
	// HalfLife in ticks of the present deviation.
	HalfLife float64
}

// Ticks is how much history a replay needs.
func (r Replay) Ticks() int { return r.Days*ticksPerDay + 1 }

// Len is the number of values of one workload: Days × len(Offsets), day by day.
func (r Replay) Len() int { return r.Days * len(r.Offsets) }

// Fill writes the scenarios of one workload. history ends with the newest
// complete tick and holds at least Ticks() values, in the unit of the result; a
// NaN counts as the newest value. It reports false, and fills with the newest
// value, where the history is too short.
func (r Replay) Fill(history []float32, out []float32) bool {
	if len(history) == 0 {
		clear(out)
		return false
	}
	newest := history[len(history)-1]
	if newest != newest {
		newest = 0
	}
	if len(history) < r.Ticks() {
		fill(out, newest)
		return false
	}
	fade := make([]float32, len(r.Offsets))
	for i, k := range r.Offsets {
		fade[i] = float32(math.Exp2(-float64(k) / r.HalfLife))
	}
	at := 0
	for day := 1; day <= r.Days; day++ {
		base := len(history) - 1 - day*ticksPerDay
		then := history[base]
		if then != then {
			then = newest
		}
		for i, k := range r.Offsets {
			v := history[base+k]
			if v != v {
				v = newest
			}
			out[at] = max(v+fade[i]*(newest-then), 0)
			at++
		}
	}
	return true
}
