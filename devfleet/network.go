package devfleet

import (
	"fmt"
	"net"
	"strconv"
)

// Ports of every host of the fleet, on the host's own loopback address.
const (
	portTransport = 4100 // mTLS: raft, rpc, migrate
	portGossip    = 4101
	portPeer      = 4103 // proxy to proxy
	portAPI       = 4102 // HTTP API and web page
)

// lastSubnet bounds the search for free addresses in 127.0.K.0/24.
const lastSubnet = 63

// assign gives every host its loopback address: 127.0.0.1, 127.0.0.2, … or,
// when something listens there already, the next 127.0.K.1, ….
func (b *Blueprint) assign() error {
	var busy error
	for subnet := 0; subnet <= lastSubnet; subnet++ {
		for i := range b.Hosts {
			b.Hosts[i].IP = fmt.Sprintf("127.0.%d.%d", subnet, i+1)
		}
		if busy = b.free(); busy == nil {
			return nil
		}
	}
	return fmt.Errorf("no free loopback addresses for the fleet: %w", busy)
}

// free checks that nothing listens where the fleet is going to.
func (b *Blueprint) free() error {
	for _, h := range b.Hosts {
		ports := []int{portTransport, portGossip, portPeer, portAPI}
		for _, w := range b.Workloads {
			ports = append(ports, w.Port)
		}
		for _, port := range ports {
			listener, err := net.Listen("tcp", h.address(port))
			if err != nil {
				return fmt.Errorf("%s of %s is taken: %w; end what listens there (another fleet?)", h.address(port), h.Name, err)
			}
			listener.Close()
		}
	}
	return nil
}

func (h Host) address(port int) string { return net.JoinHostPort(h.IP, strconv.Itoa(port)) }
