//go:build cgo && libvirt_dlopen

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	libvirt "libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

var _ driver.Surveyor = (*Driver)(nil)

const (
	// classNet is where the kernel shows network devices of the agent's namespace.
	classNet = "/sys/class/net"
	// mountinfo are the file systems of the agent's namespace.
	mountinfo = "/proc/self/mountinfo"

	// surveyEvery is the pace of looking at what an operator may change: networks,
	// pools, mounts. What QEMU can do changes with its packages, so it is asked
	// again after modelEvery; either is asked again when libvirtd was restarted.
	surveyEvery = 30 * time.Second
	modelEvery  = 10 * time.Minute
	// surveyTime bounds one survey. libvirtd runs QEMU to find out what it can do,
	// which takes seconds for each on a busy host.
	surveyTime = 2 * time.Minute
)

// surveyed is what the newest survey has found.
type surveyed struct {
	model  map[string][]string // of the hypervisor
	local  map[string][]string // of networks and storage
	at     time.Time           // of model
	needs  map[fleet.WorkloadID]needs
	cpus   map[cpuKey]cpu // what CPU definitions come to
	mounts []mount
	own    []fleet.Ability // model and local joined
}

// cpuKey is what the meaning of a CPU definition depends on.
type cpuKey struct{ emulator, arch, machine, virt, xml string }

type cpu struct {
	vendor   string
	features []string
}

// Survey returns what this host has and what each domain requires of another one,
// as the newest survey and the newest inventory have found it, without asking.
func (d *Driver) Survey() (has []fleet.Ability, needs map[fleet.WorkloadID][]fleet.Ability) {
	d.mu.Lock()
	defer d.mu.Unlock()
	needs = make(map[fleet.WorkloadID][]fleet.Ability, len(d.survey.needs))
	for id, n := range d.survey.needs {
		needs[id] = n.requires()
	}
	return d.survey.own, needs
}

// has joins what was found; nothing is known before the first survey.
func (s surveyed) has() []fleet.Ability {
	of := maps.Clone(s.model)
	if of == nil {
		of = map[string][]string{}
	}
	maps.Copy(of, s.local)
	return bounded(fleet.Abilities(of))
}

// maxAbilities bounds what a host says of itself, in bytes of class and values.
const maxAbilities = 8 << 10

// bounded leaves away the largest classes of an unusual host: what it does not name
// is not known of it, and decided when it is asked.
func bounded(list []fleet.Ability) []fleet.Ability {
	size := func(a fleet.Ability) (n int) {
		for _, v := range a.Values {
			n += len(v) + 3
		}
		return n + len(a.Class) + 24
	}
	for {
		total, largest := 0, 0
		for i, a := range list {
			total += size(a)
			if size(a) > size(list[largest]) {
				largest = i
			}
		}
		if total <= maxAbilities {
			return list
		}
		list = slices.Delete(list, largest, largest+1)
	}
}

// surveyAgain asks for a survey soon: a domain has come whose CPU was not looked at
// yet, or libvirtd was restarted and may be another one.
func (d *Driver) surveyAgain() { wake(d.again) }

// surveyAll keeps the survey current until ctx ends.
func (d *Driver) surveyAll(ctx context.Context) {
	tick := time.NewTicker(surveyEvery)
	defer tick.Stop()
	told := ""
	for {
		err := d.surveyOnce(ctx, time.Now())
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && err.Error() != told:
			told = err.Error()
			d.log.Warn("what this host can run is not fully known; other hosts ask it before each move", "error", err)
		case err == nil:
			told = ""
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-d.again:
		}
	}
}

// surveyOnce looks at the host, and at CPUs of domains that were not looked at yet.
func (d *Driver) surveyOnce(ctx context.Context, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, surveyTime)
	defer cancel()
	local, localErr := d.lookAround(ctx)
	mounts := mountsHere()
	d.mu.Lock()
	d.survey.local, d.survey.mounts = local, mounts
	d.survey.own = d.survey.has()
	due := now.Sub(d.survey.at) >= modelEvery
	d.mu.Unlock()
	if due {
		var model map[string][]string
		err := d.checks.call(ctx, func(c *libvirt.Connect) (err error) {
			model, err = hypervisorOf(c)
			return err
		})
		if err != nil {
			return errors.Join(localErr, err)
		}
		d.mu.Lock()
		d.survey.model, d.survey.at = model, now
		d.survey.own = d.survey.has()
		d.survey.cpus = nil // they mean what the new libvirtd says
		d.mu.Unlock()
	}
	return errors.Join(localErr, d.readCPUs(ctx))
}

