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
	"sync"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// card of a running domain that is plugged into a bridge of this host.
type card struct{ MAC, Tap, Bridge string }

// arrivedGuest is what is looked at after a move: is the guest on its network here?
type arrivedGuest struct {
	Workload fleet.WorkloadID
	Cards    []card
	// Agent: it has a channel for one. Notice: it wants to know of moves. Stayed:
	// the move came to nothing.
	Agent, Notice, Stayed bool
}

// sighting is what was found of a guest that has arrived.
type sighting struct {
	cards    int
	silent   []card
	agent    bool
	answered bool
}

// probe listens for the guest on its bridges, and asks its agent where it has one, until
// both have shown it or the time is over.
func (g arrivedGuest) probe(ctx context.Context, bridges string, ask ask) sighting {
	out := sighting{cards: len(g.Cards), agent: g.Agent}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	var both sync.WaitGroup
	both.Go(func() { out.silent = g.heard(ctx, bridges) })
	if g.Agent {
		both.Go(func() { out.answered = answers(ctx, ask) })
	}
	both.Wait()
	return out
}

// answers pings the guest's agent until it answers: it may be busy for a moment, and
// libvirtd has just opened its channel.
func answers(ctx context.Context, ask ask) bool {
	for {
		if ask.ping(ctx) == nil {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(execPoll):
		}
	}
}

// verdict says in words whether the guest has arrived well: heard from each of its cards,
// or, where it has none on a bridge, by the answer of its agent. A guest of which nothing
// can be seen from outside is taken for well.
func (s sighting) verdict() (said string, well bool) {
	switch {
	case len(s.silent) > 0 && s.answered:
		return fmt.Sprintf("a guest that has moved here runs, for its agent answers, and is not heard on its network: look at card %s and bridge %s (%d of %d are silent)",
			s.silent[0].MAC, s.silent[0].Bridge, len(s.silent), s.cards), false
	case len(s.silent) > 0:
		return fmt.Sprintf("a guest that has moved here is not heard on its network: look at card %s and bridge %s (%d of %d are silent)",
			s.silent[0].MAC, s.silent[0].Bridge, len(s.silent), s.cards), false
	case s.cards > 0 && s.answered:
		return "a guest that has moved here is heard on its network, and its agent answers", true
	case s.cards > 0:
		return "a guest that has moved here is heard on its network", true // its agent may not be running
	case s.answered:
		return "a guest that has moved here runs: its agent answers", true
	case s.agent:
		return "a guest that has moved here has no card on a bridge, and its agent does not answer: see whether it runs", false
	}
	return "a guest that has moved here has neither a card on a bridge nor an agent: nothing can be seen of it from outside", true
}

// probeTime is how long a guest may take to be heard on its network. QEMU itself
// announces a guest that has arrived several times within the first second.
const probeTime = 10 * time.Second

// heard waits until every card of the guest has been heard at its own port of its
// bridge, or ctx ends, and returns those that have not. Nothing is sent: the address table of the
// bridge shows who has spoken.
func (g arrivedGuest) heard(ctx context.Context, bridges string) (silent []card) {
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
