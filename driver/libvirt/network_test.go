package libvirt

import (
	"slices"
	"strings"
	"testing"
)

// TestSegments: two hosts have the same network only where both say so with the
// same word.
func TestSegments(t *testing.T) {
	read := func(text string) segments {
		t.Helper()
		s, err := parseSegments(text)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	d, err := readDefinition(`<domain type='kvm'><name>d</name><devices>
		<interface type='bridge'><source bridge='br0'/></interface>
		<interface type='network'><source network='lan' bridge='virbr1'/></interface>
		<interface type='direct'><source dev='eth1' mode='bridge'/></interface>
		<interface type='user'/></devices></domain>`)
	if err != nil {
		t.Fatal(err)
	}
	if want := []network{{Kind: "bridge", Name: "br0"}, {Kind: "network", Name: "lan"}, {Kind: "direct", Name: "eth1"}}; !slices.Equal(d.Networks, want) {
		t.Fatalf("networks %+v, want %+v", d.Networks, want)
	}
	source := read("br0=prod, network/lan=office direct/eth1=dmz")
	if why := source.undeclared(d.Networks); len(why) != 0 {
		t.Errorf("all are declared: %v", why)
	}
	if why := read("br0=prod").undeclared(d.Networks); len(why) != 2 || !strings.Contains(why[0].Remedy, "network/lan=NAME") {
		t.Errorf("undeclared: %v", why)
	}
	if got := read("br0=prod").list(); !slices.Equal(got, []string{"br0=prod"}) {
		t.Errorf("reported as %q", got)
	}
	for _, bad := range []string{"br0", "=prod", "br0="} {
		if _, err := parseSegments(bad); err == nil || !strings.Contains(err.Error(), "NETWORK=SEGMENT") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestUnknownNetwork: a card whose network cannot be told is a reason against a move.
func TestUnknownNetwork(t *testing.T) {
	d, err := readDefinition(`<domain type='kvm'><name>d</name><devices>
		<interface type='vhostuser'><source type='unix' path='/x' mode='client'/></interface></devices></domain>`)
	if err != nil {
		t.Fatal(err)
	}
	if why := d.movable(MovePolicy{Storage: "shared"}); len(why) != 1 || !strings.Contains(why[0].Reason, "network card") {
		t.Errorf("blocked by %v", why)
	}
}
