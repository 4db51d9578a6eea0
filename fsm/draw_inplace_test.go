package fsm

import (
	"time"

	"github.com/placed-dev/placed/fleet"
)

// drawInPlace chooses what a pass, a host or an operator says of workloads that stay
// where they are.
func (h *history) drawInPlace(workload fleet.WorkloadID) (fleet.HostID, Operation) {
	if n := h.roll(0, 9); n < 4 {
		return "h1", h.drawFeature(workload, n < 2)
	}
	standing := h.state.Adjustments()
	if n := h.roll(0, 11); len(standing) > 0 && n > 3 {
		a := sample(h, standing)
		w, _ := h.state.Workload(a.Workload)
		if n < 6 {
			return "h1", EndAdjustment{Workload: a.Workload, Kind: a.Kind, Reason: "enough"}
		}
		owner := w.Owner
		if n == 6 {
			owner = sample(h, []fleet.HostID{"h1", "h2", "h3", "h4"})
		}
		state := sample(h, []fleet.AdjustmentState{fleet.AdjustmentApplied, fleet.AdjustmentApplied, fleet.AdjustmentFailed, fleet.AdjustmentEnding})
		return owner, ReportAdjusted{Workload: a.Workload, Kind: a.Kind, State: state, Given: int64(h.roll(1, 4)) * gib / 4}
	}
	a := fleet.Adjustment{Workload: workload, Kind: fleet.AdjustmentKind(h.roll(0, 3)), Since: h.now, Reason: "short"}
	w, _ := h.state.Workload(workload)
	switch a.Kind {
	case fleet.CPUWeight:
		a.Before, a.Want = 100, 400
	case fleet.CPUQuota:
		a.Before, a.Want = 1000, 2000
	case fleet.VCPUs:
		a.Before, a.Want = 1, int64(h.roll(2, 6))
	case fleet.Balloon:
		a.Before, a.Want = w.Reservation.Memory, max(w.Reservation.Memory-gib, 1)
	}
	return "h1", Adjust{Adjustment: a}
}

// drawFeature changes whose feature a workload is, or the
// thresholds of a feature.
func (h *history) drawFeature(workload fleet.WorkloadID, change bool) Operation {
	if change {
		return SetFeature{Workload: workload, Instance: sample(h, []fleet.WorkloadID{"", "vm1", "vm2"}), By: "alice"}
	}
	limits := fleet.WorkloadThresholds{Workload: workload}
	for _, w := range h.state.Workloads() {
		if w.Kind == fleet.Feature && h.roll(0, 3) > 0 {
			limits.Workload = w.ID
		}
	}
	if h.roll(0, 3) > 0 {
		limits.Thresholds = []fleet.FeatureThreshold{{Metric: fleet.CPU, Limit: int64(h.roll(1, 8)) * 1000, Clear: 900, Hold: time.Minute}}
	}
	return SetThresholds{Thresholds: limits, By: "alice"}
}
