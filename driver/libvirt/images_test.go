//go:build linux && cgo && libvirt_dlopen

package libvirt

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

// TestMakeImages: room is made for the disks that travel, never in the place of
// somebody else's file, and what the domain itself has left behind gives way.
// libvirt's test driver makes pools and volumes in memory.
func TestMakeImages(t *testing.T) {
	d := newTestDriver(t)
	dir, token := t.TempDir(), fleet.Token{Cluster: "c", Generation: 1, Index: 5}
	path := filepath.Join(dir, "d.qcow2")
	spec := func(i image) driver.Spec {
		return driver.Spec{ID: "d", Driver: Name, Settings: map[string]string{"uuid": "u", "needs": needs{Images: []image{i}}.text()}}
	}
	room := image{Path: path, Format: "qcow2", Size: 1 << 20}

	if err := d.makeImages(t.Context(), spec(image{Path: path, Format: "qcow2"}), token); err == nil || !strings.Contains(err.Error(), "size is not known") {
		t.Errorf("without a size: %v", err)
	}
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.makeImages(t.Context(), spec(room), token); err == nil || !strings.Contains(err.Error(), "exists here already") {
		t.Errorf("over another file: %v", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "precious" {
		t.Fatalf("another file is now %q, %v", text, err)
	}
	if _, ok, err := d.cfg.readArrival("d"); ok || err != nil {
		t.Errorf("a note of what was refused: %v", err)
	}

	if err := putGuard(elsewhereFile(d.cfg.Dir, "u"), elsewhere{UUID: "u", Left: leftovers([]string{path})}); err != nil {
		t.Fatal(err)
	}
	if err := d.makeImages(t.Context(), spec(room), token); err != nil {
		t.Fatalf("over what it left behind: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what was left behind is still there: %v", err)
	}
	if a, ok, err := d.cfg.readArrival("d"); !ok || err != nil || a.Token != token || len(a.Made) != 1 || a.Made[0] != path {
		t.Errorf("noted %+v, %v", a, err)
	}

	base := room
	base.Backing, base.BackingFormat = filepath.Join(dir, "base"), "raw"
	if lacking := (needs{Images: []image{base}}).lacks(); len(lacking) != 1 || !strings.Contains(lacking[0], "base") {
		t.Errorf("without its base: %q", lacking)
	}
}
