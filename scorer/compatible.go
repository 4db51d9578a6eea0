package scorer

import (
	"fmt"

	"github.com/placed-dev/placed/fleet"
)

// Ways finds what is known of the way between two hosts: a link between the
// hosts themselves counts before one between their zones.
type Ways struct {
	direct map[[2]string]fleet.Link
	barred bool
}

// NewWays reads the links of a view.
func NewWays(links []fleet.Link) Ways {
	w := Ways{direct: make(map[[2]string]fleet.Link, len(links))}
	for _, l := range links {
		w.direct[[2]string{l.From, l.To}] = l
		w.barred = w.barred || l.Barred != ""
	}
	return w
}

// Barred says that some way may not be taken at all.
func (w Ways) Barred() bool { return w.barred }

// Between returns the link and whether there is one. It is directional: a guest
// may be able to go to a host and not come back.
func (w Ways) Between(from, to fleet.Host) (fleet.Link, bool) {
	if len(w.direct) == 0 {
		return fleet.Link{}, false
	}
	if l, ok := w.direct[[2]string{string(from.ID), string(to.ID)}]; ok {
		return l, true
	}
	l, ok := w.direct[[2]string{from.Zone, to.Zone}]
	return l, ok
}

// Takes says whether the host accepts workloads at all right now, and if not,
// why.
func Takes(h fleet.HostView) (bool, string) {
	switch {
	case h.State != fleet.HostActive:
		return false, fmt.Sprintf("its state is %s", h.State)
	case h.Liveness != fleet.Alive:
		return false, livenessReason(h.Liveness)
	case h.Reported.IsZero():
		return false, "it has not reported its load yet"
	case h.Overbooked:
		return false, "it is overbooked: reality exceeds the books, so nothing may be granted toward it"
	}
	return true, ""
}

// Compatible says whether the workload can run on the host and get there from
// where it is: requirements, and the migratability of the pair of hosts. An
// empty source means that it has not been placed yet.
func Compatible(w fleet.WorkloadView, from *fleet.Host, to fleet.HostView, ways Ways) (bool, string) {
	if !w.Requires.IsZero() {
		if lacking, lacks := to.Capabilities.Lacks(w.Requires); lacks {
			return false, fmt.Sprintf("it lacks %s, which the workload requires", lacking)
		}
	}
	if from != nil {
		if l, ok := ways.Between(*from, to.Host); ok && l.Barred != "" {
			return false, fmt.Sprintf("nothing moves from %s to it: %s", from.Name, l.Barred)
		}
	}
	return true, ""
}
