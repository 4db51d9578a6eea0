//go:build cgo && libvirt_dlopen

package libvirt

import (
	"strconv"

	"github.com/placed-dev/placed/fleet"
)

// Classes of what a host has and a domain requires. A host that names a class has
// what it lists and no more; what it does not name is left to its own check when a
// move is offered.
const (
	classSegment  = "network segment"
	classBridge   = "bridge"
	classNetwork  = "libvirt network"
	classPool     = "storage pool"
	classShared   = "shared storage below"
	classEmulator = "emulator"
	classSockets  = "directory of move sockets"
	classCell     = "NUMA cell"
	classPages    = "huge pages of"
	classVersion  = "hypervisor" // required by nobody, shown to operators
)

func classMachine(arch string) string       { return "machine type of " + arch }
func classVirt(arch string) string          { return "virtualization of " + arch }
func classFeature(arch, virt string) string { return "cpu feature (" + arch + ", " + virt + ")" }
func classVendor(arch, virt string) string  { return "cpu vendor (" + arch + ", " + virt + ")" }

// requires says what a host must have, in the classes of a survey. The leader holds
// it against what every host reports; the destination, when it is asked, against
// what it sees.
func (n needs) requires() []fleet.Ability {
	of := map[string][]string{}
	add := func(class string, values ...string) {
		for _, v := range values {
			if v != "" {
				of[class] = append(of[class], v)
			}
		}
	}
	if n.Arch != "" {
		add(classMachine(n.Arch), n.Machine)
		add(classVirt(n.Arch), n.Virt)
		add(classFeature(n.Arch, n.Virt), n.Features...)
		add(classVendor(n.Arch, n.Virt), n.Vendor)
	}
	add(classEmulator, n.Emulator)
	add(classBridge, n.Bridges...)
	for _, to := range n.Networks {
		if to.Segment == "" {
			continue // a source of an older version, or one that Inspect keeps from moving
		}
		add(classSegment, to.key()+"="+to.Segment)
		if to.Kind == "network" {
			add(classNetwork, to.Name)
		}
	}
	add(classPool, n.Pools...)
	add(classShared, n.Shared...)
	add(classSockets, n.Sockets)
	for _, p := range n.Pages {
		if p.Size > 0 {
			add(classPages, sizeText(p.Size))
		}
		if len(p.Cells) == 1 {
			add(classCell, strconv.Itoa(p.Cells[0]))
		}
	}
	for class, values := range n.Devices {
		add(class, values...)
	}
	for _, class := range n.Unjudged {
		delete(of, class)
	}
	return fleet.Abilities(of)
}

// unjudged are the classes in which the domain's own host does not seem to have what it
// requires, although it runs there: an emulator by another name, a feature that libvirt
// does not count among the host's. What the class says of other hosts then means nothing.
func (n needs) unjudged(own []fleet.Ability) (out []string) {
	for _, a := range n.requires() {
		if len(fleet.Lacking(own, []fleet.Ability{a})) > 0 {
			out = append(out, a.Class)
		}
	}
	return out
}
