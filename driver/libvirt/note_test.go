package libvirt

import (
	"os"
	"reflect"
	"testing"

	"github.com/placed-dev/placed/fleet"
)

// TestNotes: what a move takes from a domain survives the agent, and a note that
// cannot be read is an error, never "nothing was taken".
func TestNotes(t *testing.T) {
	c := Config{Dir: t.TempDir() + "/moves"}
	if _, ok, err := c.readNote("a/b"); ok || err != nil {
		t.Fatalf("%v, %v", ok, err)
	}
	n := note{Token: fleet.Token{Cluster: "c", Generation: 1, Index: 2}, UUID: "u", Process: process{PID: 3, Start: 4, Boot: "b"}, Autostart: true}
	if err := c.writeNote("a/b", n); err != nil {
		t.Fatal(err)
	}
	if back, ok, err := c.readNote("a/b"); !ok || err != nil || !reflect.DeepEqual(back, n) {
		t.Fatalf("%+v, %v, %v", back, ok, err)
	}
	if err := os.WriteFile(c.noteFile("a/b"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.readNote("a/b"); err == nil {
		t.Error("a torn note was read")
	}
	if err := c.dropNote("a/b"); err != nil {
		t.Fatal(err)
	}
	if err := c.dropNote("a/b"); err != nil {
		t.Errorf("dropping twice: %v", err)
	}
}

// TestOptions: every option is checked, and an unknown one is an error.
func TestOptions(t *testing.T) {
	var c Config
	if err := c.Options(map[string]string{"uri": "test:///default", "bandwidth": "15MiB", "deadline": "90s", "auto_converge": "true", "parallel": "4"}); err != nil {
		t.Fatal(err)
	}
	if c.URI != "test:///default" || c.Policy.Bandwidth != 15<<20 || c.Policy.Deadline.Seconds() != 90 || !c.Policy.AutoConverge || c.Policy.Parallel != 4 {
		t.Errorf("%+v", c)
	}
	for key, value := range map[string]string{"bandwith": "1", "bandwidth": "fast", "deadline": "90", "unsafe": "perhaps"} {
		if err := c.Options(map[string]string{key: value}); err == nil {
			t.Errorf("%s = %q was taken", key, value)
		}
	}
	for _, bad := range []Config{{}, {Host: "h"}, {Host: "h", Dir: "d", Native: "ssh"}, {Host: "h", Dir: "d", Policy: MovePolicy{Storage: "cloud"}},
		{Host: "h", Dir: "d", Sockets: "/a/very/long/path/in/which/no/socket/would/ever/fit"}} {
		if _, err := bad.withDefaults(); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}
