package gossip

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// air is a network in memory for virtual time: packets take a while, and are lost
// when the receiver does not keep up; the network can be cut between sides.
type air struct {
	delay time.Duration // one way

	mu       sync.Mutex
	stations map[string]*station // guarded by mu
	sides    map[string]int      // guarded by mu; who is on different ones is cut apart
	sent     int                 // packets, guarded by mu
}

func newAir(delay time.Duration) *air {
	return &air{delay: delay, stations: map[string]*station{}, sides: map[string]int{}}
}

// packets is how many were sent.
func (a *air) packets() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sent
}

// put moves a member to a side; all begin on side 0.
func (a *air) put(addr string, side int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sides[addr] = side
}

// reach returns the station at an address, nil when it is down or cut off.
func (a *air) reach(from, to string) *station {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.sides[from] != a.sides[to] {
		return nil
	}
	return a.stations[to]
}

// station is the port of one member.
type station struct {
	air     *air
	at      netip.AddrPort
	packets chan *memberlist.Packet
	streams chan net.Conn
}

var _ port = (*station)(nil)

func (a *air) open(at netip.AddrPort) *station {
	return &station{air: a, at: at, packets: make(chan *memberlist.Packet, 1024), streams: make(chan net.Conn, 64)}
}

func (s *station) addr() netip.AddrPort { return s.at }

func (s *station) start() {
	s.air.mu.Lock()
	defer s.air.mu.Unlock()
	s.air.stations[s.at.String()] = s
}

func (s *station) Shutdown() error {
	s.air.mu.Lock()
	defer s.air.mu.Unlock()
	delete(s.air.stations, s.at.String())
	return nil
}

func (s *station) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return s.at.Addr().AsSlice(), int(s.at.Port()), nil
}

func (s *station) WriteTo(b []byte, to string) (time.Time, error) {
	packet := &memberlist.Packet{Buf: append([]byte(nil), b...), From: net.UDPAddrFromAddrPort(s.at)}
	s.air.mu.Lock()
	s.air.sent++
	s.air.mu.Unlock()
	time.AfterFunc(s.air.delay, func() {
		if there := s.air.reach(s.at.String(), to); there != nil {
			packet.Timestamp = time.Now()
			select {
			case there.packets <- packet:
			default: // its buffer is full
			}
		}
	})
	return time.Now(), nil
}

func (s *station) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return s.WriteTo(b, a.Addr)
}

func (s *station) PacketCh() <-chan *memberlist.Packet { return s.packets }

func (s *station) StreamCh() <-chan net.Conn { return s.streams }

func (s *station) DialTimeout(to string, timeout time.Duration) (net.Conn, error) {
	there := s.air.reach(s.at.String(), to)
	if there == nil {
		time.Sleep(timeout) // nobody answers
		return nil, errors.New("dial " + to + ": timed out")
	}
	near, far := net.Pipe()
	select {
	case there.streams <- far:
		return near, nil
	default:
		return nil, errors.New("dial " + to + ": refused")
	}
}

func (s *station) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return s.DialTimeout(a.Addr, timeout)
}
