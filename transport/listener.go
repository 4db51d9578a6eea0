package transport

import (
	"context"
	"fmt"
	"net"
	"sync"
)

// queueLength bounds the accepted connections of one protocol that nobody has
// taken yet.
const queueLength = 256

// protocolListener hands the connections of one protocol to whoever serves it.
type protocolListener struct {
	transport *Transport
	protocol  Protocol
	queue     chan *peerConn
	done      chan struct{}
	once      sync.Once
}

var _ net.Listener = (*protocolListener)(nil)

// Listen returns the listener of a protocol. While it is open a second call
// returns the same one; after Close a new one may be had. Until somebody listens
// the protocol is refused.
func (t *Transport) Listen(p Protocol) net.Listener {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l := t.listeners[p]; l != nil {
		return l
	}
	l := &protocolListener{transport: t, protocol: p, queue: make(chan *peerConn, queueLength), done: make(chan struct{})}
	if t.closed {
		close(l.done)
		l.once.Do(func() {})
		return l
	}
	t.listeners[p] = l
	return l
}

func (t *Transport) listenerOf(p Protocol) *protocolListener {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.listeners[p]
}

// put waits for room until ctx ends: a burst (every host calls a new leader) is
// absorbed, a server that no longer accepts is not waited for.
func (l *protocolListener) put(ctx context.Context, conn *peerConn) error {
	select {
	case l.queue <- conn:
	case <-l.done:
		return fmt.Errorf("host %s: %s was closed meanwhile", conn.peer.ID, l.protocol)
	case <-ctx.Done():
		return fmt.Errorf("host %s: %d connections already wait for %s to accept them", conn.peer.ID, queueLength, l.protocol)
	}
	select {
	case <-l.done: // Close may have emptied the queue just before
		l.drain()
	default:
	}
	return nil
}

// Accept returns the next verified connection; PeerOf tells whose it is.
func (l *protocolListener) Accept() (net.Conn, error) {
	select {
	case <-l.done:
		return nil, net.ErrClosed
	default:
	}
	select {
	case conn := <-l.queue:
		return conn, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close ends the protocol on this port and drops connections nobody took.
func (l *protocolListener) Close() error {
	l.once.Do(func() {
		l.transport.mu.Lock()
		if l.transport.listeners[l.protocol] == l {
			delete(l.transport.listeners, l.protocol)
		}
		l.transport.mu.Unlock()
		close(l.done)
	})
	l.drain()
	return nil
}

func (l *protocolListener) drain() {
	for {
		select {
		case conn := <-l.queue:
			_ = conn.Close() // nobody will use it
		default:
			return
		}
	}
}

// Addr is the address of the port.
func (l *protocolListener) Addr() net.Addr {
	if addr := l.transport.Addr(); addr != nil {
		return addr
	}
	return &net.TCPAddr{}
}
