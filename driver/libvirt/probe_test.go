package libvirt

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestHeard: a guest is on its network once its bridge has learned its address at its
// own port; the tap's own address, or the guest's at the uplink, is not that.
func TestHeard(t *testing.T) {
	bridges := t.TempDir()
	c := card{MAC: "52:54:00:78:01:0b", Tap: "vnet3", Bridge: "br0"}
	port := filepath.Join(bridges, "br0", "brif", "vnet3")
	if err := os.MkdirAll(port, 0o755); err != nil {
		t.Fatal(err)
	}
	put := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(filepath.Join(port, "port_no"), "0x102\n")
	entry := func(mac string, at uint16, local byte) string {
		hardware, err := net.ParseMAC(mac)
		if err != nil {
			t.Fatal(err)
		}
		return string(hardware) + string([]byte{byte(at), local, 9, 0, 0, 0, byte(at >> 8), 0, 0, 0})
	}
	table := filepath.Join(bridges, "br0", "brforward")
	others := entry("fe:54:00:78:01:0b", 0x102, 1) + entry(c.MAC, 0x001, 0) + entry(c.MAC, 0x002, 0) + entry(c.MAC, 0x102, 1)
	put(table, others)
	g := arrivedGuest{Cards: []card{c}}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if silent := g.heard(gone, bridges); len(silent) != 1 {
		t.Fatal("a guest that has not spoken was heard")
	}
	put(table, others+entry(c.MAC, 0x102, 0))
	if silent := g.heard(t.Context(), bridges); len(silent) != 0 {
		t.Fatalf("not heard: %v", silent)
	}
	put(table, "short")
	if _, err := c.spoke(bridges); err == nil {
		t.Error("a table of an unknown form was read")
	}
}

// FuzzLearned: whatever a kernel may show, it is read or refused.
func FuzzLearned(f *testing.F) {
	f.Add(make([]byte, 32), uint16(2))
	f.Fuzz(func(t *testing.T, table []byte, port uint16) {
		if ok, err := learned(table, make([]byte, 6), port); ok && (err != nil || len(table) < fdbEntry) {
			t.Fatalf("%d bytes: %v", len(table), err)
		}
	})
}

// TestHeardWaits: the table is looked at until the guest speaks.
func TestHeardWaits(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	began := time.Now()
	if silent := (arrivedGuest{Cards: []card{{Bridge: "absent"}}}).heard(ctx, t.TempDir()); len(silent) != 1 {
		t.Fatal("a bridge that does not exist has heard a guest")
	}
	if time.Since(began) < 20*time.Millisecond {
		t.Error("it did not wait")
	}
}
