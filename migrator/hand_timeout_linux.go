package migrator

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// tunnelSilence is how long the other end of a channel may leave data
// unacknowledged before the channel is given up. While a move is in its last
// phase the guest stands still, and libvirt's own keepalive takes 28 s to find
// out that the way is cut; a closed socket it sees at once.
const tunnelSilence = 5 * time.Second

// impatient sets tunnelSilence on a TCP connection, also under TLS. Where it
// cannot be set, libvirt's keepalive remains.
func impatient(c net.Conn) {
	if under, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = under.NetConn()
	}
	socket, ok := c.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(tunnelSilence.Milliseconds()))
	})
}
