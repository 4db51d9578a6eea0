//go:build cgo && libvirt_dlopen

package libvirt

import "libvirt.org/go/libvirtxml"

// offeredBy are the same classes as a QEMU offers them; what its libvirt does not
// speak of stays unknown.
func offeredBy(x *libvirtxml.DomainCapsDevices) map[string][]string {
	of := map[string][]string{}
	if x == nil {
		return of
	}
	for _, k := range []struct {
		class, enum string
		device      *libvirtxml.DomainCapsDevice
	}{
		{classGraphics, "type", x.Graphics}, {classVideo, "modelType", x.Video}, {classTPM, "backendModel", x.TPM},
		{classRNG, "backendModel", x.RNG}, {classBus, "bus", x.Disk}, {classChannel, "type", x.Channel}, {classRedirect, "bus", x.Redirdev},
	} {
		if k.device == nil {
			continue
		}
		if k.device.Supported == "no" {
			of[k.class] = []string{}
		}
		for _, e := range k.device.Enums {
			if e.Name == k.enum && k.device.Supported == "yes" {
				of[k.class] = append([]string{}, e.Values...)
			}
		}
	}
	return of
}
