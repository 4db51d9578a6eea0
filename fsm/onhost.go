package fsm

import (
	"math"

	"github.com/placed-dev/placed/fleet"
)

// onHost is what counts against one host.
type onHost struct {
	id        fleet.HostID
	record    *hostRecord // nil for a host that is named but not registered
	workloads map[fleet.WorkloadID]*workloadRecord
	leases    map[fleet.LeaseID]*leaseRecord
	// held is the sum over both and what is foreign, kept as they change: without drift, because
	// it is exact. What cannot be undone (custom resources in lists, sums
	// that would saturate) makes it inexact, and settle makes it again.
	held       fleet.Vector
	inexact    bool
	overbooked string // why, or ""
	dirty      bool
}

func newOnHost(id fleet.HostID) *onHost {
	return &onHost{id: id, workloads: map[fleet.WorkloadID]*workloadRecord{}, leases: map[fleet.LeaseID]*leaseRecord{}}
}

func (h *onHost) putRecord(r *hostRecord) {
	if h.record != nil {
		h.count(&h.record.foreign, -1)
	}
	h.record = r
	h.count(&r.foreign, 1)
}

func (h *onHost) putWorkload(w *workloadRecord) {
	h.workloads[w.ID] = w
	h.count(&w.Reservation, 1)
}

func (h *onHost) dropWorkload(w *workloadRecord) {
	delete(h.workloads, w.ID)
	h.count(&w.Reservation, -1)
}

func (h *onHost) putLease(l *leaseRecord) {
	h.leases[l.ID] = l
	h.count(&l.Reservation, 1)
}

func (h *onHost) dropLease(l *leaseRecord) {
	delete(h.leases, l.ID)
	h.count(&l.Reservation, -1)
}

// foreignPart says how much of what is held the books do not know, or "".
func (h *onHost) foreignPart(r fleet.Resource) string {
	if n := h.record.foreign.Get(r); n > 0 {
		return ", " + fleet.FormatAmount(r, n) + " of it in use beyond all reservations"
	}
	return ""
}

// count adds a reservation to what is held, or takes it away.
func (h *onHost) count(v *fleet.Vector, sign int64) {
	if h.inexact {
		return
	}
	if len(v.Named) > 0 || len(h.held.Named) > 0 {
		h.inexact = true
		return
	}
	for _, pair := range [4]struct{ sum, part *int64 }{
		{&h.held.CPU, &v.CPU}, {&h.held.Memory, &v.Memory}, {&h.held.Net, &v.Net}, {&h.held.Disk, &v.Disk},
	} {
		// Half of the range: neither the sum nor the next can overflow.
		if n := *pair.part; n < 0 || n > math.MaxInt64/2 || *pair.sum > math.MaxInt64/2 {
			h.inexact = true
			return
		}
		*pair.sum += sign * *pair.part
	}
}

// sum makes held right and returns it. Only settle and Restore may call it:
// whoever reads the books shares them.
func (h *onHost) sum() fleet.Vector {
	if !h.inexact {
		return h.held
	}
	var held fleet.Vector
	if h.record != nil {
		held = held.Add(h.record.foreign)
	}
	for _, w := range h.workloads {
		held = held.Add(w.Reservation)
	}
	for _, l := range h.leases {
		held = held.Add(l.Reservation)
	}
	h.held = held
	// Sums of what is small and has no names can be counted again.
	h.inexact = len(held.Named) > 0 || max(held.CPU, held.Memory, held.Net, held.Disk) > math.MaxInt64/2 ||
		min(held.CPU, held.Memory, held.Net, held.Disk) < 0
	return held
}
