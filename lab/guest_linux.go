package lab

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// kernel is what guests boot: Debian's cloud kernel and its modules.
type kernel struct {
	image   string
	modules string
}

// findKernel returns the newest cloud kernel installed.
func findKernel() (kernel, error) {
	images, err := filepath.Glob("/boot/vmlinuz-*-cloud-*")
	if err != nil || len(images) == 0 {
		return kernel{}, errors.New("needs linux-image-cloud-amd64: scripts/lab-tools installs it on Debian")
	}
	slices.Sort(images)
	image := images[len(images)-1]
	return kernel{image, "/lib/modules/" + strings.TrimPrefix(image, "/boot/vmlinuz-")}, nil
}

// guestModules are the drivers that go into the initrd.
var guestModules = []string{"virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci",
	"failover", "net_failover", "virtio_net", "virtio_blk"}

// buildGuest makes the kernel and the initrd that every host's guests boot. They
// lie in the lab's directory, which all hosts see under the same path.
func (l *Lab) buildGuest(ctx context.Context) error {
	k, err := findKernel()
	if err != nil {
		return err
	}
	image, err := os.ReadFile(k.image)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(l.cfg.Dir, "vmlinuz"), image, 0o644); err != nil {
		return err
	}
	program := filepath.Join(l.cfg.Dir, "guest")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "github.com/placed-dev/placed/lab/guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building the guest program: %w: %s", err, out)
	}
	initrd, err := packInitrd(program, k.modules)
	if err != nil {
		return fmt.Errorf("initrd: %w", err)
	}
	return os.WriteFile(filepath.Join(l.cfg.Dir, "initrd"), initrd, 0o644)
}

