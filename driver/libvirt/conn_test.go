//go:build linux && cgo && libvirt_dlopen

package libvirt

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	libvirt "libvirt.org/go/libvirt"
)

// TestMuteLibvirtd: a libvirtd that accepts connections and never answers, as one
// does that was killed or stopped while it was asked, holds nobody beyond the
// deadline, and once it answers again so does the driver.
func TestMuteLibvirtd(t *testing.T) {
	if probe, err := libvirt.NewConnect("test:///default"); err != nil {
		t.Skipf("needs libvirt.so.0 (%v): scripts/lab-tools installs it on Debian", err)
	} else if _, err := probe.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(shortDir(t), "mute")
	mute, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var held []net.Conn // read once accepting has ended
	var accepting errgroup.Group
	accepting.Go(func() error {
		for {
			c, err := mute.Accept()
			if err != nil {
				return nil // closed below
			}
			held = append(held, c)
		}
	})
	c := &conn{uri: "qemu+unix:///system?socket=" + path}
	t.Cleanup(c.close)
	ask := func(limit time.Duration) error {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		return c.call(ctx, func(l *libvirt.Connect) error {
			_, err := l.GetHostname()
			return err
		})
	}
	// Several at once, as sessions, inventory and watchers ask, then one after
	// the others were given up.
	var group errgroup.Group
	for i := range 4 {
		group.Go(func() error {
			if err := ask(time.Duration(200+50*i) * time.Millisecond); err == nil {
				return errors.New("a libvirtd that says nothing was believed")
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := ask(100 * time.Millisecond); err == nil {
		t.Fatal("a libvirtd that says nothing was believed")
	}
	c.mu.Lock()
	c.uri = "test:///default" // it answers again
	c.mu.Unlock()
	if err := ask(20 * time.Second); err != nil {
		t.Fatalf("libvirtd answers again, the driver does not: %v", err)
	}
	_ = mute.Close()
	_ = accepting.Wait()
	for _, h := range held {
		_ = h.Close()
	}
	// Nothing is left hanging once the sockets are closed.
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		c.mu.Lock()
		left := c.abandoned
		c.mu.Unlock()
		if left == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d calls still hang", left)
		}
	}
}

// TestAskedAgain: the first call after libvirtd was restarted finds the connection
// lost; a question is asked again on a new one, what changes something is not.
func TestAskedAgain(t *testing.T) {
	if probe, err := libvirt.NewConnect("test:///default"); err != nil {
		t.Skipf("needs libvirt.so.0 (%v): scripts/lab-tools installs it on Debian", err)
	} else if _, err := probe.Close(); err != nil {
		t.Fatal(err)
	}
	for _, asks := range []bool{true, false} {
		c := &conn{uri: "test:///default", asks: asks}
		calls := 0
		err := c.call(t.Context(), func(*libvirt.Connect) error {
			if calls++; calls == 1 {
				return libvirt.Error{Code: libvirt.ERR_SYSTEM_ERROR, Domain: libvirt.FROM_RPC, Message: "Cannot write data: Broken pipe"}
			}
			return nil
		})
		if (err == nil) != asks || calls > 2 || calls == 2 && !asks {
			t.Errorf("questions %t: %d calls, %v", asks, calls, err)
		}
		c.close()
	}
}
