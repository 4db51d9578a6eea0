//go:build linux && cgo && libvirt_dlopen

package libvirt

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	libvirt "libvirt.org/go/libvirt"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

// recorded answers as libvirt 9.0.0 with QEMU 7.2.22 did. Features are those that the
// definition names, without what its model stands for.
type recorded struct{ dir string }

func (r recorded) GetCapabilities() (string, error) { return r.read("capabilities.xml") }
func (r recorded) GetLibVersion() (uint32, error)   { return 9000000, nil }
func (r recorded) GetVersion() (uint32, error)      { return 7002022, nil }

func (r recorded) GetDomainCapabilities(_, _, _, virt string, _ libvirt.ConnectGetDomainCapabilitiesFlags) (string, error) {
	if virt != "qemu" {
		return "", libvirt.Error{Code: libvirt.ERR_INVALID_ARG}
	}
	return r.read("domain-capabilities.xml")
}

func (r recorded) BaselineHypervisorCPU(_, _, _, _ string, cpus []string, _ libvirt.ConnectBaselineCPUFlags) (string, error) {
	return cpus[0], nil
}

func (r recorded) read(name string) (string, error) {
	text, err := os.ReadFile(filepath.Join(r.dir, name))
	return string(text), err
}

// TestHypervisor: the record of a host has what decides, in a few KiB.
func TestHypervisor(t *testing.T) {
	model, err := hypervisorOf(recorded{"testdata"})
	if err != nil {
		t.Fatal(err)
	}
	for class, value := range map[string]string{
		"machine type of x86_64": "pc-q35-7.2", "virtualization of x86_64": "qemu", "emulator": "/usr/bin/qemu-system-x86_64",
		"cpu feature (x86_64, qemu)": "vaes", "cpu vendor (x86_64, qemu)": "AMD", "graphics type": "vnc", "TPM backend": "passthrough",
		"disk bus": "virtio", "hypervisor": "QEMU 7.2.22",
	} {
		if !slices.Contains(model[class], value) {
			t.Errorf("%s: %q is not among %q", class, value, model[class])
		}
	}
	if slices.Contains(model["machine type of x86_64"], "q35") || slices.Contains(model["cpu feature (x86_64, qemu)"], "vme") {
		t.Error("an alias of a machine, or a feature that QEMU disables, is offered")
	}
	size := 0
	for _, a := range (surveyed{model: model}).has() {
		size += len(fmt.Sprint(a))
	}
	t.Logf("FIGURE record of a host: %d bytes", size)
	if size > 4<<10 {
		t.Errorf("the record has %d bytes", size)
	}
}

// TestBounded: an unusual host says less, never more than the bound, and leaves away
// whole classes: half a class would deny what it has.
func TestBounded(t *testing.T) {
	of := map[string][]string{classSegment: {"br0=prod"}}
	for i := range 2000 {
		of[classBridge] = append(of[classBridge], fmt.Sprintf("br-%04d", i))
	}
	list := bounded(fleet.Abilities(of))
	if len(list) != 1 || list[0].Class != classSegment {
		t.Errorf("%d classes left", len(list))
	}
}

