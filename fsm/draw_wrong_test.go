package fsm

import (
	"github.com/placed-dev/placed/fleet"
)

// drawWrong chooses what must be refused, or must not change what it seems to
// change: a word of the wrong host or under an older token, and an expiry in any
// state. Bugs hide where nobody tries.
func (h *history) drawWrong(l fleet.Lease) (fleet.HostID, Operation) {
	stale := l.Token
	stale.Index--
	switch h.roll(0, 9) {
	case 0:
		return l.Destination, Commit{Lease: l.ID, Digest: "d"}
	case 1:
		return l.Destination, Abort{Lease: l.ID, Reason: "no"}
	case 2:
		return l.Source, ReportDiscarded{Lease: l.ID}
	case 3:
		return l.Source, ReportActivated{Lease: l.ID}
	case 4:
		return l.Source, Begin{Lease: l.ID, Token: stale}
	case 5:
		return l.Destination, ReportPrepared{Lease: l.ID, Digest: "d", Token: stale}
	case 6:
		return l.Source, Commit{Lease: l.ID, Digest: "d", Token: stale}
	case 7:
		return l.Destination, Revert{Lease: l.ID, Reason: "no", Token: stale}
	}
	if h.roll(0, 2) == 0 {
		return "h1", Promote{Lease: l.ID, Type: fleet.Requested}
	}
	return "h1", Expire{Lease: l.ID}
}

// drawTight chooses a placement that just fits, or is one byte too large.
func (h *history) drawTight(to fleet.HostID, workload fleet.WorkloadID) (fleet.HostID, Operation) {
	at, _ := h.state.Host(to)
	free := at.Allocatable().Sub(h.state.Held(to))
	return "h1", Grant{Workload: workload, Destination: to, Kind: fleet.LeasePlacement,
		Reservation: fleet.Vector{CPU: 1, Memory: max(1, free.Memory+int64(h.roll(0, 1)))}}
}
