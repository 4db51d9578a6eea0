package predictor

import (
	"fmt"
	"math"
)

// Horizon is what a pooled forecast is made for: the value of the tick that lies
// Ticks ahead, or the largest value of all ticks up to it.
type Horizon struct {
	Ticks int
	Peak  bool
}

// Horizons are the ones that features are computed for, in the order in which
// they stand there.
var Horizons = [...]Horizon{
	{3, false}, {Steps, false}, {4 * Steps, false}, {ticksPerDay, false},
	{Steps, true}, {ticksPerDay, true},
}

// HorizonCount is the number of Horizons.
const HorizonCount = len(Horizons)

// Index returns the place of h in Horizons, -1 when features do not cover it.
func (h Horizon) Index() int {
	for i, known := range Horizons {
		if h == known {
			return i
		}
	}
	return -1
}

// String names it as the command line does: 15m, 24h, peak:1h.
func (h Horizon) String() string {
	minutes := 5 * h.Ticks
	name := fmt.Sprintf("%dm", minutes)
	if minutes%60 == 0 {
		name = fmt.Sprintf("%dh", minutes/60)
	}
	if h.Peak {
		return "peak:" + name
	}
	return name
}

// target reads what h asks for after the tick at index t of values: NaN when
// anything of it is missing or not there.
func (h Horizon) target(values []float64, t int) float64 {
	if t+h.Ticks >= len(values) {
		return math.NaN()
	}
	if !h.Peak {
		return values[t+h.Ticks]
	}
	peak := math.Inf(-1)
	for _, v := range values[t+1 : t+h.Ticks+1] {
		if v != v {
			return v
		}
		peak = max(peak, v)
	}
	return peak
}
