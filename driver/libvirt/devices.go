package libvirt

import "libvirt.org/go/libvirtxml"

// Classes of devices that not every QEMU has.
const (
	classGraphics = "graphics type"
	classVideo    = "video model"
	classTPM      = "TPM backend"
	classRNG      = "source of randomness"
	classBus      = "disk bus"
	classChannel  = "channel type"
	classRedirect = "bus of redirected devices"
)

// classesOf are the kinds of devices that a domain has and not every QEMU.
func classesOf(x *libvirtxml.DomainDeviceList) map[string][]string {
	of := map[string][]string{}
	if x == nil {
		return of
	}
	add := func(class string, present bool, value string) {
		if present && value != "" {
			of[class] = append(of[class], value)
		}
	}
	for _, g := range x.Graphics {
		add(classGraphics, g.VNC != nil, "vnc")
		add(classGraphics, g.Spice != nil, "spice")
		add(classGraphics, g.SDL != nil, "sdl")
		add(classGraphics, g.EGLHeadless != nil, "egl-headless")
	}
	for _, v := range x.Videos {
		add(classVideo, true, v.Model.Type)
	}
	for _, t := range x.TPMs {
		if b := t.Backend; b != nil {
			add(classTPM, b.Emulator != nil, "emulator")
			add(classTPM, b.External != nil, "external")
		}
	}
	for _, r := range x.RNGs {
		if b := r.Backend; b != nil {
			add(classRNG, b.Random != nil, "random")
			add(classRNG, b.EGD != nil, "egd")
			add(classRNG, b.BuiltIn != nil, "builtin")
		}
	}
	for _, k := range x.Disks {
		if k.Target != nil {
			add(classBus, true, k.Target.Bus)
		}
	}
	for _, c := range x.Channels {
		if s := c.Source; s != nil {
			add(classChannel, s.SpiceVMC != nil, "spicevmc")
			add(classChannel, s.UNIX != nil, "unix")
			add(classChannel, s.Pty != nil, "pty")
		}
	}
	for _, r := range x.RedirDevs {
		add(classRedirect, true, r.Bus)
	}
	return of
}
