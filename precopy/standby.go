package precopy

import (
	"math"
	"time"
)

// Interval is the longest time between two rounds of a standby after which a
// freeze still meets the target downtime, whenever it comes:
//
//	D(τ) × ratio / bandwidth + fixed = target
//	τ = −(W/r) × ln(1 − bandwidth × (target − fixed) / (W × ratio))
//
// with r and W of the Model. Zero: no interval is short enough. math.MaxInt64: the
// whole working set may be dirty. Worked example: W = 64 MiB, r = 8 MiB/s, 256 MiB/s
// without compression, a target of 100 ms with a fixed cutover of 20 ms: 20.5 MiB may
// be dirty, which they are after −8 × ln(1 − 0.32) = 3.1 s.
func (m Model) Interval(link Link, target time.Duration) time.Duration {
	may := (target - link.FixedCutover).Seconds() * link.bandwidth() / link.ratio()
	switch {
	case may <= 0:
		return 0
	case m.WriteRate <= 0, m.WorkingSet > 0 && may >= m.WorkingSet:
		return math.MaxInt64
	case m.WorkingSet <= 0:
		return seconds(may / m.WriteRate)
	}
	return seconds(-m.WorkingSet / m.WriteRate * math.Log1p(-may/m.WorkingSet))
}
