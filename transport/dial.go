package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// Dial connects to the host at addr ("ip:port") for one protocol. want is the
// host it must be; "" accepts any member of the cluster. When Dial succeeds the
// peer has verified us and accepted the connection; when it fails nothing of the
// protocol was sent. It takes at most HandshakeTimeout.
func (t *Transport) Dial(ctx context.Context, addr string, want fleet.HostID, p Protocol) (net.Conn, error) {
	creds := t.creds.Load()
	if err := permit(p, client, creds.self); err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	ctx, cancel := context.WithTimeout(ctx, t.config.HandshakeTimeout)
	defer cancel()
	dialer := net.Dialer{KeepAliveConfig: keepAlive, Control: tuneSocket}
	if t.local != nil {
		dialer.LocalAddr = t.local
	}
	raw, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	demands := check{roots: creds.roots, self: creds.self, remote: addr, at: server, want: want}
	conn, err := handshake(ctx, tls.Client(raw, creds.clientConfig(p, demands)), demands)
	if err != nil {
		_ = raw.Close() // already failed
		return nil, fmt.Errorf("dial %s for %s: %w", addr, p, err)
	}
	return conn, nil
}

func handshake(ctx context.Context, conn *tls.Conn, demands check) (*peerConn, error) {
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, explain(err, demands.self)
	}
	peer, err := demands.peer(conn.ConnectionState())
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	// The deadline covers silence; this covers a caller who gives up earlier.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	err = readGreeting(conn)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, explain(err, demands.self)
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	return &peerConn{Conn: conn, peer: peer}, nil
}

// explain adds to an error of the handshake what an operator should look at.
func explain(err error, self Identity) error {
	var refused *refusedError
	switch {
	case errors.As(err, &refused):
		return err
	case refusedByPeer(err):
		return fmt.Errorf("it refused our certificate (%s): %w: its log says why", self, err)
	}
	return fmt.Errorf("handshake: %w", err)
}

// refusedByPeer tells an alert that the peer sent from errors of the network.
func refusedByPeer(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}
