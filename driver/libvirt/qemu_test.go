//go:build linux && cgo && libvirt_dlopen

package libvirt

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	libvirt "libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

// newQEMUDriver drives a real QEMU by the libvirt in this process, without a libvirtd,
// in a directory of its own. libvirt runs every QEMU of the machine to find out what it
// can do, which is why these tests are not among the quick ones.
func newQEMUDriver(t *testing.T) *Driver {
	t.Helper()
	if os.Getenv("PLACED_SOAK") == "" {
		t.Skip("runs QEMU for some ten seconds: set PLACED_SOAK=1")
	}
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil || os.Getuid() != 0 {
		t.Skipf("needs root and qemu-system-x86_64 (%v): scripts/lab-tools installs it on Debian", err)
	}
	root := shortDir(t)
	if err := os.MkdirAll(filepath.Join(root, "etc"), 0o700); err != nil {
		t.Fatal(err)
	}
	conf := "user = \"root\"\ngroup = \"root\"\ndynamic_ownership = 0\nremember_owner = 0\nsecurity_driver = \"none\"\ncgroup_controllers = []\nnamespaces = []\nstdio_handler = \"file\"\nseccomp_sandbox = 0\n"
	if err := os.WriteFile(filepath.Join(root, "etc/qemu.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := New(Config{URI: "qemu:///embed?root=" + root, Host: "h1", Dir: t.TempDir(), Sockets: shortDir(t), PIDs: filepath.Join(root, "run/qemu")})
	if err != nil {
		t.Fatal(err)
	}
	release, err := events.use()
	if err != nil {
		t.Skipf("needs libvirt.so.0 (%v): scripts/lab-tools installs it on Debian", err)
	}
	t.Cleanup(release)
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// TestQEMU has one libvirt for all: a process has one at most.
func TestQEMU(t *testing.T) {
	d := newQEMUDriver(t)
	t.Run("surveyed", func(t *testing.T) { testSurveyed(t, d) })
	t.Run("measured", func(t *testing.T) { testMeasured(t, d) })
}

// modelOf asks libvirt which features a CPU model has, whatever this host can do: as the
// host of a guest says that runs with it.
func modelOf(c *libvirt.Connect, model string) (cpu, error) {
	text, err := c.BaselineCPU([]string{"<cpu><arch>x86_64</arch><model>" + model + "</model></cpu>"}, libvirt.CONNECT_BASELINE_CPU_EXPAND_FEATURES)
	if err != nil {
		return cpu{}, err
	}
	var x libvirtxml.DomainCPU
	if err := x.Unmarshal(text); err != nil {
		return cpu{}, err
	}
	var out cpu
	for _, f := range x.Features {
		out.features = append(out.features, f.Name)
	}
	return out, nil
}

// testSurveyed: of every CPU model that this libvirt knows, what the leader concludes
// from the host's report is what the host's own libvirt says when it is asked.
func testSurveyed(t *testing.T, d *Driver) {
	if err := d.surveyOnce(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	has, _ := d.Survey()
	err := d.checks.call(t.Context(), func(c *libvirt.Connect) error {
		text, err := c.GetDomainCapabilities("", "x86_64", "", "qemu", 0)
		if err != nil {
			return err
		}
		var caps libvirtxml.DomainCaps
		if err := caps.Unmarshal(text); err != nil {
			return err
		}
		can, cannot := 0, 0
		for _, mode := range caps.CPU.Modes {
			for _, m := range mode.Models {
				if mode.Name != "custom" {
					continue
				}
				n := needs{Emulator: caps.Path, Arch: "x86_64", Machine: caps.Machine, Virt: "qemu",
					CPU: fmt.Sprintf("<cpu mode='custom' match='exact'><model fallback='forbid'>%s</model></cpu>", m.Name)}
				x, err := modelOf(c, m.Name)
				if err != nil {
					return err
				}
				told := fleet.Lacking(has, n.with(x).requires())
				refused := n.compare(c)
				if (len(told) > 0) != (refused != nil) {
					t.Errorf("%s (usable: %s): told %q, refused %v", m.Name, m.Usable, told, refused)
				}
				if refused == nil {
					can++
				} else {
					cannot++
				}
			}
		}
		t.Logf("FIGURE CPU models: %d can run here, %d cannot; host record %d bytes", can, cannot, len(fmt.Sprint(has)))
		if can == 0 || cannot == 0 {
			t.Errorf("%d can, %d cannot: nothing was told apart", can, cannot)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// testMeasured: a guest that is started by other means is news, what its QEMU uses
// beside its memory is measured, its CPU is explained, and an agent that is not there
// holds nobody up.
func testMeasured(t *testing.T, d *Driver) {
	const xml = `<domain type='qemu'><name>bios</name><uuid>7d4bd0a5-5f9b-4c5c-9d3e-3a3a34d3b0ff</uuid><memory unit='MiB'>128</memory><vcpu>1</vcpu>
		<os><type arch='x86_64' machine='q35'>hvm</type></os><cpu mode='custom' match='exact'><model>qemu64</model></cpu>
		<devices><emulator>/usr/bin/qemu-system-x86_64</emulator><controller type='usb' model='none'/><memballoon model='none'/>
		<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel></devices></domain>`
	s, err := d.subscribe(make(chan libvirt.ConnectCloseReason, 1))
	if err != nil {
		t.Fatal(err)
	}
	defer s.end()
	dom, err := s.c.DomainCreateXML(xml, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer dom.Free()
	t.Cleanup(func() { _ = dom.Destroy() })
	select {
	case <-d.News():
	case <-time.After(60 * time.Second):
		t.Fatal("no news of a guest that was started")
	}
	list, err := d.Inventory(t.Context())
	if err != nil || len(list) != 1 || list[0].State != driver.Running || list[0].PID == 0 {
		t.Fatalf("inventory %+v, %v", list, err)
	}
	if err := d.surveyOnce(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	has, needed := d.Survey()
	if missing := fleet.Lacking(has, needed["bios"]); len(missing) > 0 {
		t.Errorf("its own host lacks %q for it", missing)
	}
	explained := false
	for _, a := range needed["bios"] {
		explained = explained || a.Class == classFeature("x86_64", "qemu") && len(a.Values) > 10
	}
	if !explained {
		t.Errorf("its CPU is not explained: %v", needed["bios"])
	}
	if err := d.measureOnce(t.Context(), time.Now(), "/proc"); err != nil {
		t.Fatal(err)
	}
	o := d.overheads["7d4bd0a5-5f9b-4c5c-9d3e-3a3a34d3b0ff"]
	if o == nil || len(o.Peaks) != 1 {
		t.Fatalf("measured %+v", o)
	}
	t.Logf("FIGURE QEMU beside its guest's 128 MiB: %d MiB", o.Peaks[0]>>20)
	if o.Peaks[0] < 4<<20 || o.Peaks[0] > 1<<30 {
		t.Errorf("%d bytes beside the guest's memory", o.Peaks[0])
	}
	if len(d.survey.needs["bios"].Unjudged) > 0 {
		t.Errorf("its own host is not known to have what it needs: %v", d.survey.needs["bios"].Unjudged)
	}
	began := time.Now()
	if said := d.agentOf("bios").tell(t.Context(), 5*time.Second, "/n", noticeBefore, "5"); time.Since(began) > 60*time.Second {
		t.Errorf("an agent that is not there held up for %s: %s", time.Since(began), said)
	} else {
		t.Log(said)
	}
	// What it needs, this host takes back.
	if list, err = d.Inventory(t.Context()); err != nil || len(list) != 1 {
		t.Fatalf("inventory %+v, %v", list, err)
	}
	if err := dom.Destroy(); err != nil {
		t.Fatal(err)
	}
	token := fleet.Token{Cluster: "c", Generation: 1, Index: 4}
	if err := d.Expect(t.Context(), list[0].Spec, token); err != nil {
		t.Errorf("the host where it ran does not take it: %v", err)
	}
	d.Shut("bios", token)
	lacking := list[0].Spec
	lacking.Settings = maps.Clone(lacking.Settings)
	lacking.Settings["needs"] = strings.Replace(lacking.Settings["needs"], `"features":[`, `"features":["avx512f",`, 1)
	if err := d.Expect(t.Context(), lacking, token); err == nil || !strings.Contains(err.Error(), "this host has no cpu feature (x86_64, qemu) avx512f") {
		t.Errorf("with a feature that is not here: %v", err)
	}
}
