package libvirt

import (
	"encoding/xml"
	"fmt"
	"slices"
	"strings"

	"libvirt.org/go/libvirtxml"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

// definition is what a domain's XML says, in our own terms.
type definition struct {
	Name, UUID string
	// Memory is the largest it may become by ballooning or hot-plug, bytes.
	Memory int64
	// Plugged is what it has now, of which a balloon may hold some.
	Plugged int64
	// VCPUs is the most it may have; Shares its CPU weight, 0 = default.
	VCPUs  int
	Shares int64
	// Pages are where its memory comes from.
	Pages     []pageNeed
	ManagedBy string
	Wishes    wishes
	Journey   journey
	Disks     []disk
	Boot      []string // files that it is started with: firmware, kernel
	Devices   map[string][]string
	Networks  []network
	Cards     []card // of a domain that runs
	Agent     bool   // it has a channel for an agent in the guest
	Machine   string
	Arch      string
	Emulator  string
	Virt      string // "kvm", "qemu"
	CPU       string // the cpu element, as XML
	CPUMode   string
	Blockers  []driver.Blocker
}

// disk of a domain.
type disk struct {
	Target, Source string
	// Kind is file, block, network (with its protocol) or none (an empty drive).
	Kind               string
	ReadOnly, Shared   bool
	Cache, Format, Bus string
	// Backing is the file below an overlay, "" without one.
	Backing, BackingFormat string
}

// travels says whether a disk's content is copied where the storage is not shared.
func (k disk) travels() bool { return k.Kind == "file" && !k.ReadOnly && !k.Shared }

// readDefinition parses a domain's XML.
func readDefinition(text string) (definition, error) {
	var x libvirtxml.Domain
	if err := x.Unmarshal(text); err != nil {
		return definition{}, fmt.Errorf("domain XML: %w", err)
	}
	d := definition{Name: x.Name, UUID: x.UUID, Virt: x.Type, ManagedBy: managerOf(x)}
	switch {
	case x.MaximumMemory != nil: // hot-plug: the slots count
		d.Memory = scale(uint64(x.MaximumMemory.Value), x.MaximumMemory.Unit)
	case x.Memory != nil:
		d.Memory = scale(uint64(x.Memory.Value), x.Memory.Unit)
	}
	d.Plugged = d.Memory
	if x.Memory != nil {
		d.Plugged = scale(uint64(x.Memory.Value), x.Memory.Unit)
	}
	d.VCPUs = 1
	if x.VCPU != nil {
		d.VCPUs = int(x.VCPU.Value)
	}
	if x.CPUTune != nil && x.CPUTune.Shares != nil {
		d.Shares = int64(x.CPUTune.Shares.Value)
	}
	if x.OS != nil && x.OS.Type != nil {
		d.Machine, d.Arch = x.OS.Type.Machine, x.OS.Type.Arch
	}
	if x.CPU != nil {
		d.CPUMode = x.CPU.Mode
		if text, err := x.CPU.Marshal(); err == nil {
			d.CPU = text
		}
	}
	d.backing(x)
	d.boot(x.OS)
	d.devices(x.Devices)
	if x.Metadata != nil {
		if err := d.metadata(x.Metadata.XML); err != nil {
			return d, fmt.Errorf("domain %s: %w", x.Name, err)
		}
	}
	return d, nil
}

func scale(value uint64, unit string) int64 {
	factor := map[string]uint64{"b": 1, "bytes": 1, "": 1 << 10, "k": 1 << 10, "KiB": 1 << 10, "M": 1 << 20, "MiB": 1 << 20,
		"G": 1 << 30, "GiB": 1 << 30, "T": 1 << 40, "TiB": 1 << 40, "KB": 1000, "MB": 1e6, "GB": 1e9, "TB": 1e12}[unit]
	return int64(value * factor)
}

func (d *definition) blocked(reason, remedy string) {
	d.Blockers = append(d.Blockers, driver.Blocker{Reason: reason, Remedy: remedy})
}

func (d *definition) backing(x libvirtxml.Domain) {
	d.Pages = pageNeeds(x, d.Memory)
	b := x.MemoryBacking
	if b == nil {
		return
	}
	if b.MemoryAccess != nil && b.MemoryAccess.Mode == "shared" {
		d.blocked("its memory is shared with another process (vhost-user or virtiofs)", "detach the device that needs it, or stop the domain to move it")
	}
}

// boot notes the files that QEMU opens before the guest's first instruction, also
// where the guest arrives with its memory.
func (d *definition) boot(os *libvirtxml.DomainOS) {
	if os == nil {
		return
	}
	if os.Loader != nil && os.Loader.Path != "" {
		d.Boot = append(d.Boot, os.Loader.Path)
	}
	for _, path := range []string{os.Kernel, os.Initrd} {
		if path != "" {
			d.Boot = append(d.Boot, path)
		}
	}
}

func (d *definition) devices(x *libvirtxml.DomainDeviceList) {
	if x == nil {
		return
	}
	d.Emulator, d.Devices = x.Emulator, classesOf(x)
	for _, h := range x.Hostdevs {
		what := "a device of the host"
		switch {
		case h.SubsysPCI != nil:
			what = "a PCI device of the host"
		case h.SubsysMDev != nil:
			what = "a mediated device (vGPU) of the host"
		case h.SubsysUSB != nil:
			what = "a USB device of the host"
		}
		d.blocked("it uses "+what, "detach the device first")
	}
	for _, fs := range x.Filesystems {
		target := ""
		if fs.Target != nil {
			target = fs.Target.Dir
		}
		d.blocked("it mounts a directory of the host ("+target+")", "unmount and detach the file system first")
	}
	for _, k := range x.Disks {
		d.Disks = append(d.Disks, readDisk(k))
	}
	for _, n := range x.Interfaces {
		d.network(n)
		d.plug(n)
		if n.Source != nil && n.Source.Hostdev != nil {
			d.blocked("a network card is a device of the host", "use a virtual card, or a failover pair")
		}
	}
	for _, c := range x.Channels {
		d.Agent = d.Agent || c.Target != nil && c.Target.VirtIO != nil && c.Target.VirtIO.Name == agentChannel
	}
	for _, s := range x.Shmems {
		d.blocked("it shares memory with other processes ("+s.Name+")", "detach the device first")
	}
}

func readDisk(k libvirtxml.DomainDisk) disk {
	out := disk{ReadOnly: k.ReadOnly != nil, Shared: k.Shareable != nil, Kind: "none"}
	if k.Target != nil {
		out.Target, out.Bus = k.Target.Dev, k.Target.Bus
	}
	if k.Driver != nil {
		out.Cache, out.Format = k.Driver.Cache, k.Driver.Type
	}
	if b := k.BackingStore; b != nil && b.Source != nil && b.Source.File != nil {
		out.Backing = b.Source.File.File
		if b.Format != nil {
			out.BackingFormat = b.Format.Type
		}
	}
	switch s := k.Source; {
	case s == nil:
	case s.File != nil && s.File.File != "":
		out.Kind, out.Source = "file", s.File.File
	case s.Block != nil:
		out.Kind, out.Source = "block", s.Block.Dev
	case s.Network != nil:
		out.Kind, out.Source = s.Network.Protocol, s.Network.Name
	case s.Volume != nil:
		out.Kind, out.Source = "volume", s.Volume.Pool+"/"+s.Volume.Volume
	}
	return out
}

// plug notes where a running domain's card is plugged in.
func (d *definition) plug(n libvirtxml.DomainInterface) {
	if n.MAC == nil || n.Target == nil || n.Target.Dev == "" || n.Source == nil {
		return
	}
	bridge := ""
	switch s := n.Source; {
	case s.Bridge != nil:
		bridge = s.Bridge.Bridge
	case s.Network != nil:
		bridge = s.Network.Bridge
	}
	if bridge != "" {
		d.Cards = append(d.Cards, card{MAC: n.MAC.Address, Tap: n.Target.Dev, Bridge: bridge})
	}
}

// network notes what a card is connected to, as hosts must both have it. A user's
// own stack goes along with QEMU.
func (d *definition) network(n libvirtxml.DomainInterface) {
	switch s := n.Source; {
	case s == nil || s.User != nil:
	case s.Bridge != nil:
		d.Networks = append(d.Networks, network{Kind: "bridge", Name: s.Bridge.Bridge})
	case s.Network != nil:
		d.Networks = append(d.Networks, network{Kind: "network", Name: s.Network.Network})
	case s.Direct != nil:
		d.Networks = append(d.Networks, network{Kind: "direct", Name: s.Direct.Dev})
	case s.Hostdev == nil: // which is a blocker of its own
		d.blocked("it cannot be told which network a network card is in", "connect it to a bridge or a libvirt network")
	}
}

func (d *definition) metadata(text string) error {
	dec := xml.NewDecoder(strings.NewReader("<m>" + text + "</m>"))
	for {
		t, err := dec.Token()
		if t == nil || err != nil {
			return nil // the end; libvirt has checked the form
		}
		start, ok := t.(xml.StartElement)
		if !ok {
			continue
		}
		switch start.Name.Space {
		case wishesURI:
			var w wishes
			if err := dec.DecodeElement(&w, &start); err != nil {
				return fmt.Errorf("metadata %s: %w", wishesURI, err)
			}
			if d.Wishes, err = w.checked(); err != nil {
				return err
			}
		case moveURI:
			var x journeyXML
			if err := dec.DecodeElement(&x, &start); err != nil {
				return fmt.Errorf("metadata %s: %w", moveURI, err)
			}
			if d.Journey, err = x.journey(); err != nil {
				return err
			}
		}
	}
}

// id is the workload's: what the operator gave it, else the domain's name, else,
// where the name is not one of ours, its UUID.
func (d definition) id() fleet.WorkloadID {
	for _, name := range []string{d.Wishes.ID, d.Name} {
		if id := fleet.WorkloadID(name); name != "" && id.Validate() == nil {
			return id
		}
	}
	return fleet.WorkloadID(d.UUID)
}

// spec is the workload as the books take it. Memory is the largest the domain may
// become plus QEMU's own; CPU one core per virtual CPU, which is what it may use, or
// what its operator reserves for it: a host whose guests have more virtual CPUs
// than it has cores can only be told so.
func (d definition) spec(overhead int64) driver.Spec {
	s := driver.Spec{ID: d.id(), Driver: Name, Size: d.Memory, Priority: d.Wishes.Priority,
		Tolerant: int64(d.Wishes.Tolerance*1000 + 0.5),
		Reserve:  fleet.Vector{CPU: int64(d.VCPUs) * 1000, Memory: d.Memory + overhead},
		Settings: map[string]string{"uuid": d.UUID, "domain": d.Name}}
	if d.ManagedBy != "" {
		s.Settings["managed_by"] = d.ManagedBy
	}
	if d.Wishes.Move == "no" {
		s.Settings["pinned"] = "yes"
	}
	if len(d.Wishes.Groups) > 0 {
		s.Settings["group"] = d.Wishes.Groups[0]
	}
	if d.Wishes.CPU > 0 {
		s.Reserve.CPU = int64(d.Wishes.CPU*1000 + 0.5)
	}
	for _, n := range d.Pages {
		if n.Size == 0 {
			continue
		}
		// It comes out of the pool, not out of the host's other memory.
		s.Reserve.Memory -= min(n.Count*n.Size, s.Reserve.Memory-overhead)
		for _, name := range n.resources() {
			s.Reserve = s.Reserve.With(name, s.Reserve.Get(name)+n.Count*1000)
		}
	}
	return s
}

// movable lists what the definition alone says against a move.
func (d definition) movable(p MovePolicy) []driver.Blocker {
	p = d.Wishes.policy(p)
	out := slices.Clone(d.Blockers)
	if d.ManagedBy != "" {
		out = append(out, driver.Blocker{Reason: "it is managed by " + d.ManagedBy, Remedy: "move it there"})
	}
	if d.Wishes.Move == "no" {
		out = append(out, driver.Blocker{Reason: "its metadata says move=\"no\""})
	}
	for _, k := range d.Disks {
		if k.travels() && p.Storage == "shared" && !p.Unsafe && k.Cache != "none" && k.Cache != "directsync" {
			out = append(out, driver.Blocker{Reason: fmt.Sprintf("disk %s (%s) has cache mode %q: a shared file is only safe without the host's cache", k.Target, k.Source, k.Cache),
				Remedy: "set cache='none', or the driver's option storage = \"copy\""})
		}
		if k.travels() && p.Storage == "copy-inc" && k.Backing == "" {
			out = append(out, driver.Blocker{Reason: fmt.Sprintf("disk %s (%s) is no overlay, and only overlays travel with storage = \"copy-inc\"", k.Target, k.Source),
				Remedy: "use storage = \"copy\""})
		}
	}
	return out
}
