package daemon

import (
	"time"

	"github.com/placed-dev/placed/consensus"
	"github.com/placed-dev/placed/httpapi"
)

var _ httpapi.LogBackend = backend{}

// LogFigures are what this agent's proposer and autopilot say, for metrics.
func (b backend) LogFigures() (httpapi.LogFigures, bool) {
	if b.d.node == nil {
		return httpapi.LogFigures{}, false
	}
	p := b.d.node.Proposer()
	out := httpapi.LogFigures{Entries: p.Entries, Proposals: p.Proposals, Bytes: p.Bytes, Waiting: p.Waiting, InFlight: p.InFlight,
		Took: make(map[time.Duration]uint64, len(p.Took)), Answered: p.Answered, Total: p.Total}
	for i, bound := range consensus.EntryBounds {
		out.Took[bound] = p.Took[i]
	}
	h := b.d.node.Health()
	if h == nil {
		return out, true
	}
	out.Judged, out.Healthy, out.FailureTolerance = true, h.Healthy, h.FailureTolerance
	out.ClockOffset = b.d.clockOffset.load().Offset
	newest, named := uint64(0), map[string]bool{}
	for _, s := range h.Servers {
		newest = max(newest, s.LastIndex)
	}
	for _, s := range h.Servers {
		host := b.d.nameOf(s.ID)
		if named[host] { // two hosts of one name would be one line
			host = s.ID
		}
		named[host] = true
		out.Servers = append(out.Servers, httpapi.LogServer{Host: host, Healthy: s.Healthy, LastContact: s.LastContact, Behind: newest - s.LastIndex})
	}
	return out, true
}
