package traffic

import (
	"fmt"
	"net"

	"github.com/placed-dev/placed/fleet"
)

// Route says where the requests of one workload go from this host.
type Route struct {
	Workload string `json:"workload"`
	// Port is the workload's stable port on every host's traffic address; 0:
	// no clients are accepted here, only what other proxies forward.
	Port int `json:"port,omitempty"`
	// Local: this host owns the workload and Backend ("ip:port") runs it.
	Local   bool   `json:"local,omitempty"`
	Backend string `json:"backend,omitempty"`
	// Peer is the owner's proxy, "ip:port", when the owner is another host.
	Peer string `json:"peer,omitempty"`
	// Epoch counts changes of owner. A route never replaces a newer one.
	Epoch uint64 `json:"epoch"`
}

// Validate checks a route for a proxy whose own peer address is self.
func (r Route) Validate(self string) error {
	if err := fleet.WorkloadID(r.Workload).Validate(); err != nil {
		return fmt.Errorf("route: %w", err)
	}
	if r.Port < 0 || r.Port > 65535 {
		return fmt.Errorf("route %s: port %d is outside 0..65535", r.Workload, r.Port)
	}
	target, field := r.Peer, "peer"
	if r.Local {
		target, field = r.Backend, "backend"
	}
	if _, _, err := net.SplitHostPort(target); err != nil {
		return fmt.Errorf("route %s: %s %q is not ip:port", r.Workload, field, target)
	}
	if !r.Local && r.Peer == self {
		return fmt.Errorf("route %s: peer %s is this proxy itself, but the route is not local", r.Workload, r.Peer)
	}
	return nil
}

// target is where an upstream connection leads; connections are replaced when
// it changes.
type target struct {
	local bool
	addr  string
	epoch uint64
}

func (r Route) target() target {
	if r.Local {
		return target{local: true, addr: r.Backend, epoch: r.Epoch}
	}
	return target{addr: r.Peer, epoch: r.Epoch}
}
