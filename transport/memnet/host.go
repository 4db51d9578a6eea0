package memnet

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Host is one life of a host, from Boot to Kill or PowerOff. Safe for concurrent
// use.
type Host struct {
	net  *Network
	name string

	mu        sync.Mutex // guards everything below
	dead      bool
	listeners map[string]*listener
	conns     map[*conn]bool
}

// Name of the host.
func (h *Host) Name() string { return h.name }

// Listen opens a port; the listener's address is "name:port".
func (h *Host) Listen(port string) (net.Listener, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.dead:
		return nil, h.failure("listen", port, net.ErrClosed)
	case h.listeners[port] != nil:
		return nil, h.failure("listen", port, syscall.EADDRINUSE)
	}
	l := &listener{host: h, port: port, queue: make(chan *conn, backlog), closed: make(chan struct{})}
	h.listeners[port] = l
	return l, nil
}

// Dial connects to "name:port". It waits for a cut link or a host that is down
// until ctx ends; a host that is up and does not listen refuses.
func (h *Host) Dial(ctx context.Context, to string) (net.Conn, error) {
	name, port, err := net.SplitHostPort(to)
	if err != nil {
		return nil, h.failure("dial", to, err)
	}
	if err := h.pause(ctx, h.net.delay(h.name, name, handshake)); err != nil {
		return nil, h.failure("dial", to, err)
	}
	var target *Host
	for {
		if h.isDead() {
			return nil, h.failure("dial", to, net.ErrClosed)
		}
		var changed <-chan struct{}
		if target, changed = h.net.reachable(h.name, name); target != nil {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, h.failure("dial", to, ctx.Err())
		}
	}
	c, err := target.admit(h, port)
	if err != nil {
		return nil, h.failure("dial", to, err)
	}
	if err := h.pause(ctx, h.net.delay(name, h.name, handshake)); err != nil {
		_ = c.Close()
		return nil, h.failure("dial", to, err)
	}
	return c, nil
}

// Kill ends the host's processes: its peers see their connections closed.
func (h *Host) Kill() {
	for _, c := range h.end() {
		_ = c.Close()
	}
}

// PowerOff lets the host vanish: its peers learn nothing, until the host is up
// again and answers what they send with a reset.
func (h *Host) PowerOff() {
	for _, c := range h.end() {
		c.vanish()
	}
}

// end closes the listeners and returns the connections that were open.
func (h *Host) end() []*conn {
	h.mu.Lock()
	conns := slices.Collect(maps.Keys(h.conns))
	listeners := slices.Collect(maps.Values(h.listeners))
	h.dead = true
	h.mu.Unlock()
	for _, l := range listeners {
		_ = l.Close()
	}
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if h.net.up[h.name] == h {
		delete(h.net.up, h.name)
	}
	h.net.announce()
	return conns
}

func (h *Host) isDead() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.dead
}

func (h *Host) pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// admit makes a connection and hands its other end to the listener.
func (h *Host) admit(from *Host, port string) (*conn, error) {
	h.mu.Lock()
	l := h.listeners[port]
	h.mu.Unlock()
	if l == nil {
		return nil, syscall.ECONNREFUSED
	}
	out, in := newStream(h.net, from.name, h.name), newStream(h.net, h.name, from.name)
	near := &conn{host: from, local: address(from.name + ":0"), remote: address(h.name + ":" + port), in: in, out: out}
	far := &conn{host: h, local: near.remote, remote: near.local, in: out, out: in}
	if !from.keep(near) || !h.keep(far) {
		_ = near.Close()
		return nil, syscall.ECONNREFUSED
	}
	select {
	case l.queue <- far:
		return near, nil
	default:
		_, _ = near.Close(), far.Close()
		return nil, syscall.ECONNREFUSED
	}
}

func (h *Host) keep(c *conn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.dead {
		h.conns[c] = true
	}
	return !h.dead
}

func (h *Host) forget(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.conns, c)
}

func (h *Host) failure(op, where string, err error) error {
	return fmt.Errorf("memnet: host %s: %s %s: %w", h.name, op, where, err)
}

type listener struct {
	host   *Host
	port   string
	queue  chan *conn
	once   sync.Once
	closed chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
	default:
		select {
		case c := <-l.queue:
			return c, nil
		case <-l.closed:
		}
	}
	return nil, l.host.failure("accept", l.port, net.ErrClosed)
}

func (l *listener) Close() error {
	l.once.Do(func() {
		l.host.mu.Lock()
		if l.host.listeners[l.port] == l {
			delete(l.host.listeners, l.port)
		}
		l.host.mu.Unlock()
		close(l.closed)
		for {
			select {
			case c := <-l.queue:
				_ = c.Close()
			default:
				return
			}
		}
	})
	return nil
}

func (l *listener) Addr() net.Addr { return address(l.host.name + ":" + l.port) }
