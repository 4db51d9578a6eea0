package transport

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// peerConn is an established connection with the identity at its other end.
// The embedded connection gives CloseWrite as well.
type peerConn struct {
	*tls.Conn
	peer    Identity
	once    sync.Once
	onClose func()
}

// Close ends the connection; it may be called more than once.
func (c *peerConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() {
		if c.onClose != nil {
			c.onClose()
		}
	})
	return err
}

// silence bounds how long a vanished peer goes unnoticed.
const silence = 30 * time.Second

// keepAlive notices a vanished peer on an idle connection: 15 s + 3 × 5 s.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}

// tuneSocket notices a vanished peer while bytes are on their way: without it the
// kernel retransmits for a quarter of an hour, and keep-alives do not run.
func tuneSocket(_, _ string, raw syscall.RawConn) error {
	var failed error
	err := raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(silence/time.Millisecond))
	})
	if err != nil {
		return err
	}
	return failed
}

// welcome and refuse write the greeting (see the package comment).
func welcome(w io.Writer) error {
	_, err := w.Write([]byte{0})
	return err
}

func refuse(w io.Writer, why string) error {
	if len(why) > 255 {
		why = why[:255]
	}
	_, err := w.Write(append([]byte{byte(len(why))}, why...))
	return err
}

// refusedError is a refusal that the peer explained.
type refusedError struct{ why string }

func (e *refusedError) Error() string { return "refused: " + e.why }

// readGreeting reads exactly the greeting: what follows belongs to the protocol.
func readGreeting(r io.Reader) error {
	var head [1]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	if head[0] == 0 {
		return nil
	}
	why := make([]byte, head[0])
	if _, err := io.ReadFull(r, why); err != nil {
		return fmt.Errorf("refused, and the reason was cut short: %w", err)
	}
	return &refusedError{why: fmt.Sprintf("%q", why)}
}
