package gossip

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/memberlist"

	"github.com/placed-dev/placed/throttle"
)

// Gossip is this host's part in the membership.
type Gossip struct {
	config   Config
	settings *memberlist.Config
	port     port
	table    *table
	delegate *delegate
	logger   hclog.Logger
	throttle *throttle.Throttle
	kick     chan struct{} // the load changed enough to be sent
	remeta   chan struct{} // the meta changed
	ran      atomic.Bool

	mu       sync.Mutex
	lastSent Load // guarded by mu
}

// New opens the gossip port; nothing is said or heard before Run. Close undoes it
// when Run is never called.
func New(config Config) (*Gossip, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	if config.Logger == nil {
		config.Logger = hclog.NewNullLogger()
	}
	settings, err := config.settings()
	if err != nil {
		return nil, err
	}
	meta, err := encodeMeta(config.Name, config.Meta)
	if err != nil {
		return nil, err
	}
	sockets, err := openSockets(config.BindAddr, config.BindPort, config.Logger)
	if err != nil {
		return nil, err
	}
	return newOn(sockets, config, settings, meta), nil
}

// port is the network of one member: what memberlist sends through.
type port interface {
	memberlist.NodeAwareTransport
	// start begins to receive; Shutdown ends it.
	start()
	addr() netip.AddrPort
}

// newOn builds a Gossip on a port that is open.
func newOn(on port, config Config, settings *memberlist.Config, meta []byte) *Gossip {
	g := &Gossip{
		config: config, settings: settings, port: on, logger: config.Logger,
		table:    newTable(config.ID, time.Now),
		throttle: throttle.New(time.Minute),
		kick:     make(chan struct{}, 1),
		remeta:   make(chan struct{}, 1),
	}
	// Usually above what others remember of us from before a restart; if not,
	// they tell, and the table steps over it.
	g.table.startSeq(uint64(time.Now().UnixMilli()))
	g.delegate = &delegate{
		table: g.table, logger: g.logger, throttle: g.throttle,
		queue: &memberlist.TransmitLimitedQueue{NumNodes: g.table.aliveCount, RetransmitMult: settings.RetransmitMult},
	}
	g.delegate.meta.Store(&meta)
	settings.BindPort = int(on.addr().Port())
	settings.AdvertisePort = settings.BindPort
	settings.Transport = on
	settings.Delegate, settings.Events, settings.Conflict, settings.Ping = g.delegate, g.delegate, g.delegate, g.delegate
	settings.Logger = (&bridge{table: g.table, logger: g.logger, throttle: g.throttle}).standard()
	return g
}

// Addr is where this host gossips, "ip:port".
func (g *Gossip) Addr() string { return g.port.addr().String() }

// Members returns every member, this host included, sorted by id. Dead ones stay
// for five minutes.
func (g *Gossip) Members() []Member { return g.table.list() }

// Changed receives a token when Members may have changed since the last token.
// It has one reader.
func (g *Gossip) Changed() <-chan struct{} { return g.table.changed }

// SetLoad says how loaded this host is; Seq and Leaving are set by gossip. It is
// sent at once when it changed enough, otherwise with the next regular one.
func (g *Gossip) SetLoad(l Load) {
	l.Leaving = false
	g.table.setOwn(l)
	g.mu.Lock()
	changed := l.differs(g.lastSent)
	g.mu.Unlock()
	if changed {
		notify(g.kick)
	}
}

// SetMeta replaces what this host says of itself.
func (g *Gossip) SetMeta(m Meta) error {
	meta, err := encodeMeta(g.config.Name, m)
	if err != nil {
		return err
	}
	g.delegate.meta.Store(&meta)
	notify(g.remeta)
	return nil
}

// Close closes the port of a Gossip that never ran.
func (g *Gossip) Close() error {
	if g.ran.Swap(true) {
		return nil // Run closes it
	}
	return g.port.Shutdown()
}

// Time-outs of a graceful end.
const (
	tellTime  = 1500 * time.Millisecond // for the last load
	leaveTime = 2 * time.Second         // for memberlist's farewell
)

// Run takes part until ctx ends, then leaves so that nobody takes this host for
// dead. It may be called once. A probe of memberlist's that is under way at the
// end finishes within one probe interval on its own.
func (g *Gossip) Run(ctx context.Context) error {
	if g.ran.Swap(true) {
		return errors.New("gossip: Run was called twice, or after Close")
	}
	g.port.start()
	list, err := memberlist.Create(g.settings)
	if err != nil {
		return errors.Join(fmt.Errorf("start gossip: %w", err), g.port.Shutdown())
	}
	var rejoining sync.WaitGroup
	rejoining.Go(func() { g.rejoin(ctx, list) })
	g.publish(ctx, list) // until ctx ends; nothing may follow the last load
	g.farewell(list)
	err = list.Shutdown() // closes the streams a join may wait for
	rejoining.Wait()
	if err != nil {
		return fmt.Errorf("stop gossip: %w", err)
	}
	return nil
}

// farewell tells the others that this end is on purpose: first in our own words,
// because memberlist shows its receivers no difference between left and dead.
func (g *Gossip) farewell(list *memberlist.Memberlist) {
	if g.table.aliveCount() <= 1 {
		return
	}
	sent := make(chan struct{})
	h := g.table.own(true)
	g.delegate.queue.QueueBroadcast(loadBroadcast{host: h.host, message: encodeLoadMessage(h), sent: sent})
	timer := time.NewTimer(tellTime)
	defer timer.Stop()
	select {
	case <-sent:
	case <-timer.C:
	}
	if err := list.Leave(leaveTime); err != nil {
		g.logger.Warn("could not say goodbye; other hosts will find this one dead", "error", err)
	}
}
