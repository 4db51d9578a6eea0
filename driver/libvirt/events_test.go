//go:build linux && cgo && libvirt_dlopen

package libvirt

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"
	libvirt "libvirt.org/go/libvirt"

	"github.com/placed-dev/placed/driver"
)

// TestNews: a domain that somebody else ends and starts is news at once, whatever the
// pace of inventories, and the loop of events ends with the driver's.
func TestNews(t *testing.T) {
	newTestDriver(t) // skips where there is no libvirt
	ignore := goleak.IgnoreCurrent()
	// Only the default node is one for all connections of a process.
	d, err := New(Config{URI: "test:///default", Host: "h1", Dir: t.TempDir(), Sockets: shortDir(t), PIDs: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var group errgroup.Group
	group.Go(func() error { return d.Run(ctx) })
	await := func(what string) {
		t.Helper()
		select {
		case <-d.News():
		case <-time.After(30 * time.Second):
			t.Fatalf("no news: %s", what)
		}
	}
	await("the subscription itself")

	virsh, err := libvirt.NewConnect("test:///default")
	if err != nil {
		t.Fatal(err)
	}
	defer virsh.Close()
	dom, err := virsh.LookupDomainByName("test")
	if err != nil {
		t.Fatal(err)
	}
	defer dom.Free()
	for _, change := range []struct {
		what string
		do   func() error
		runs bool
	}{{"destroyed", dom.Destroy, false}, {"started", dom.Create, true}} {
		if err := change.do(); err != nil {
			t.Fatal(err)
		}
		await(change.what)
		list, err := d.Inventory(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if runs := len(list) == 1 && list[0].State == driver.Running; runs != change.runs {
			t.Errorf("%s: inventory %+v", change.what, list)
		}
	}
	cancel()
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	goleak.VerifyNone(t, ignore)
}

// TestEventLoop: the loop is one for all who use it, ends with the last of them, and
// starts again for the next.
func TestEventLoop(t *testing.T) {
	newTestDriver(t)
	ignore := goleak.IgnoreCurrent()
	for range 3 {
		first, err := events.use()
		if err != nil {
			t.Fatal(err)
		}
		second, err := events.use()
		if err != nil {
			t.Fatal(err)
		}
		first()
		select {
		case <-events.ended:
			t.Fatal("the loop has ended under one who uses it")
		default:
		}
		second()
		goleak.VerifyNone(t, ignore)
	}
}
