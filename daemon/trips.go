package daemon

import (
	"time"

	"github.com/placed-dev/placed/controller"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
)

// zoneTrips are the round-trip times from this host to the zones: gossip probes
// hosts at random and measures, the books know where they are.
func (d *Daemon) zoneTrips() []controller.ZoneTrip {
	measured := map[fleet.HostID]time.Duration{}
	for _, m := range d.gossip.Members() {
		if m.State == fleet.Alive {
			measured[m.ID] = m.MinRTT
		}
	}
	zones := map[fleet.HostID]string{}
	d.books.Read(func(s *fsm.State) {
		for _, h := range s.Hosts() {
			zones[h.ID] = h.Zone
		}
	})
	return controller.ZoneTrips(d.self, zones, measured)
}
