package daemon

import (
	"time"

	"github.com/placed-dev/placed/controller"
	"github.com/placed-dev/placed/fleet"
)

// addForeign adds to a report the cpu that the machine spends on what is no
// workload of ours, beyond what the host keeps for itself: it cannot be moved, and
// forecasts that left it out would promise it twice. Where the capacity is a
// configured share of a machine, others' use of the rest is none of its business.
func (r *reporter) addForeign(now time.Time, report *controller.Report) {
	if !r.alone {
		return
	}
	host, booked := r.books.host(r.self)
	usage, measured, err := r.sampler.Host(now)
	switch {
	case err != nil && !r.blind:
		r.blind = true
		r.log.Warn("what else runs on this host cannot be measured; forecasts go on without it", "error", err)
	case err == nil:
		r.blind = false
	}
	if err != nil || !measured || !booked {
		return
	}
	report.Foreign.CPU = max(usage.CPU-report.Usage.CPU-max(host.Reserve.CPU, 0), 0)
	report.Usage = report.Usage.Add(fleet.Vector{CPU: report.Foreign.CPU})
}
