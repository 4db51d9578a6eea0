package libvirt

import (
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/placed-dev/placed/fleet"
)

func definitionOf(t *testing.T, name string) definition {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name + ".xml")
	if err != nil {
		t.Fatal(err)
	}
	d, err := readDefinition(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestDefinition: what the books get of a domain that may move.
func TestDefinition(t *testing.T) {
	d := definitionOf(t, "shop")
	s := d.spec(128 << 20)
	switch {
	case s.ID != "shop/db" || s.Settings["domain"] != "shop-db" || s.Settings["uuid"] != d.UUID:
		t.Errorf("named %+v", s)
	case s.Size != 16<<30:
		t.Errorf("the slots of hot-plug count, not what is plugged: %d", s.Size)
	case s.Reserve.Memory != 16<<30+128<<20 || s.Reserve.CPU != 8000:
		t.Errorf("reserves %v", s.Reserve)
	case s.Priority != 10 || s.Tolerant != 250:
		t.Errorf("wishes %+v", s)
	case d.Shares != 2048 || d.Machine != "pc-q35-7.2" || d.CPUMode != "host-model":
		t.Errorf("definition %+v", d)
	case len(d.movable(MovePolicy{Storage: "shared"})) != 0:
		t.Errorf("blocked by %v", d.movable(MovePolicy{Storage: "shared"}))
	}
	want := journey{Token: fleet.Token{Cluster: "prod/eu", Generation: 3, Index: 9120}, To: "host-b", Autostart: true}
	if d.Journey != want {
		t.Errorf("journey %+v", d.Journey)
	}
	if len(d.Disks) != 3 || d.Disks[1].Kind != "rbd" || d.Disks[2].Kind != "none" || d.Networks[0] != (network{Kind: "bridge", Name: "br0"}) {
		t.Errorf("devices %+v %v", d.Disks, d.Networks)
	}
}

// TestBlockers: every reason against a move is found before it, in words.
func TestBlockers(t *testing.T) {
	d := definitionOf(t, "pinned")
	text := ""
	for _, b := range d.movable(MovePolicy{Storage: "shared"}) {
		text += b.Reason + "\n"
	}
	for _, want := range []string{"managed by nova", "move=\"no\"", "PCI device", "vGPU", "directory of the host", "memory is shared", "cache mode \"writeback\""} {
		if !strings.Contains(text, want) {
			t.Errorf("no blocker says %q:\n%s", want, text)
		}
	}
	s := d.spec(128 << 20)
	if s.ID != fleet.WorkloadID(d.UUID) {
		t.Errorf("a name that is none of ours gave the id %q", s.ID)
	}
	if s.Reserve.Memory != 128<<20 || s.Reserve.Get("hugepages/2048K") != 1024*1000 {
		t.Errorf("huge pages come out of their pool: %v", s.Reserve)
	}
	if s.Settings["managed_by"] != "nova" || s.Settings["pinned"] != "yes" {
		t.Errorf("settings %v", s.Settings)
	}
}

// TestBadWishes: a wish that cannot be honoured is an error, not a default.
func TestBadWishes(t *testing.T) {
	for text, want := range map[string]string{
		`cpu="-1"`:         "no number of cores",
		`tolerance="2"`:    "outside 0..1",
		`move="sometimes"`: "neither yes nor no",
		`priority="high"`:  "invalid syntax",
		`storage="local"`:  "none of shared, copy, copy-inc",
		`downtime="soon"`:  "no duration",
	} {
		_, err := readDefinition(`<domain type='qemu'><name>x</name><metadata><w:wishes xmlns:w="` + wishesURI + `" ` + text + `/></metadata></domain>`)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// TestJourneyTravels: what a move writes into a domain is read back unchanged.
func TestJourneyTravels(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j := journey{
			Token: fleet.Token{Cluster: rapid.StringMatching(`[a-z0-9]{1,8}(/[a-z]{1,4})?`).Draw(t, "cluster"),
				Generation: rapid.Uint64().Draw(t, "generation"), Index: rapid.Uint64().Draw(t, "index")},
			To: fleet.HostID(rapid.StringMatching(`[a-z0-9-]{1,20}`).Draw(t, "to")), Active: rapid.Bool().Draw(t, "active"),
			Autostart: rapid.Bool().Draw(t, "autostart"),
		}
		text, err := j.marshal()
		if err != nil {
			t.Fatal(err)
		}
		text = strings.Replace(text, "<move ", `<p:move xmlns:p="`+moveURI+`" `, 1)
		text = strings.Replace(text, "</move>", "</p:move>", 1)
		d, err := readDefinition(`<domain type='qemu'><name>x</name><metadata>` + text + `</metadata></domain>`)
		if err != nil {
			t.Fatal(err)
		}
		if d.Journey != j {
			t.Fatalf("%s came back as %+v", text, d.Journey)
		}
	})
}

func FuzzDefinition(f *testing.F) {
	for _, name := range []string{"shop", "pinned"} {
		text, err := os.ReadFile("testdata/" + name + ".xml")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := readDefinition(text)
		if err != nil {
			return
		}
		if id := d.id(); id != "" && id != fleet.WorkloadID(d.UUID) && id.Validate() != nil {
			t.Errorf("workload id %q", id)
		}
		d.movable(MovePolicy{})
	})
}

func readAll(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name + ".xml")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestReservedCPU: the operator's word counts instead of one core per virtual CPU.
func TestReservedCPU(t *testing.T) {
	d := definitionOf(t, "shop")
	d.Wishes.CPU = 2.25
	if got := d.spec(0).Reserve.CPU; got != 2250 {
		t.Errorf("%d millicores are reserved", got)
	}
}
