package fleet

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Month is the unit of Growth.
const Month = 30 * 24 * time.Hour

// Growth is how an operator expects the load under a label to grow, beyond what
// the history shows.
type Growth struct {
	// Group is the label (Workload.Group) it is about; Workloads names more.
	// Both empty means everything.
	Group     string       `json:"group,omitempty"`
	Workloads []WorkloadID `json:"workloads,omitempty"`
	// PerMonth is by how many thousandths load changes in 30 days, compounded,
	// per resource: 20 = 2 % a month, negative shrinks.
	PerMonth Vector `json:"per_month"`
}

// OnWorkload says whether the growth is about the workload.
func (g Growth) OnWorkload(w Workload) bool {
	return g.Group == "" && len(g.Workloads) == 0 || g.Group != "" && g.Group == w.Group || slices.Contains(g.Workloads, w.ID)
}

// Factor is by how much the load of a resource is multiplied after a while.
func (g Growth) Factor(r Resource, after time.Duration) float64 {
	rate := g.PerMonth.Get(r)
	if rate == Unknown || after <= 0 {
		return 1
	}
	return math.Pow(1+float64(max(rate, -999))/1000, float64(after)/float64(Month))
}

// Validate checks a growth that comes from outside.
func (g Growth) Validate() (bad error) {
	if g.Group != "" {
		if err := validateName("growth group", g.Group); err != nil {
			return err
		}
	}
	g.PerMonth.Each(func(r Resource, n int64) {
		if bad == nil && (n < -999 || n > 10_000) {
			bad = fmt.Errorf("growth of %q: %s changes by %d thousandths a month: -999 to 10000 are allowed", g.Group, r, n)
		}
	})
	return bad
}