// lookAround sees what can change at any time: networks and storage. What libvirtd
// does not answer in time stays unknown.
func (d *Driver) lookAround(ctx context.Context) (map[string][]string, error) {
	of := map[string][]string{classSegment: d.cfg.Segments.list(), classSockets: {d.cfg.Sockets}}
	bridges, err := filepath.Glob(filepath.Join(classNet, "*", "bridge"))
	if err == nil {
		of[classBridge] = []string{}
		for _, path := range bridges {
			of[classBridge] = append(of[classBridge], filepath.Base(filepath.Dir(path)))
		}
	}
	if mounts := mountsHere(); mounts != nil {
		if tops, known := sharedTops(mounts); known {
			of[classShared] = tops
		}
	}
	if pools, err := Pools(d.nodes); err == nil && len(pools) > 0 {
		of[classCell], of[classPages] = []string{}, []string{}
		for _, p := range pools {
			if p.Size == 0 && p.Total > 0 {
				of[classCell] = append(of[classCell], strconv.Itoa(p.Cell))
			}
			if p.Size > 0 && p.Total > 0 {
				of[classPages] = append(of[classPages], sizeText(p.Size))
			}
		}
	}
	active := map[string][]string{}
	err = d.checks.call(ctx, func(c *libvirt.Connect) error { return activeOf(c, active) })
	if err != nil { // the call may still be writing what it is told
		return of, fmt.Errorf("networks and storage pools: %w", err)
	}
	maps.Copy(of, active)
	return of, nil
}

// activeOf adds the networks and storage pools that are in use.
func activeOf(c *libvirt.Connect, of map[string][]string) error {
	networks, err := c.ListAllNetworks(libvirt.CONNECT_LIST_NETWORKS_ACTIVE)
	if err == nil {
		of[classNetwork] = []string{}
	}
	for i := range networks {
		if name, err := networks[i].GetName(); err == nil {
			of[classNetwork] = append(of[classNetwork], name)
		}
		_ = networks[i].Free() // it only frees memory
	}
	pools, poolErr := c.ListAllStoragePools(libvirt.CONNECT_LIST_STORAGE_POOLS_ACTIVE)
	if poolErr == nil {
		of[classPool] = []string{}
	}
	for i := range pools {
		if name, err := pools[i].GetName(); err == nil {
			of[classPool] = append(of[classPool], name)
		}
		_ = pools[i].Free() // it only frees memory
	}
	return errors.Join(unlessUnsupported(err), unlessUnsupported(poolErr))
}

// mountsHere are the file systems of this host; none where they cannot be read.
func mountsHere() []mount {
	text, err := os.ReadFile(mountinfo)
	if err != nil {
		return nil
	}
	return readMounts(string(text))
}

// unlessUnsupported: a libvirt without that driver, or without that question, has
// nothing to say, which is no fault.
func unlessUnsupported(err error) error {
	if isCode(err, libvirt.ERR_NO_SUPPORT, libvirt.ERR_ARGUMENT_UNSUPPORTED, libvirt.ERR_CONFIG_UNSUPPORTED, libvirt.ERR_INVALID_ARG) {
		return nil
	}
	return err
}

// asked are the questions to a connection about its hypervisor.
type asked interface {
	GetCapabilities() (string, error)
	GetDomainCapabilities(emulator, arch, machine, virt string, flags libvirt.ConnectGetDomainCapabilitiesFlags) (string, error)
	BaselineHypervisorCPU(emulator, arch, machine, virt string, cpus []string, flags libvirt.ConnectBaselineCPUFlags) (string, error)
	GetLibVersion() (uint32, error)
	GetVersion() (uint32, error)
}

var _ asked = (*libvirt.Connect)(nil)

// native are the architectures of a host's own guests, without emulation of others.
var native = []string{"x86_64", "i686", "aarch64", "ppc64le", "s390x", "riscv64"}

// hypervisorOf asks what the host's QEMUs can do for guests of its own architecture.
func hypervisorOf(c asked) (map[string][]string, error) {
	text, err := c.GetCapabilities()
	if err != nil {
		return nil, fmt.Errorf("capabilities of the host: %w", err)
	}
	var caps libvirtxml.Caps
	if err := caps.Unmarshal(text); err != nil {
		return nil, fmt.Errorf("capabilities of the host: %w", err)
	}
	of := machinesOf(caps)
	of[classVersion] = versions(c)
	for _, g := range caps.Guests {
		if g.OSType != "hvm" || !ownArch(caps, g.Arch.Name) || g.Arch.Name == "i686" {
			continue
		}
		for _, k := range g.Arch.Domains {
			if err := offers(c, g.Arch, k.Type, of); err != nil {
				return nil, err
			}
		}
	}
	return of, nil
}

