package memnet

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// What a sender sees of a loss: the segment arrives later by the retransmission
// time-out, which doubles with each further loss of the same segment.
const (
	retransmit    = 200 * time.Millisecond
	maxRetransmit = 10 * time.Second
	handshake     = time.Second // retransmission of a connection request
	backlog       = 128         // connections nobody has accepted yet
)

// ErrLost: a datagram did not arrive. The sender of a real one would not be told.
var ErrLost = errors.New("memnet: the message was lost")

// Link is one direction between two hosts.
type Link struct {
	Latency time.Duration // of every segment
	Jitter  time.Duration // on top, drawn evenly from [0, Jitter)
	Loss    float64       // probability that a transmission is lost
	Cut     bool          // nothing arrives
}

// Network joins hosts by name. Every pair has the base link until SetLink gives
// it another. Safe for concurrent use.
type Network struct {
	mu      sync.Mutex // guards everything below
	dice    *rand.Rand
	base    Link
	links   map[direction]Link
	up      map[string]*Host
	changed chan struct{} // closed and replaced when a link or a host changes
}

type direction struct{ from, to string }

// New returns a network without hosts. The same seed draws the same jitter and
// losses for the same order of sends.
func New(seed uint64, base Link) *Network {
	return &Network{
		dice: rand.New(rand.NewPCG(seed, 0x6d656d6e6574)), base: base,
		links: map[direction]Link{}, up: map[string]*Host{}, changed: make(chan struct{}),
	}
}

// SetLink sets one direction of a pair. What is on its way when a link is cut
// arrives after it is mended.
func (n *Network) SetLink(from, to string, l Link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.links[direction{from, to}] = l
	n.announce()
}

// Cut cuts one direction of a pair and leaves the rest of the link as it is.
func (n *Network) Cut(from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.link(from, to)
	l.Cut = true
	n.links[direction{from, to}] = l
	n.announce()
}

// Mend gives every pair the base link again.
func (n *Network) Mend() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.links)
	n.announce()
}

// Boot starts a host, or starts it again after its end. From now on it answers
// what is sent on connections of an earlier life with a reset.
func (n *Network) Boot(name string) *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.up[name] != nil {
		panic("memnet: host " + name + " is up already")
	}
	h := &Host{net: n, name: name, listeners: map[string]*listener{}, conns: map[*conn]bool{}}
	n.up[name] = h
	n.announce()
	return h
}

// Pass waits as long as one message from a host to another takes. The error is
// ErrLost when it does not arrive, or that of ctx.
func (n *Network) Pass(ctx context.Context, from, to string) error {
	n.mu.Lock()
	l := n.link(from, to)
	lost := l.Cut || n.dice.Float64() < l.Loss
	delay := n.travel(l)
	n.mu.Unlock()
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	if lost {
		return fmt.Errorf("%w: from %s to %s", ErrLost, from, to)
	}
	return nil
}

// announce needs mu.
func (n *Network) announce() {
	close(n.changed)
	n.changed = make(chan struct{})
}

// link needs mu.
func (n *Network) link(from, to string) Link {
	if l, ok := n.links[direction{from, to}]; ok {
		return l
	}
	return n.base
}

// travel needs mu.
func (n *Network) travel(l Link) time.Duration {
	d := l.Latency
	if l.Jitter > 0 {
		d += time.Duration(n.dice.Int64N(int64(l.Jitter)))
	}
	return d
}

// delay is how long one segment takes, with what its losses cost.
func (n *Network) delay(from, to string, again time.Duration) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.link(from, to)
	d := n.travel(l)
	for wait := again; l.Loss > 0 && n.dice.Float64() < l.Loss && wait < maxRetransmit; wait *= 2 {
		d += wait
	}
	return d
}

// state says whether a direction is cut, and gives what is closed at the next
// change.
func (n *Network) state(from, to string) (cut bool, changed <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.link(from, to).Cut, n.changed
}

// reachable returns the host if segments pass both ways and it is up.
func (n *Network) reachable(from, to string) (h *Host, changed <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.link(from, to).Cut || n.link(to, from).Cut {
		return nil, n.changed
	}
	return n.up[to], n.changed
}

type address string

func (address) Network() string  { return "memnet" }
func (a address) String() string { return string(a) }

var _ net.Addr = address("")
