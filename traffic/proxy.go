package traffic

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// Files of the proxy in its directory.
const (
	socketFile = "proxy.sock"
	lockFile   = "proxy.lock"
	logFile    = "proxy.log"
)

// Config of a Proxy.
type Config struct {
	// Dir holds the control socket; made with mode 0700.
	Dir string
	// Address is the host's traffic IP, on which every workload has its port.
	Address string
	// PeerPort is where other proxies forward to.
	PeerPort int
	Limits   Limits
	Logger   hclog.Logger
}

// Limits bound every wait of the proxy; a zero field takes its default.
type Limits struct {
	Held     time.Duration // 30 s: one request while its workload is held
	MaxHeld  int           // 4096: waiting requests in total; more are closed
	Owner    time.Duration // 10 s: a forwarded request while this host is not the owner
	Redial   time.Duration // 10 s: one unsent request while its upstream is unreachable
	Dial     time.Duration // 1 s: one attempt
	Answer   time.Duration // 60 s: from a sent request to its answer
	Write    time.Duration // 10 s: an answer to a client that does not read
	MaxConns int           // 16384: connections in total; more are closed
}

func (l Limits) orDefaults() Limits {
	for _, d := range []struct {
		value    *time.Duration
		fallback time.Duration
	}{
		{&l.Held, 30 * time.Second},
		{&l.Owner, 10 * time.Second},
		{&l.Redial, 10 * time.Second},
		{&l.Dial, time.Second},
		{&l.Answer, time.Minute},
		{&l.Write, 10 * time.Second},
	} {
		if *d.value == 0 {
			*d.value = d.fallback
		}
	}
	if l.MaxHeld == 0 {
		l.MaxHeld = 4096
	}
	if l.MaxConns == 0 {
		l.MaxConns = 16384
	}
	return l
}

// Proxy serves the clients of all workloads on one host.
type Proxy struct {
	cfg     Config
	logger  hclog.Logger
	self    Identity
	limiter *limiter
	count   counters

	work  sync.WaitGroup // every goroutine of Run
	table sync.Mutex     // serializes changes of the route table

	mu     sync.Mutex // guards what follows; never held across a wait
	routes map[string]*entry
	added  chan struct{}      // closed and replaced when routes gains one
	conns  map[net.Conn]*gate // nil gate: control, or a forward not yet assigned
}

type counters struct {
	requests, answers, forwarded, unknown, heldTooLong, tooManyHeld atomic.Uint64
	dialFailures, tooLong, tooManyConns, staleRoutes                atomic.Uint64
}

// NewProxy checks the configuration; it opens nothing.
func NewProxy(cfg Config) (*Proxy, error) {
	if cfg.Dir == "" {
		return nil, errors.New("proxy: directory is empty")
	}
	if net.ParseIP(cfg.Address) == nil {
		return nil, fmt.Errorf("proxy: address %q is not an IP address", cfg.Address)
	}
	if cfg.PeerPort < 1 || cfg.PeerPort > 65535 {
		return nil, fmt.Errorf("proxy: peer port %d is outside 1..65535", cfg.PeerPort)
	}
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	cfg.Limits = cfg.Limits.orDefaults()
	self, err := identify(os.Getpid())
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	self.Protocol, self.Address, self.PeerPort = protocolVersion, cfg.Address, cfg.PeerPort
	return &Proxy{
		cfg: cfg, logger: cfg.Logger, self: self,
		limiter: &limiter{max: cfg.Limits.MaxHeld},
		routes:  map[string]*entry{}, added: make(chan struct{}), conns: map[net.Conn]*gate{},
	}, nil
}

// Run serves until ctx ends or a client of the control socket asks it to stop.
// It fails at once when another proxy runs on Dir or the peer port is in use.
func (p *Proxy) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if err := os.MkdirAll(p.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	lock, err := p.lock()
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	peers, err := net.Listen("tcp", p.peerAddress())
	if err != nil {
		return fmt.Errorf("proxy: cannot listen for other proxies: %w: stop what uses the port, or choose another peer port", err)
	}
	control, err := p.listenControl()
	if err != nil {
		return errors.Join(err, peers.Close())
	}
	p.logger.Info("proxy runs", "address", p.cfg.Address, "peer_port", p.cfg.PeerPort, "pid", p.self.PID)

	p.spawn(func() { p.accept(ctx, peers, nil, func(c net.Conn) { p.servePeer(ctx, c) }) })
	p.spawn(func() { p.accept(ctx, control, nil, func(c net.Conn) { p.serveControl(ctx, c, stop) }) })
	p.spawn(func() { p.retryListeners(ctx) })

	<-ctx.Done()
	_ = peers.Close()
	_ = control.Close()
	p.closeAll()
	p.work.Wait()
	p.logger.Info("proxy stopped")
	return nil
}

