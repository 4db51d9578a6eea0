package daemon

import (
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/httpapi"
)

var _ httpapi.FleetViewer = backend{}

// FleetView is what this agent sees of the fleet, for GET /v1/fleet.
func (b backend) FleetView() fleet.View {
	b.d.sight.borrowFits()
	return b.d.sight.view()
}
