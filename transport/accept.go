package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// accept takes connections off the port. Each handshake runs on its own, so one
// slow client delays nobody.
func (t *Transport) accept(ctx context.Context) error {
	var handshakes sync.WaitGroup
	defer handshakes.Wait()
	for {
		raw, err := t.listener.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			// Out of file descriptors, most likely: it passes, or an operator
			// must act. Ending would take the host out of the fleet.
			t.logger.Error("cannot accept connections; trying again", "address", t.config.Bind, "error", err)
			if !wait(ctx, 100*time.Millisecond) {
				return nil
			}
			continue
		}
		ip := remoteIP(raw)
		if refusal := t.admitted.begin(ip); refusal != "" {
			_ = raw.Close() // a stranger gets no explanation
			t.logRefusal(ip, refusal, errors.New(refusal))
			continue
		}
		handshakes.Go(func() {
			defer t.admitted.end(ip)
			t.admit(ctx, raw, ip)
		})
	}
}

// admit carries one connection from TCP to the listener of its protocol.
func (t *Transport) admit(ctx context.Context, raw *net.TCPConn, ip string) {
	ctx, cancel := context.WithTimeout(ctx, t.config.HandshakeTimeout)
	defer cancel()
	creds := t.creds.Load()
	tlsConn := tls.Server(raw, creds.serverConfig(ip))
	if err := tlsConn.HandshakeContext(ctx); err != nil {
		_ = raw.Close() // already failed
		t.logHandshake(ip, err)
		return
	}
	conn, err := t.greet(ctx, tlsConn)
	if err != nil {
		_ = tlsConn.Close() // already refused
		t.logRefusal(ip, err.Error(), err)
		return
	}
	if err := t.handOver(ctx, conn, Protocol(tlsConn.ConnectionState().NegotiatedProtocol)); err != nil {
		_ = conn.Close() // nobody took it
		t.logRefusal(ip, err.Error(), err)
	}
}

// greet tells the verified peer whether this host takes the connection.
func (t *Transport) greet(ctx context.Context, tlsConn *tls.Conn) (*peerConn, error) {
	deadline, _ := ctx.Deadline()
	if err := tlsConn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	state := tlsConn.ConnectionState()
	peer, err := identityOf(state.PeerCertificates[0])
	if err != nil {
		return nil, err
	}
	decline := func(why string) error {
		err := fmt.Errorf("host %s: %s", peer.ID, why)
		if sendErr := refuse(tlsConn, why); sendErr != nil {
			return fmt.Errorf("%w (and could not tell it: %w)", err, sendErr)
		}
		return err
	}
	if t.listenerOf(Protocol(state.NegotiatedProtocol)) == nil {
		return nil, decline(fmt.Sprintf("nothing serves %s on this host", state.NegotiatedProtocol))
	}
	if !t.admitted.open() {
		return nil, decline(fmt.Sprintf("all %d connections are in use", t.config.MaxConns))
	}
	if err := welcome(tlsConn); err != nil {
		t.admitted.close()
		return nil, err
	}
	if err := tlsConn.SetDeadline(time.Time{}); err != nil {
		t.admitted.close()
		return nil, err
	}
	return &peerConn{Conn: tlsConn, peer: peer, onClose: t.admitted.close}, nil
}

func (t *Transport) handOver(ctx context.Context, conn *peerConn, p Protocol) error {
	l := t.listenerOf(p)
	if l == nil {
		return fmt.Errorf("host %s: %s was closed meanwhile", conn.peer.ID, p)
	}
	return l.put(ctx, conn)
}

// logHandshake tells a certificate that was refused, which an operator must see,
// from connections that merely came and went.
func (t *Transport) logHandshake(ip string, err error) {
	if refusedByPeer(err) {
		err = fmt.Errorf("it refused our certificate (%s): %w: its log says why", t.Self(), err)
		t.logRefusal(ip, err.Error(), err)
		return
	}
	var network net.Error
	if errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) || errors.As(err, &network) || errors.Is(err, context.DeadlineExceeded) {
		t.logger.Debug("handshake ended early", "address", ip, "error", err)
		return
	}
	t.logRefusal(ip, err.Error(), err)
}

func (t *Transport) logRefusal(ip, reason string, err error) {
	if skipped, say := t.refusals.Allow(time.Now(), ip+" "+reason); say {
		t.logger.Warn("connection refused", "address", ip, "error", err, "repeated", skipped)
	}
}

func remoteIP(c net.Conn) string {
	host, _, err := net.SplitHostPort(c.RemoteAddr().String())
	if err != nil {
		return c.RemoteAddr().String()
	}
	return host
}

// wait pauses unless ctx ends first.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