func packInitrd(program, modules string) ([]byte, error) {
	a := &archive{}
	for _, dir := range []string{"proc", "sys", "dev", "modules"} {
		a.add(dir, 0o040755, nil)
	}
	init, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	a.add("init", 0o100755, init)
	err = filepath.WalkDir(filepath.Join(modules, "kernel"), func(path string, d fs.DirEntry, err error) error {
		name, module := strings.CutSuffix(d.Name(), ".ko")
		if err != nil || !module || !slices.Contains(guestModules, name) {
			return err
		}
		text, err := os.ReadFile(path)
		a.add("modules/"+d.Name(), 0o100644, text)
		return err
	})
	if err != nil {
		return nil, err
	}
	a.add("TRAILER!!!", 0, nil)
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(a.data.Bytes()); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// archive writes cpio's "newc" format, which the kernel unpacks at boot.
type archive struct {
	data bytes.Buffer
	n    int
}

func (a *archive) add(name string, mode int, content []byte) {
	a.n++
	fmt.Fprintf(&a.data, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		a.n, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0)
	a.data.WriteString(name)
	a.data.WriteByte(0)
	a.align()
	a.data.Write(content)
	a.align()
}

func (a *archive) align() {
	for a.data.Len()%4 != 0 {
		a.data.WriteByte(0)
	}
}

// Guest describes a guest of the lab.
type Guest struct {
	Name string
	// N is 1 to 200 and gives address and MAC.
	N int
	// WorkingSet in bytes, Rate in bytes per second, Burn in percent of a CPU.
	WorkingSet, Rate int64
	Burn             int
	// Disk is the path of its image; empty: none. Under Lab.Shared all hosts see
	// the same file, elsewhere each has its own.
	Disk string
	// Base, with a Disk, is an image below it, which every host is given.
	Base string
	// Autostart defines it with autostart.
	Autostart bool
	// Metadata is the inner XML of the domain's metadata element.
	Metadata string
}

// Address of the guest.
func (g Guest) Address() string { return fmt.Sprintf("%s.%d", guestNet, g.N) }

func (g Guest) mac() string { return fmt.Sprintf("52:54:00:78:01:%02x", g.N) }

// UUID of the domain.
func (g Guest) UUID() string { return fmt.Sprintf("00000000-0000-4000-9000-0000000000%02x", g.N) }

// Memory of a guest in KiB. It is no multiple of 256 KiB on purpose: with
// software emulation, QEMU before 9.0 loses dirty pages of such memory in a live
// migration, and reports success.
const memoryKiB = 131080

// XML is the domain.
func (g Guest) XML(dir string) string {
	disk := ""
	if g.Disk != "" {
		disk = fmt.Sprintf(`<disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='none'/><source file='%s'/><target dev='vda' bus='virtio'/></disk>`, g.Disk)
	}
	return fmt.Sprintf(`<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>%s</name><uuid>%s</uuid>
  <metadata>%s</metadata>
  <memory unit='KiB'>%d</memory><vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type><kernel>%s/vmlinuz</kernel><initrd>%s/initrd</initrd>
    <cmdline>console=ttyS0 quiet panic=-1 guest.ip=%s guest.gw=%s.%d guest.gwmac=%s guest.ws=%d guest.rate=%d guest.burn=%d</cmdline></os>
  <cpu mode='custom' match='exact'><model>qemu64</model></cpu>
  <features><acpi/></features>
  <on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>destroy</on_crash>
  <devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
    <controller type='usb' model='none'/>%s
    <interface type='bridge'><mac address='%s'/><source bridge='guests'/><model type='virtio'/><rom enabled='no'/></interface>
    <serial type='file'><source path='/var/log/libvirt/%s.console' append='on'/><target port='0'/></serial>
    <memballoon model='none'/>
  </devices>
  <qemu:commandline>
    <qemu:arg value='-object'/><qemu:arg value='memory-backend-ram,id=odd.ram,size=%dK'/>
    <qemu:arg value='-machine'/><qemu:arg value='memory-backend=odd.ram'/>
    <qemu:arg value='-m'/><qemu:arg value='%dK'/>
  </qemu:commandline>
</domain>`, g.Name, g.UUID(), g.Metadata, memoryKiB, dir, dir, g.Address(), guestNet, switchHost, gatewayMAC,
		g.WorkingSet, g.Rate, g.Burn, disk, g.mac(), g.Name, memoryKiB, memoryKiB)
}

// Boot defines and starts a guest on a host, and returns when it answers.
func (l *Lab) Boot(ctx context.Context, h *Host, g Guest) error {
	if g.WorkingSet == 0 {
		g.WorkingSet = 32 << 20
	}
	if err := l.makeDisk(ctx, h, g); err != nil {
		return err
	}
	file := h.Path("/" + g.Name + ".xml")
	if err := os.WriteFile(file, []byte(g.XML(l.cfg.Dir)), 0o644); err != nil {
		return err
	}
	commands := [][]string{{"define", file}, {"start", g.Name}}
	if g.Autostart {
		commands = append(commands, []string{"autostart", g.Name})
	}
	for _, c := range commands {
		if err := run(ctx, "virsh", append([]string{"-q", "-c", h.URI()}, c...)...); err != nil {
			return err
		}
	}
	if _, err := l.Ask(ctx, g, "stats"); err != nil {
		console, _ := os.ReadFile(h.Path("/var/log/libvirt/" + g.Name + ".console"))
		return fmt.Errorf("guest %s on %s: %w: %s", g.Name, h.Name, err, tail(console))
	}
	return nil
}

// Shared is a directory that all hosts see under this path.
func (l *Lab) Shared() string { return filepath.Join(l.cfg.Dir, "shared") }

// diskSize of a guest's disk; it uses the first pages.
const diskSize = "16M"

// makeDisk makes a guest's image on the host that boots it, and its base on every
// host.
func (l *Lab) makeDisk(ctx context.Context, h *Host, g Guest) error {
	if g.Disk == "" {
		return nil
	}
	create := func(on *Host, path string, args ...string) error {
		outside := on.Path(path)
		if strings.HasPrefix(path, l.Shared()+"/") {
			outside = path
		}
		if err := os.MkdirAll(filepath.Dir(outside), 0o755); err != nil {
			return err
		}
		// Inside the host, where a base has the path that is written down.
		cmd, err := on.Command(append([]string{"qemu-img", "create", "-q", "-f", "qcow2"}, append(args, path, diskSize)...)...)
		if err != nil {
			return err
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("image %s on %s: %w: %s", path, on.Name, err, out)
		}
		return nil
	}
	if g.Base == "" {
		return create(h, g.Disk)
	}
	for _, on := range l.Hosts {
		if err := create(on, g.Base); err != nil {
			return err
		}
	}
	return create(h, g.Disk, "-b", g.Base, "-F", "qcow2")
}