func (p *Proxy) peerAddress() string {
	return net.JoinHostPort(p.cfg.Address, strconv.Itoa(p.cfg.PeerPort))
}

// lock makes sure that one proxy runs per directory; the kernel releases it
// with the process.
func (p *Proxy) lock() (*os.File, error) {
	path := filepath.Join(p.cfg.Dir, lockFile)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("proxy: another proxy runs on %s (%w): use that one", p.cfg.Dir, err)
	}
	return f, nil
}

func (p *Proxy) listenControl() (net.Listener, error) {
	path := filepath.Join(p.cfg.Dir, socketFile)
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("proxy: %s is longer than the %d bytes a Unix socket may have: choose a shorter data directory", path, maxSocketPath)
	}
	// Ours by the lock: whoever made it is gone.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("proxy: %w", err), l.Close())
	}
	return l, nil
}

const maxSocketPath = 107

func (p *Proxy) spawn(f func()) {
	p.work.Add(1)
	go func() {
		defer p.work.Done()
		f()
	}()
}

// accept runs serve in a goroutine per connection, until the listener is closed.
func (p *Proxy) accept(ctx context.Context, l net.Listener, g *gate, serve func(net.Conn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of file descriptors, most likely: try again, do not spin.
			p.logger.Error("cannot accept", "listener", l.Addr(), "error", err)
			select {
			case <-time.After(100 * time.Millisecond):
				continue
			case <-ctx.Done():
				return
			}
		}
		if !p.admit(ctx, c, g) {
			_ = c.Close()
			continue
		}
		p.spawn(func() {
			defer p.dismiss(c)
			serve(c)
		})
	}
}

func (p *Proxy) admit(ctx context.Context, c net.Conn, g *gate) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ctx.Err() != nil {
		return false
	}
	if len(p.conns) >= p.cfg.Limits.MaxConns {
		p.count.tooManyConns.Add(1)
		return false
	}
	p.conns[c] = g
	return true
}

func (p *Proxy) assign(c net.Conn, g *gate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[c] = g
}

func (p *Proxy) dismiss(c net.Conn) {
	_ = c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

// closeConns ends the connections of one workload.
func (p *Proxy) closeConns(g *gate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c, of := range p.conns {
		if of == g {
			_ = c.Close()
		}
	}
}

func (p *Proxy) closeAll() {
	p.table.Lock()
	defer p.table.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.routes {
		e.close()
	}
	for c := range p.conns {
		_ = c.Close()
	}
}

// servePeer carries what another proxy forwards.
func (p *Proxy) servePeer(ctx context.Context, c net.Conn) {
	if err := c.SetReadDeadline(time.Now().Add(p.cfg.Limits.Dial)); err != nil {
		return
	}
	in := newLines(c, MaxLine)
	line, err := in.next()
	if err != nil {
		return
	}
	from, err := parseForward(string(line))
	if err != nil {
		p.logger.Warn("refused a connection to the peer port", "from", c.RemoteAddr(), "error", err)
		return
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		return
	}
	g := p.gateOf(ctx, from.workload)
	if g == nil {
		p.logger.Warn("refused a forwarded connection: no such workload in the route table", "workload", from.workload, "from", c.RemoteAddr())
		return
	}
	p.count.forwarded.Add(1)
	p.assign(c, g)
	p.serve(ctx, c, in, g, from)
}

// gateOf waits for the table to name the workload, as for any other news.
func (p *Proxy) gateOf(ctx context.Context, workload string) *gate {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Limits.Owner)
	defer cancel()
	for {
		p.mu.Lock()
		e, added := p.routes[workload], p.added
		p.mu.Unlock()
		if e != nil {
			return e.gate
		}
		select {
		case <-added:
		case <-ctx.Done():
			return nil
		}
	}
}
