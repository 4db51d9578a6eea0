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
// it: libvirt has no way to take a call back, and a stopped QEMU may hold one for
// ever.
type conn struct {
	uri string

	mu        sync.Mutex // guards all below
	open      *libvirt.Connect
	abandoned int
	closed    bool
}

var errBusy = fmt.Errorf("%d calls to libvirtd hang already: look for a QEMU that does not answer its monitor, then restart libvirtd", maxAbandoned)

// get returns the connection with a reference of the caller's own, to be closed by
// it: whoever finds the connection lost closes it while others may be in a call.
func (c *conn) get() (*libvirt.Connect, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return nil, errors.New("the libvirt driver is closed")
	case c.abandoned >= maxAbandoned:
		return nil, errBusy
	case c.open != nil:
		if alive, err := c.open.IsAlive(); err == nil && alive {
			return c.open, c.open.Ref()
		}
		c.dropLocked(c.open)
	}
	opened, err := libvirt.NewConnect(c.uri)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w: is libvirtd running, and is libvirt.so.0 installed", c.uri, err)
	}
	c.open = opened
	return opened, opened.Ref()
}

func (c *conn) dropLocked(lost *libvirt.Connect) {
	if c.open != lost {
		return
	}
	c.open = nil
	go func() { _, _ = lost.Close() }() // may wait for a call that hangs; nobody waits for it
}

// call runs f with a connection and waits for it until ctx ends.
func (c *conn) call(ctx context.Context, f func(*libvirt.Connect) error) error {
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
		if c.open != nil {
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
	if c.open != nil {
		c.dropLocked(c.open)
	}
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
