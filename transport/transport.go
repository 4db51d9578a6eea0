package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"github.com/placed-dev/placed/throttle"
)

// Config of a Transport.
type Config struct {
	// Bind is "ip:port"; port 0 takes a free one. Empty: dial only, as a
	// command-line tool does.
	Bind string
	// LocalIP, when set, is the source address of outgoing connections. Hosts
	// that share a machine need it, or all of them would call from one address.
	LocalIP string
	// CAFile may hold several certificates, so that a CA can be replaced.
	CAFile, CertFile, KeyFile string
	// HandshakeTimeout bounds TCP connect + TLS + greeting; default 5 s.
	HandshakeTimeout time.Duration
	// MaxConns bounds accepted connections; default 4096.
	MaxConns int
	// ReloadInterval is how often the files are looked at; default 10 s.
	ReloadInterval time.Duration
	Logger         hclog.Logger
}

func (c Config) withDefaults() Config {
	if c.HandshakeTimeout <= 0 {
		c.HandshakeTimeout = 5 * time.Second
	}
	if c.MaxConns <= 0 {
		c.MaxConns = 4096
	}
	if c.ReloadInterval <= 0 {
		c.ReloadInterval = 10 * time.Second
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	return c
}

// Transport is the port of this host and its way to the ports of others.
type Transport struct {
	config   Config
	logger   hclog.Logger
	listener *net.TCPListener // nil when dial only
	local    *net.TCPAddr     // nil when the kernel chooses
	creds    atomic.Pointer[credentials]
	admitted *admission
	refusals *throttle.Throttle

	reloading sync.Mutex // one reload at a time
	badStamp  stamp      // files that failed to load, guarded by reloading

	mu        sync.Mutex
	listeners map[Protocol]*protocolListener // guarded by mu
	closed    bool                           // guarded by mu
}

// New reads the certificates and opens the port. Its errors name the file or
// port and the remedy. Close undoes it when Run is never called.
func New(config Config) (*Transport, error) {
	config = config.withDefaults()
	creds, err := config.load(time.Now())
	if err != nil {
		return nil, err
	}
	t := &Transport{
		config:    config,
		logger:    config.Logger,
		admitted:  newAdmission(config.MaxConns),
		refusals:  throttle.New(time.Minute),
		listeners: map[Protocol]*protocolListener{},
	}
	t.creds.Store(creds)
	if config.LocalIP != "" {
		ip, err := netip.ParseAddr(config.LocalIP)
		if err != nil {
			return nil, fmt.Errorf("local address %q is not an IP address: %w", config.LocalIP, err)
		}
		t.local = &net.TCPAddr{IP: ip.AsSlice(), Zone: ip.Zone()}
	}
	if config.Bind == "" {
		return t, nil
	}
	if creds.self.Role == RoleOperator {
		return nil, fmt.Errorf("certificate %s is an operator's: an agent needs one of role voter or host", config.CertFile)
	}
	if t.listener, err = listenTCP(config.Bind); err != nil {
		return nil, err
	}
	return t, nil
}

func listenTCP(bind string) (*net.TCPListener, error) {
	config := net.ListenConfig{KeepAliveConfig: keepAlive, Control: tuneSocket}
	l, err := config.Listen(context.Background(), "tcp", bind)
	switch {
	case err == nil:
		return l.(*net.TCPListener), nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("open port %s: %w: another process has it (see `ss -ltnp`): stop it or choose another port", bind, err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("open port %s: %w: no interface of this host has that address", bind, err)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("open port %s: %w: ports below 1024 need CAP_NET_BIND_SERVICE", bind, err)
	}
	return nil, fmt.Errorf("open port %s: %w", bind, err)
}

// Self is the identity in the certificate now in use.
func (t *Transport) Self() Identity { return t.creds.Load().self }

// Addr is where the port listens, nil when dial only.
func (t *Transport) Addr() net.Addr {
	if t.listener == nil {
		return nil
	}
	return t.listener.Addr()
}

// Run accepts connections and follows changes of the certificate files until ctx
// ends. It returns after its goroutines have ended; connections that were handed
// over belong to those who accepted them.
func (t *Transport) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		<-ctx.Done()
		return t.Close()
	})
	group.Go(func() error { return t.watchFiles(ctx) })
	if t.listener != nil {
		group.Go(func() error { return t.accept(ctx) })
	}
	return group.Wait()
}

// Close closes the port and every listener. It may be called more than once.
func (t *Transport) Close() error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil
	}
	t.closed = true
	listeners := make([]*protocolListener, 0, len(t.listeners))
	for _, l := range t.listeners {
		listeners = append(listeners, l)
	}
	t.mu.Unlock()
	for _, l := range listeners {
		_ = l.Close() // never fails
	}
	if t.listener == nil {
		return nil
	}
	if err := t.listener.Close(); err != nil {
		return fmt.Errorf("close port %s: %w", t.config.Bind, err)
	}
	return nil
}
