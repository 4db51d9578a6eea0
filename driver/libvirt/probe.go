package libvirt

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// card of a running domain that is plugged into a bridge of this host.
type card struct{ MAC, Tap, Bridge string }

// arrivedGuest is what is looked at after a move: is the guest on its network here?
type arrivedGuest struct {
	Workload fleet.WorkloadID
	Cards    []card
}

// probeTime is how long a guest may take to be heard on its network. QEMU itself
// announces a guest that has arrived several times within the first second.
const probeTime = 10 * time.Second

// heard waits until every card of the guest has been heard at its own port of its
// bridge, and returns those that have not. Nothing is sent: the address table of the
// bridge shows who has spoken.
func (g arrivedGuest) heard(ctx context.Context, bridges string) (silent []card) {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	for {
		silent = nil
		for _, c := range g.Cards {
			if ok, err := c.spoke(bridges); err != nil || !ok {
				silent = append(silent, c)
			}
		}
		if len(silent) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return silent
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// spoke says whether the bridge has learned the card's address at the card's port.
// bridges is the kernel's directory of network devices.
func (c card) spoke(bridges string) (bool, error) {
	text, err := os.ReadFile(filepath.Join(bridges, filepath.Base(c.Bridge), "brif", filepath.Base(c.Tap), "port_no"))
	if err != nil {
		return false, err
	}
	port, err := strconv.ParseUint(strings.TrimSpace(string(text)), 0, 16)
	if err != nil {
		return false, err
	}
	mac, err := net.ParseMAC(c.MAC)
	if err != nil {
		return false, err
	}
	table, err := os.ReadFile(filepath.Join(bridges, filepath.Base(c.Bridge), "brforward"))
	if err != nil {
		return false, err
	}
	return learned(table, mac, uint16(port))
}

// fdbEntry is the size of struct __fdb_entry in linux/if_bridge.h: six bytes of
// address, the port's low byte, whether it is the host's own, an age in 1/100 s, the
// port's high byte, three bytes of nothing.
const fdbEntry = 16

// learned looks for an address that is not the host's own at a port of a bridge.
func learned(table []byte, mac net.HardwareAddr, port uint16) (bool, error) {
	if len(table)%fdbEntry != 0 {
		return false, fmt.Errorf("the bridge's address table has an unknown form: %d bytes", len(table))
	}
	for ; len(table) > 0; table = table[fdbEntry:] {
		at := binary.LittleEndian.Uint16([]byte{table[6], table[12]})
		if string(table[:6]) == string(mac) && table[7] == 0 && at == port {
			return true, nil
		}
	}
	return false, nil
}
