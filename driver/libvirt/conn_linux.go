//go:build cgo && libvirt_dlopen

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"sync"

	libvirt "libvirt.org/go/libvirt"
)

// maxAbandoned calls may hang in a connection's process before no more are made:
// each holds a thread.
const maxAbandoned = 16

// conn is a connection that is opened when it is needed and again when it is
// lost. A call that does not return in time is abandoned, and the connection with
// it: libvirt has no way to take a call back, and a stopped QEMU, or a libvirtd
// that accepts and does not answer, may hold one for ever. So nothing that libvirt
// does happens under the lock.
type conn struct {
	uri string
	// asks: it carries questions only, so that one whose connection is lost is
	// asked again; a libvirtd that was restarted shows itself in the first call.
	asks bool

	mu        sync.Mutex // guards all below
	open      *libvirt.Connect
	opening   *opening
	abandoned int
	closed    bool
}

// opening is an attempt to connect that every call meanwhile waits for.
type opening struct {
	done chan struct{} // closed when it is over, or given up
	err  error         // read once done is closed
}

var (
	errBusy      = fmt.Errorf("%d calls to libvirtd hang already: look for a QEMU that does not answer its monitor, then restart libvirtd", maxAbandoned)
	errClosed    = errors.New("the libvirt driver is closed")
	errAbandoned = errors.New("libvirtd has accepted a connection and does not answer: another attempt is made")
)

// get returns the connection with a reference of the caller's own, to be closed by
// it: whoever finds the connection lost closes it while others may be in a call.
func (c *conn) get() (*libvirt.Connect, error) {
	for {
		o, first, uri, err := c.join()
		if err != nil {
			return nil, err
		}
		if o == nil {
			if opened, err := c.reference(); opened != nil || err != nil {
				return opened, err
			}
			continue // lost since
		}
		if first {
			c.connect(o, uri)
		}
		<-o.done
		if o.err != nil {
			return nil, o.err
		}
	}
}

// join returns the attempt to wait for, which the first caller carries out; nil
// where there is a connection.
func (c *conn) join() (o *opening, first bool, uri string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return nil, false, "", errClosed
	case c.abandoned >= maxAbandoned:
		return nil, false, "", errBusy
	case c.open != nil:
		if alive, err := c.open.IsAlive(); err == nil && alive {
			return nil, false, "", nil
		}
		c.dropLocked(c.open)
	}
	if c.opening != nil {
		return c.opening, false, "", nil
	}
	c.opening = &opening{done: make(chan struct{})}
	return c.opening, true, c.uri, nil
}

// reference returns the open connection with one more reference, nil if there is
// none any more.
func (c *conn) reference() (*libvirt.Connect, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		return nil, nil
	}
	return c.open, c.open.Ref()
}

// connect carries out one attempt. When it comes back after it was abandoned, its
// connection is of no use to anybody.
func (c *conn) connect(o *opening, uri string) {
	opened, err := libvirt.NewConnect(uri)
	if err != nil {
		err = fmt.Errorf("connect to %s: %w: is libvirtd running, and is libvirt.so.0 installed", uri, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.opening != o { // abandoned, or closed
		if opened != nil {
			go func() { _, _ = opened.Close() }() // may wait for whatever has kept it so long
		}
		return
	}
	o.err, c.opening, c.open = err, nil, opened
	close(o.done)
}

// abandonLocked lets go of an attempt that does not end, with all who wait for it.
func (c *conn) abandonLocked() {
	if c.opening != nil {
		c.opening.err = errAbandoned
		close(c.opening.done)
		c.opening = nil
	}
}

func (c *conn) dropLocked(lost *libvirt.Connect) {
	if lost == nil || c.open != lost {
		return
	}
	c.open = nil
	go func() { _, _ = lost.Close() }() // may wait for a call that hangs; nobody waits for it
}

// call runs f with a connection and waits for it until ctx ends.
func (c *conn) call(ctx context.Context, f func(*libvirt.Connect) error) error {
	err := c.once(ctx, f)
	if c.asks && lost(err) && ctx.Err() == nil {
		err = c.once(ctx, f)
	}
	return err
}

func (c *conn) once(ctx context.Context, f func(*libvirt.Connect) error) error {
	type result struct {
		conn *libvirt.Connect
		err  error
	}
	done := make(chan result, 1)
	go func() {
		opened, err := c.get()
		if err == nil {
			err = f(opened)
			_, _ = opened.Close() // this call's reference
		}
		done <- result{opened, err}
	}()
	select {
	case r := <-done:
		if r.conn != nil && lost(r.err) {
			c.mu.Lock()
			c.dropLocked(r.conn)
			c.mu.Unlock()
		}
		return r.err
	case <-ctx.Done():
		c.mu.Lock()
		c.abandoned++
		// Who has merely lost interest does not judge the connection.
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			c.abandonLocked()
			c.dropLocked(c.open)
		}
		c.mu.Unlock()
		go func() {
			<-done
			c.mu.Lock()
			c.abandoned--
			c.mu.Unlock()
		}()
		return fmt.Errorf("libvirtd does not answer: %w", context.Cause(ctx))
	}
}

func (c *conn) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.abandonLocked()
	c.dropLocked(c.open)
}

// lost says whether an error means that the connection is gone.
func lost(err error) bool {
	var e libvirt.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code {
	case libvirt.ERR_NO_CONNECT, libvirt.ERR_INVALID_CONN, libvirt.ERR_RPC, libvirt.ERR_SYSTEM_ERROR:
		return true
	case libvirt.ERR_INTERNAL_ERROR:
		return e.Domain == libvirt.FROM_RPC
	}
	return false
}

func isCode(err error, codes ...libvirt.ErrorNumber) bool {
	var e libvirt.Error
	if !errors.As(err, &e) {
		return false
	}
	for _, c := range codes {
		if e.Code == c {
			return true
		}
	}
	return false
}
