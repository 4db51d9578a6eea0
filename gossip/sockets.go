package gossip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/memberlist"
)

// sockets carries memberlist's packets and streams. The library's own transport
// would do, but for three things: it starts goroutines when it opens its ports,
// it calls out from any address (so hosts that share a machine could not be cut
// apart), and it leaves connections open when it is shut down.
type sockets struct {
	tcp     *net.TCPListener
	udp     *net.UDPConn
	packets chan *memberlist.Packet
	streams chan net.Conn
	logger  hclog.Logger
	ctx     context.Context // ends dials and readers at Shutdown
	cancel  context.CancelFunc
	readers sync.WaitGroup

	mu    sync.Mutex
	conns map[*stream]struct{} // guarded by mu
	down  bool                 // guarded by mu
}

var _ memberlist.NodeAwareTransport = (*sockets)(nil)

const (
	// maxStreams bounds the connections, in and out, at once.
	maxStreams = 512
	// maxPacket is the largest UDP packet.
	maxPacket = 65536
	// receiveBuffer holds a burst while the process waits for a cpu.
	receiveBuffer = 2 << 20
)

func openSockets(ip string, port int, logger hclog.Logger) (*sockets, error) {
	// With port 0 the kernel chooses one for TCP that may be taken for UDP.
	attempts := 1
	if port == 0 {
		attempts = 10
	}
	var err error
	for range attempts {
		var s *sockets
		if s, err = openPair(ip, port, logger); err == nil {
			return s, nil
		}
	}
	where := net.JoinHostPort(ip, fmt.Sprint(port))
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("open gossip port %s: %w: another process has it (see `ss -lntup`): stop it or choose another port", where, err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("open gossip port %s: %w: no interface of this host has that address", where, err)
	}
	return nil, fmt.Errorf("open gossip port %s: %w", where, err)
}

func openPair(ip string, port int, logger hclog.Logger) (*sockets, error) {
	tcp, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.ParseIP(ip), Port: port})
	if err != nil {
		return nil, err
	}
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(ip), Port: tcp.Addr().(*net.TCPAddr).Port})
	if err != nil {
		_ = tcp.Close() // nothing was accepted
		return nil, err
	}
	if err := udp.SetReadBuffer(receiveBuffer); err != nil {
		logger.Debug("udp receive buffer stays small", "error", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &sockets{
		tcp: tcp, udp: udp, logger: logger, ctx: ctx, cancel: cancel,
		packets: make(chan *memberlist.Packet), streams: make(chan net.Conn),
		conns: map[*stream]struct{}{},
	}, nil
}

// start begins to read; Shutdown ends it.
func (s *sockets) start() {
	s.readers.Go(s.readPackets)
	s.readers.Go(s.acceptStreams)
}

func (s *sockets) addr() netip.AddrPort {
	a := s.tcp.Addr().(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// FinalAdvertiseAddr is what other members are told.
func (s *sockets) FinalAdvertiseAddr(ip string, _ int) (net.IP, int, error) {
	addr := s.addr().Addr()
	if ip != "" {
		var err error
		if addr, err = netip.ParseAddr(ip); err != nil {
			return nil, 0, fmt.Errorf("advertise address: %w", err)
		}
	}
	return addr.Unmap().AsSlice(), int(s.addr().Port()), nil
}

// WriteTo sends one packet.
func (s *sockets) WriteTo(b []byte, addr string) (time.Time, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return time.Time{}, err
	}
	_, err = s.udp.WriteToUDPAddrPort(b, to)
	return time.Now(), err
}

// WriteToAddress sends one packet.
func (s *sockets) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return s.WriteTo(b, a.Addr)
}

// PacketCh hands packets to memberlist.
func (s *sockets) PacketCh() <-chan *memberlist.Packet { return s.packets }

// StreamCh hands connections to memberlist.
func (s *sockets) StreamCh() <-chan net.Conn { return s.streams }

// DialTimeout opens a stream, from the address this host is bound to.
func (s *sockets) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	dialer := net.Dialer{Timeout: timeout}
	if own := s.addr().Addr(); !own.IsUnspecified() {
		dialer.LocalAddr = &net.TCPAddr{IP: own.AsSlice()}
	}
	conn, err := dialer.DialContext(s.ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return s.track(conn)
}

// DialAddressTimeout opens a stream.
func (s *sockets) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return s.DialTimeout(a.Addr, timeout)
}

// Shutdown closes ports and streams and returns when the readers have ended.
func (s *sockets) Shutdown() error {
	s.cancel()
	s.mu.Lock()
	s.down = true
	open := make([]*stream, 0, len(s.conns))
	for conn := range s.conns {
		open = append(open, conn)
	}
	s.mu.Unlock()
	for _, conn := range open {
		_ = conn.Close() // whoever uses it sees the error
	}
	err := errors.Join(s.tcp.Close(), s.udp.Close())
	s.readers.Wait()
	if errors.Is(err, net.ErrClosed) { // shut down before
		return nil
	}
	return err
}

func (s *sockets) readPackets() {
	buffer := make([]byte, maxPacket)
	for {
		n, from, err := s.udp.ReadFromUDPAddrPort(buffer)
		now := time.Now()
		if s.ctx.Err() != nil {
			return
		}
		if err != nil {
			s.logger.Warn("gossip packet not received", "error", err)
			s.pause()
			continue
		}
		if n == 0 {
			continue
		}
		// memberlist keeps the bytes.
		packet := &memberlist.Packet{Buf: append([]byte(nil), buffer[:n]...), From: net.UDPAddrFromAddrPort(from), Timestamp: now}
		select {
		case s.packets <- packet:
		case <-s.ctx.Done():
			return
		}
	}
}

func (s *sockets) acceptStreams() {
	for {
		raw, err := s.tcp.Accept()
		if s.ctx.Err() != nil {
			if err == nil {
				_ = raw.Close() // came too late
			}
			return
		}
		if err != nil {
			s.logger.Warn("gossip connection not accepted", "error", err)
			s.pause()
			continue
		}
		conn, err := s.track(raw)
		if err != nil {
			s.logger.Warn("gossip connection refused", "from", raw.RemoteAddr(), "error", err)
			continue
		}
		select {
		case s.streams <- conn:
		case <-s.ctx.Done():
			_ = conn.Close() // nobody will read it
			return
		}
	}
}

// pause keeps a failing socket from using a whole cpu.
func (s *sockets) pause() {
	timer := time.NewTimer(100 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-s.ctx.Done():
	case <-timer.C:
	}
}

// stream is a connection that Shutdown can close.
type stream struct {
	net.Conn
	sockets *sockets
}

// Close closes the connection and forgets it.
func (c *stream) Close() error {
	c.sockets.mu.Lock()
	delete(c.sockets.conns, c)
	c.sockets.mu.Unlock()
	return c.Conn.Close()
}

func (s *sockets) track(conn net.Conn) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down || len(s.conns) >= maxStreams {
		_ = conn.Close() // not used
		return nil, fmt.Errorf("gossip is shutting down or has %d connections open", len(s.conns))
	}
	tracked := &stream{Conn: conn, sockets: s}
	s.conns[tracked] = struct{}{}
	return tracked, nil
}
