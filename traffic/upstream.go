package traffic

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// maxHops bounds how often one request may be forwarded between proxies.
const maxHops = 3

// preamble opens a connection between proxies:
//
//	placed-forward/1 <workload> <hops> <epoch>
//
// hops counts the proxies that have forwarded so far; epoch is that of the
// route it was forwarded on. A proxy that is not the owner forwards only on a
// newer route than that, so epochs grow along the way and no loop can form.
const preamble = "placed-forward/1"

type forward struct {
	workload string
	hops     int
	epoch    uint64
}

func (f forward) String() string {
	return fmt.Sprintf("%s %s %d %d\n", preamble, f.workload, f.hops, f.epoch)
}

func parseForward(line string) (forward, error) {
	part := strings.Fields(line)
	if len(part) != 4 || part[0] != preamble {
		return forward{}, fmt.Errorf("%.60q is not %q: is a client connected to the port for proxies?", line, preamble+" <workload> <hops> <epoch>")
	}
	hops, err := strconv.Atoi(part[2])
	if err != nil || hops < 1 || hops > maxHops {
		return forward{}, fmt.Errorf("forward %s: hops %q is outside 1..%d", part[1], part[2], maxHops)
	}
	epoch, err := strconv.ParseUint(part[3], 10, 64)
	if err != nil {
		return forward{}, fmt.Errorf("forward %s: epoch %q is not a number", part[1], part[3])
	}
	return forward{workload: part[1], hops: hops, epoch: epoch}, nil
}

// errNotSent: the request has certainly not reached the upstream.
var errNotSent = errors.New("upstream connection broke before the request was sent")

// upstream is the connection of one client to where its workload is.
type upstream struct {
	workload string
	hops     int // of the client's own connection
	target   target
	conn     net.Conn
	lines    *lines
	release  func() bool // of the tie between conn and the context of its dial
}

func (u *upstream) close() {
	if u.conn != nil {
		u.release()
		_ = u.conn.Close()
		u.conn = nil
	}
}

// ready says whether the connection leads to t and is alive. A connection that
// the other side has closed is found here, before anything is sent on it: once
// the request is sent its outcome would be unknown.
func (u *upstream) ready(t target) bool {
	if u.conn == nil {
		return false
	}
	if u.target == t && !u.lines.pending() && idle(u.conn) {
		return true
	}
	u.close()
	return false
}

// idle peeks: nothing to read means that the connection is open and that no
// stray answer would be taken for the answer of the next request.
func idle(c net.Conn) bool {
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		return false
	}
	quiet := false
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		quiet = errors.Is(err, unix.EAGAIN)
	})
	return err == nil && quiet
}

// dial connects to t. The connection is closed when ctx ends, whatever it is
// doing then.
func (u *upstream) dial(ctx context.Context, t target, timeout time.Duration) error {
	u.close()
	if !t.local && u.hops >= maxHops {
		return errTooManyHops
	}
	d := net.Dialer{Timeout: timeout}
	conn, err := d.DialContext(ctx, "tcp", t.addr)
	if err != nil {
		return err
	}
	if !t.local {
		f := forward{workload: u.workload, hops: u.hops + 1, epoch: t.epoch}
		if err := write(conn, []byte(f.String()), timeout); err != nil {
			_ = conn.Close()
			return err
		}
	}
	u.conn, u.target, u.lines = conn, t, newLines(conn, MaxLine)
	u.release = context.AfterFunc(ctx, func() { _ = conn.Close() })
	return nil
}

var errTooManyHops = fmt.Errorf("forwarded more than %d times", maxHops)

// exchange sends one request and reads its answer, which is valid until the
// next call. After any error but errNotSent the outcome is unknown.
func (u *upstream) exchange(request []byte, timeout time.Duration) ([]byte, error) {
	if err := u.conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		u.close()
		return nil, errNotSent
	}
	n, err := u.conn.Write(request)
	if err != nil {
		u.close()
		if n == 0 {
			return nil, errNotSent
		}
		return nil, err
	}
	answer, err := u.lines.next()
	if err != nil {
		u.close()
		return nil, err
	}
	return answer, nil
}

func write(c net.Conn, b []byte, timeout time.Duration) error {
	if err := c.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	_, err := c.Write(b)
	return err
}
