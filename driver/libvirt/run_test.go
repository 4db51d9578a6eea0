//go:build linux && cgo && libvirt_dlopen

package libvirt

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	libvirt "libvirt.org/go/libvirt"

	"github.com/placed-dev/placed/fleet"
)

// TestRunReads: the loop reads the counters of what runs, listens for what arrives,
// and ends with its context. libvirt's test driver has no counters of traffic, which
// is not the same as none.
func TestRunReads(t *testing.T) {
	d := newTestDriver(t)
	d.cfg.StatsEvery = time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var group errgroup.Group
	group.Go(func() error { return d.Run(ctx) })
	d.came <- arrivedGuest{Workload: "web/1"} // nothing to be heard of it
	for deadline := time.Now().Add(30 * time.Second); len(d.came) > 0 || len(d.Measured()) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d guests wait, measured %v", len(d.came), d.Measured())
		}
	}
	for id, v := range d.Measured() {
		if v.Net != fleet.Unknown || v.Disk != fleet.Unknown || v.CPU != fleet.Unknown {
			t.Errorf("%s: %v", id, v)
		}
	}
	cancel()
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

// TestRunMute: a libvirtd that accepts and never answers does not keep the loop from
// ending.
func TestRunMute(t *testing.T) {
	if probe, err := libvirt.NewConnect("test:///default"); err != nil {
		t.Skipf("needs libvirt.so.0 (%v): scripts/lab-tools installs it on Debian", err)
	} else if _, err := probe.Close(); err != nil {
		t.Fatal(err)
	}
	dir := shortDir(t)
	mute, err := net.Listen("unix", filepath.Join(dir, "mute"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = mute.Close() })
	d, err := New(Config{URI: "qemu+unix:///system?socket=" + filepath.Join(dir, "mute"), Host: "h1", Dir: t.TempDir(), Sockets: dir, StatsEvery: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	ctx, cancel := context.WithCancel(t.Context())
	var group errgroup.Group
	group.Go(func() error { return d.Run(ctx) })
	conn, err := mute.Accept() // it is being asked
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	cancel()
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if list := d.Measured(); len(list) != 0 {
		t.Errorf("measured %v", list)
	}
}