// TestRequires: what a domain needs is told apart from what a host has by the code that
// the destination uses, for each reason there is.
func TestRequires(t *testing.T) {
	model, err := hypervisorOf(recorded{"testdata"})
	if err != nil {
		t.Fatal(err)
	}
	local := map[string][]string{classSegment: {"br0=prod"}, classBridge: {"br0"}, classNetwork: {}, classPool: {"default"}, classShared: {"/srv"}, classSockets: {"/run/placed/moves"}}
	has := surveyed{model: model, local: local}.has()
	fits := func() needs {
		return needs{Arch: "x86_64", Machine: "pc-q35-7.2", Virt: "qemu", Emulator: "/usr/bin/qemu-system-x86_64", Bridges: []string{"br0"},
			Networks: []network{{Kind: "bridge", Name: "br0", Segment: "prod"}}, Features: []string{"vaes"}, Vendor: "AMD",
			Devices: map[string][]string{classVideo: {"qxl"}}, Pools: []string{"default"}, Shared: []string{"/srv"}, Sockets: "/run/placed/moves"}
	}
	if missing := fleet.Lacking(has, fits().requires()); len(missing) != 0 {
		t.Fatalf("lacking %q", missing)
	}
	for _, c := range []struct {
		change func(*needs)
		want   string
	}{
		{func(n *needs) { n.Machine = "pc-q35-9.0" }, "machine type of x86_64 pc-q35-9.0"},
		{func(n *needs) { n.Virt = "xen" }, "virtualization of x86_64 xen"},
		{func(n *needs) { n.Emulator = "/usr/libexec/qemu-kvm" }, "emulator /usr/libexec/qemu-kvm"},
		{func(n *needs) { n.Features = []string{"avx512f", "vaes", "vme"} }, "cpu feature (x86_64, qemu) avx512f, vme"},
		{func(n *needs) { n.Vendor = "Intel" }, "cpu vendor (x86_64, qemu) Intel"},
		{func(n *needs) { n.Bridges = []string{"br7"} }, "bridge br7"},
		{func(n *needs) { n.Networks[0].Segment = "test" }, "network segment br0=test"},
		{func(n *needs) { n.Networks = []network{{Kind: "network", Name: "lan", Segment: "prod"}} }, "libvirt network lan; network segment network/lan=prod"},
		{func(n *needs) { n.Devices = map[string][]string{classTPM: {"emulator"}} }, "TPM backend emulator"},
		{func(n *needs) { n.Pools = []string{"fast"} }, "storage pool fast"},
		{func(n *needs) { n.Shared = []string{"/var"} }, "shared storage below /var"},
		{func(n *needs) { n.Sockets = "/run/other" }, "directory of move sockets /run/other"},
	} {
		n := fits()
		c.change(&n)
		if got := strings.Join(fleet.Lacking(has, n.requires()), "; "); got != c.want {
			t.Errorf("lacking %q, want %q", got, c.want)
		}
	}
	// A host that does not seem to have what runs on it cannot judge others by it.
	odd := fits()
	odd.Emulator = "/usr/bin/kvm"
	if odd = odd.judgedBy(has); !slices.Equal(odd.Unjudged, []string{classEmulator}) {
		t.Errorf("not judged: %q", odd.Unjudged)
	}
	if missing := fleet.Lacking(has, odd.requires()); len(missing) != 0 {
		t.Errorf("its own host lacks %q", missing)
	}
	if missing := fleet.Lacking(nil, fits().requires()); len(missing) != 0 {
		t.Errorf("a host of which nothing is known lacks %q", missing)
	}
}

