package memnet

import (
	"errors"
	"net"
	"time"
)

// conn is one end of a connection.
type conn struct {
	host          *Host
	local, remote address
	in, out       *stream
}

var _ net.Conn = (*conn)(nil)

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.in.read(b)
	return n, c.failure("read", err)
}

func (c *conn) Write(b []byte) (int, error) {
	n, err := c.out.write(b)
	return n, c.failure("write", err)
}

// Close sends what was written and then the end of the stream.
func (c *conn) Close() error {
	c.host.forget(c)
	c.out.closeWriter()
	c.in.closeReader()
	return nil
}

// vanish leaves the other end in the dark.
func (c *conn) vanish() {
	c.host.forget(c)
	c.out.vanishWriter()
	c.in.closeReader()
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *conn) SetReadDeadline(t time.Time) error { return c.failure("set", c.in.setReadDeadline(t)) }
func (c *conn) SetWriteDeadline(t time.Time) error {
	return c.failure("set", c.out.setWriteDeadline(t))
}

func (c *conn) failure(op string, err error) error {
	if err == nil || isEOF(err) {
		return err
	}
	return &net.OpError{Op: op, Net: "memnet", Source: c.local, Addr: c.remote, Err: err}
}