func ownArch(caps libvirtxml.Caps, arch string) bool {
	host := ""
	if caps.Host.CPU != nil {
		host = caps.Host.CPU.Arch
	}
	return slices.Contains(native, arch) && (arch == host || arch == "i686" && host == "x86_64")
}

// machinesOf lists emulators, machine types and ways of virtualization.
func machinesOf(caps libvirtxml.Caps) map[string][]string {
	of := map[string][]string{}
	for _, g := range caps.Guests {
		a := g.Arch
		if g.OSType != "hvm" || !ownArch(caps, a.Name) {
			continue
		}
		of[classEmulator] = append(of[classEmulator], a.Emulator)
		machines := a.Machines
		for _, k := range a.Domains {
			of[classVirt(a.Name)] = append(of[classVirt(a.Name)], k.Type)
			machines = append(machines, k.Machines...)
			if k.Emulator != "" {
				of[classEmulator] = append(of[classEmulator], k.Emulator)
			}
		}
		for _, m := range machines {
			if m.Canonical == "" { // a running domain's machine is never called by its alias
				of[classMachine(a.Name)] = append(of[classMachine(a.Name)], m.Name)
			}
		}
	}
	return of
}

// offers adds what one QEMU offers with one way of virtualization.
func offers(c asked, arch libvirtxml.CapsGuestArch, virt string, of map[string][]string) error {
	text, err := c.GetDomainCapabilities(arch.Emulator, arch.Name, "", virt, 0)
	if err != nil {
		return unlessUnsupported(err)
	}
	var caps libvirtxml.DomainCaps
	if err := caps.Unmarshal(text); err != nil {
		return fmt.Errorf("capabilities of %s: %w", arch.Emulator, err)
	}
	maps.Copy(of, offeredBy(caps.Devices))
	model, ok := hostModel(caps)
	if !ok {
		return nil
	}
	key := cpuKey{emulator: arch.Emulator, arch: arch.Name, machine: caps.Machine, virt: virt, xml: model}
	have, err := key.expand(c)
	if err != nil || len(have.features) == 0 {
		return unlessUnsupported(err)
	}
	of[classFeature(arch.Name, virt)] = have.features
	of[classVendor(arch.Name, virt)] = []string{have.vendor}
	return nil
}

// hostModel is the CPU that libvirt would give a guest to make it most like the
// host's, and as QEMU can.
func hostModel(caps libvirtxml.DomainCaps) (string, bool) {
	if caps.CPU == nil {
		return "", false
	}
	for _, m := range caps.CPU.Modes {
		if m.Name != "host-model" || m.Supported != "yes" || len(m.Models) == 0 {
			continue
		}
		out := libvirtxml.DomainCPU{Mode: "custom", Match: "exact", Vendor: m.Vendor, Model: &libvirtxml.DomainCPUModel{Value: m.Models[0].Name, Fallback: "forbid"}}
		for _, f := range m.Features {
			out.Features = append(out.Features, libvirtxml.DomainCPUFeature(f))
		}
		text, err := out.Marshal()
		return text, err == nil
	}
	return "", false
}

// expand asks libvirtd which features a CPU definition comes to.
func (k cpuKey) expand(c asked) (cpu, error) {
	text, err := c.BaselineHypervisorCPU(k.emulator, k.arch, k.machine, k.virt, []string{k.xml}, libvirt.CONNECT_BASELINE_CPU_EXPAND_FEATURES)
	if err != nil {
		return cpu{}, fmt.Errorf("features of a CPU: %w", err)
	}
	var x libvirtxml.DomainCPU
	if err := x.Unmarshal(text); err != nil {
		return cpu{}, fmt.Errorf("features of a CPU: %w", err)
	}
	out := cpu{vendor: x.Vendor}
	for _, f := range x.Features {
		if f.Policy == "require" || f.Policy == "force" {
			out.features = append(out.features, f.Name)
		}
	}
	return out, nil
}

func versions(c asked) []string {
	var out []string
	for name, ask := range map[string]func() (uint32, error){"libvirt": c.GetLibVersion, "QEMU": c.GetVersion} {
		if v, err := ask(); err == nil {
			out = append(out, fmt.Sprintf("%s %d.%d.%d", name, v/1000000, v/1000%1000, v%1000))
		}
	}
	return out
}