// TestSurvey: the agent knows by itself what the host has and each domain requires, and
// what it has told the leader is what it refuses itself.
func TestSurvey(t *testing.T) {
	d := newTestDriver(t)
	if _, err := d.Inventory(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := d.surveyOnce(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	has, needed := d.Survey()
	if !slices.ContainsFunc(has, func(a fleet.Ability) bool { return a.Class == classSockets && a.Values[0] == d.cfg.Sockets }) {
		t.Errorf("the host has %v", has)
	}
	if _, ok := needed["web/1"]; !ok {
		t.Errorf("nothing is known of the needs of web/1: %v", needed)
	}
	n := needs{Bridges: []string{"no-such-bridge"}, Networks: []network{{Kind: "bridge", Name: "no-such-bridge", Segment: "prod"}}, Files: []string{"/no/such/file"}}
	told := fleet.Lacking(has, n.requires())
	err := d.suits(t.Context(), driver.Spec{ID: "new", Settings: map[string]string{"needs": n.text()}})
	if len(told) != 2 || err == nil {
		t.Fatalf("told %q, refused %v", told, err)
	}
	for _, why := range append(told, "file /no/such/file") {
		if !strings.Contains(err.Error(), why) {
			t.Errorf("refused without %q: %v", why, err)
		}
	}
}

// TestCPUs: a domain's CPU is explained once per form, a CPU that is the host's own by
// what the host's is, and one that libvirtd cannot explain requires nothing.
func TestCPUs(t *testing.T) {
	plain := needs{Emulator: "/e", Arch: "x86_64", Machine: "m", Virt: "kvm", CPU: `<cpu mode='custom' match='exact' check='full'><model fallback='forbid'>EPYC</model><vendor>AMD</vendor><topology sockets='1' cores='2' threads='1'/><feature policy='require' name='svm'/><feature policy='disable' name='vme'/></cpu>`}
	key, ok := plain.cpuOf()
	if !ok {
		t.Fatal("there is nothing to ask")
	}
	if strings.Contains(key.xml, "topology") {
		t.Errorf("asked with %s", key.xml)
	}
	x, err := key.expand(recorded{})
	if err != nil || x.vendor != "AMD" || !slices.Equal(x.features, []string{"svm"}) {
		t.Errorf("it comes to %+v, %v", x, err)
	}
	d := &Driver{survey: surveyed{model: map[string][]string{classFeature("x86_64", "kvm"): {"avx2", "svm"}, classVendor("x86_64", "kvm"): {"AMD"}}, cpus: map[cpuKey]cpu{key: x}}}
	if got := d.explained(plain); !slices.Equal(got.Features, []string{"svm"}) {
		t.Errorf("explained as %v", got.Features)
	}
	own := needs{Arch: "x86_64", Virt: "kvm", CPU: `<cpu mode='host-passthrough' check='none' migratable='on'/>`}
	if _, ask := own.cpuOf(); ask {
		t.Error("libvirtd is asked what the host's own CPU comes to")
	}
	if got := d.explained(own); !slices.Equal(got.Features, []string{"avx2", "svm"}) || got.Vendor != "AMD" {
		t.Errorf("the host's own comes to %v of %s", got.Features, got.Vendor)
	}
	if err := unlessUnsupported(libvirt.Error{Code: libvirt.ERR_NO_SUPPORT}); err != nil {
		t.Error(err)
	}
	if err := unlessUnsupported(errors.New("lost")); err == nil {
		t.Error("an error was taken for a question that is not supported")
	}
}

// TestAdmission: what is expected takes the pages of its NUMA cell from who is expected
// next, until it has been let go; the reason names cell and page size.
func TestAdmission(t *testing.T) {
	d := newTestDriver(t)
	d.nodes = cells(t, Pool{Cell: 0, Total: 1 << 30, Free: 1 << 30}, Pool{Cell: 1, Total: 1 << 30, Free: 1 << 30}, Pool{Cell: 1, Size: 2 << 20, Total: 100, Free: 100})
	expect := func(id fleet.WorkloadID, index uint64, count int64) error {
		n := needs{Pages: []pageNeed{{2 << 20, count, []int{1}}}}
		return d.Expect(t.Context(), driver.Spec{ID: id, Settings: map[string]string{"domain": string(id), "uuid": string(id), "needs": n.text()}}, fleet.Token{Cluster: "c", Generation: 1, Index: index})
	}
	if err := expect("large", 1, 101); err == nil || !strings.Contains(err.Error(), "NUMA cell 1 has 100 huge pages of 2 MiB free, and it needs 101 there") {
		t.Errorf("too large: %v", err)
	}
	if err := expect("first", 2, 60); err != nil {
		t.Fatal(err)
	}
	if err := expect("second", 3, 60); err == nil || !strings.Contains(err.Error(), "NUMA cell 1 has 40 huge pages") {
		t.Errorf("beside another that is expected: %v", err)
	}
	d.Shut("first", fleet.Token{Cluster: "c", Generation: 1, Index: 2})
	if err := expect("second", 3, 60); err != nil {
		t.Errorf("after the other was let go: %v", err)
	}
}
