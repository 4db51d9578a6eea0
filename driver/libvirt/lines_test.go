//go:build linux && cgo && libvirt_dlopen

package libvirt

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

// TestLinesApart: two guests that leave in one pass have the same token. What
// libvirtd or QEMU sends for one arrives where that one is expected, also when the
// other's way is opened later and closed first.
func TestLinesApart(t *testing.T) {
	d, err := New(Config{Host: "h1", Dir: t.TempDir(), Sockets: shortDir(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	token := fleet.Token{Cluster: "c", Generation: 1, Index: 17}
	// The other host answers with the name of the guest that it takes it for.
	open := func(id fleet.WorkloadID) *lines {
		t.Helper()
		way := driver.Way{Token: token, To: "h2", Enter: func(context.Context, string) (net.Conn, error) {
			near, far := net.Pipe()
			go func() { // ends with the pipe
				_, _ = io.WriteString(far, string(id))
				_ = far.Close()
			}()
			return near, nil
		}}
		l, err := d.openLines(t.Context(), id, way)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	answer := func(id fleet.WorkloadID) string {
		t.Helper()
		conn, err := net.Dial("unix", filepath.Join(d.socketDir(id, token), channelMemory))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(conn)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	one, two := open("one"), open("two")
	defer one.close()
	for _, id := range []fleet.WorkloadID{"one", "two"} {
		if have := answer(id); have != string(id) {
			t.Errorf("the stream of %s arrives at %q", id, have)
		}
	}
	two.close()
	if have := answer("one"); have != "one" {
		t.Errorf("after the end of the other move, the stream of one arrives at %q", have)
	}
}
