package libvirt

import (
	"slices"
	"strings"
	"testing"

	"github.com/placed-dev/placed/fleet"
)

const mib = int64(1) << 20

func TestKnobsOfADomain(t *testing.T) {
	full := tunables{Shares: 2048, Quota: 50_000, Period: 100_000, VCPUs: 2, Most: 4, Actual: 4096 * mib, Largest: 8192 * mib, Usable: 2048 * mib}
	want := []fleet.Knob{
		{Kind: fleet.CPUWeight, Now: 200, Least: 1, Most: 10_000},
		{Kind: fleet.CPUQuota, Now: 1000, Least: 100, Most: mostQuota},
		{Kind: fleet.VCPUs, Now: 2, Least: 1, Most: 4},
		// It uses 2 GiB and keeps a quarter more.
		{Kind: fleet.Balloon, Now: 4096 * mib, Least: 2560 * mib, Most: 8192 * mib},
	}
	if got := full.knobs(); !slices.Equal(got, want) {
		t.Errorf("knobs %+v, want %+v", got, want)
	}
	for name, change := range map[string]func(*tunables){
		"no weight":         func(x *tunables) { x.Shares = 0 },
		"no limit":          func(x *tunables) { x.Quota = -1 },
		"all vCPUs":         func(x *tunables) { x.Most = 2 },
		"huge pages":        func(x *tunables) { x.Rigid = "its memory is made of huge pages" },
		"a silent guest":    func(x *tunables) { x.Usable = -1 },
		"a guest that uses": func(x *tunables) { x.Usable = 0 },
	} {
		x := full
		change(&x)
		if got := x.knobs(); len(got) != 3 {
			t.Errorf("%s: knobs %+v", name, got)
		}
	}
	unified := tunables{Unified: true, Shares: 250}
	if w := unified.weight(); w != 250 || unified.shares(400) != 400 || full.shares(400) != 4096 {
		t.Errorf("weights %d, %d, %d", w, unified.shares(400), full.shares(400))
	}
	if q, err := full.quota(3000); err != nil || q != 150_000 {
		t.Errorf("three cores on two vCPUs: %d, %v", q, err)
	}
	for _, x := range []tunables{{}, {VCPUs: 200, Period: 1000}} {
		if _, err := x.quota(1000); err == nil {
			t.Errorf("%+v took a quota", x)
		}
	}
}

func TestRigidMemory(t *testing.T) {
	domain := func(inside string) string { return "<domain type='kvm'><name>a</name>" + inside + "</domain>" }
	balloon := "<devices><memballoon model='virtio'/></devices>"
	for inside, want := range map[string]string{
		balloon: "",
		"<memoryBacking><hugepages/></memoryBacking>" + balloon: "huge pages",
		"<memoryBacking><locked/></memoryBacking>" + balloon:    "locked",
		"<devices><memballoon model='none'/></devices>":         "no balloon",
		"": "no balloon",
		"<devices><memballoon model='virtio' autodeflate='on'/></devices>":                                                                                                   "autodeflate",
		"<devices><memballoon model='virtio'/><hostdev mode='subsystem' type='pci'><source><address domain='0' bus='1' slot='0' function='0'/></source></hostdev></devices>": "pins its memory",
	} {
		why, err := rigid(domain(inside))
		if err != nil || !strings.Contains(why, want) || want == "" && why != "" {
			t.Errorf("%s: %q, %v", inside, why, err)
		}
	}
	if _, err := rigid("<domain"); err == nil {
		t.Error("what is no XML was read")
	}
}
