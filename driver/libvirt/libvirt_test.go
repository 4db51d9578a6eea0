//go:build linux && cgo && libvirt_dlopen

package libvirt

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	libvirt "libvirt.org/go/libvirt"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

// newTestDriver drives a node of libvirt's own test driver, which has domains,
// metadata and states, but no processes, jobs or migrations.
func newTestDriver(t *testing.T) *Driver {
	t.Helper()
	probe, err := libvirt.NewConnect("test:///default")
	if err != nil {
		t.Skipf("needs libvirt.so.0 (%v): scripts/lab-tools installs it on Debian", err)
	}
	if _, err := probe.Close(); err != nil {
		t.Fatal(err)
	}
	node, err := filepath.Abs("testdata/node.xml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	d, err := New(Config{URI: "test://" + node, Host: "h1", Dir: dir, Sockets: shortDir(t), PIDs: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// shortDir is a directory whose sockets fit.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pl")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// TestInventory: what runs is listed under the id its operator gave it, and what
// is merely defined holds nothing.
func TestInventory(t *testing.T) {
	d := newTestDriver(t)
	if err := d.with(t.Context(), "idle", (*libvirt.Domain).Destroy); err != nil {
		t.Fatal(err)
	}
	list, err := d.Inventory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || list[0].Spec.ID != "web/1" || list[0].State != driver.Running {
		t.Fatalf("inventory %+v", list)
	}
	s := list[0].Spec
	if s.Size != 1<<30 || s.Reserve.CPU != 2000 || s.Priority != 7 || s.Driver != Name {
		t.Errorf("specification %+v", s)
	}
	if f, err := d.Look(t.Context(), "web/1"); err != nil || f.State != driver.Running {
		t.Errorf("look: %+v, %v", f, err)
	}
	if f, err := d.Look(t.Context(), "idle"); err != nil || f.State != driver.Off {
		t.Errorf("look at a domain that is off: %+v, %v", f, err)
	}
	if _, err := d.Look(t.Context(), "nobody"); !errors.Is(err, driver.ErrNotFound) {
		t.Errorf("look at nobody: %v", err)
	}
}

// TestLookProvesGone: a domain that libvirtd does not know, but whose process
// lives, is not absent.
func TestLookProvesGone(t *testing.T) {
	d := newTestDriver(t)
	p := startStandIn(t, "rest")
	if err := d.cfg.writeNote("ghost", note{UUID: "u", Process: p}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Look(t.Context(), "ghost"); err == nil || errors.Is(err, driver.ErrNotFound) || !strings.Contains(err.Error(), "still exists") {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := endStill(ctx, p, settledTimes(t, p.PID)); err != nil {
		t.Fatal(err)
	}
	if err := p.awaitEnd(ctx); err != nil { // gone, it may not have released everything yet
		t.Fatal(err)
	}
	if _, err := d.Look(t.Context(), "ghost"); !errors.Is(err, driver.ErrNotFound) {
		t.Errorf("after its end: %v", err)
	}
}

// TestArrivals: what did not come under a token is neither run nor ended here,
// and the door is open to its own token alone.
func TestArrivals(t *testing.T) {
	d := newTestDriver(t)
	if _, err := d.Inventory(t.Context()); err != nil {
		t.Fatal(err)
	}
	token := fleet.Token{Cluster: "c", Generation: 1, Index: 9}
	if _, err := d.Activate(t.Context(), "web/1", token); err == nil || !strings.Contains(err.Error(), "did not come under token") {
		t.Errorf("activate: %v", err)
	}
	if err := d.Discard(t.Context(), "web/1", token); err == nil || !strings.Contains(err.Error(), "left alone") {
		t.Errorf("discard: %v", err)
	}
	if err := d.Expect(t.Context(), driver.Spec{ID: "web/1"}, token); err == nil {
		t.Error("a domain that is here was expected")
	}
	if err := d.Expect(t.Context(), driver.Spec{ID: "new"}, token); err != nil {
		t.Fatal(err)
	}
	other := token
	other.Index++
	if _, err := d.Enter(t.Context(), "new", other, channelMemory); err == nil || !strings.Contains(err.Error(), "nothing is expected") {
		t.Errorf("another token: %v", err)
	}
	if _, err := d.Enter(t.Context(), "new", token, "monitor"); err == nil || !strings.Contains(err.Error(), "unknown") {
		t.Errorf("another channel: %v", err)
	}
	d.Shut("new", token)
	if _, err := d.Enter(t.Context(), "new", token, channelMemory); err == nil {
		t.Error("the door is open after it was shut")
	}
	if err := d.Expect(t.Context(), driver.Spec{ID: "new", Settings: map[string]string{"needs": `{"bridges":["no-such-bridge"]}`}}, token); err == nil || !strings.Contains(err.Error(), "no-such-bridge") {
		t.Errorf("a network that is not here: %v", err)
	}
}

// TestLostConnection: a connection that was closed is opened again, and a call
// that hangs is abandoned at its deadline, without the next one suffering.
func TestLostConnection(t *testing.T) {
	d := newTestDriver(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	release := make(chan struct{})
	err := d.moves.call(ctx, func(*libvirt.Connect) error { <-release; return nil })
	if err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Fatalf("error %v", err)
	}
	if _, err := d.Inventory(t.Context()); err != nil {
		t.Errorf("after an abandoned call: %v", err)
	}
	close(release)
	missing := &conn{uri: "qemu+unix:///system?socket=/nowhere"}
	if err := missing.call(t.Context(), func(*libvirt.Connect) error { return nil }); err == nil || !strings.Contains(err.Error(), "is libvirtd running") {
		t.Errorf("without a libvirtd: %v", err)
	}
}

// TestDropInUse: a connection that one call finds lost is let go while others are
// in the middle of theirs. Without a reference of its own each would read freed
// memory.
func TestDropInUse(t *testing.T) {
	d := newTestDriver(t)
	var calls errgroup.Group
	for range 8 {
		calls.Go(func() error {
			for range 100 {
				if _, err := d.Inventory(t.Context()); err != nil {
					return err
				}
			}
			return nil
		})
	}
	calls.Go(func() error {
		for range 200 {
			d.moves.mu.Lock()
			if d.moves.open != nil {
				d.moves.dropLocked(d.moves.open)
			}
			d.moves.mu.Unlock()
			if err := d.with(t.Context(), "idle", func(*libvirt.Domain) error { return nil }); err != nil {
				return err
			}
		}
		return nil
	})
	if err := calls.Wait(); err != nil {
		t.Fatal(err)
	}
}
