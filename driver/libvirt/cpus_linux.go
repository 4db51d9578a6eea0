//go:build cgo && libvirt_dlopen

package libvirt

import (
	"context"
	"errors"

	libvirt "libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/placed-dev/placed/fleet"
)

// cpuOf is the question of what a domain's CPU comes to. A CPU that is the host's own
// is what the host's is; false: there is nothing to ask.
func (n needs) cpuOf() (cpuKey, bool) {
	var x libvirtxml.DomainCPU
	if n.CPU == "" || x.Unmarshal(n.CPU) != nil || x.Model == nil || x.Model.Value == "" {
		return cpuKey{}, false
	}
	plain := libvirtxml.DomainCPU{Mode: "custom", Match: "exact", Vendor: x.Vendor, Model: &libvirtxml.DomainCPUModel{Value: x.Model.Value, Fallback: "forbid"}, Features: x.Features}
	text, err := plain.Marshal()
	return cpuKey{emulator: n.Emulator, arch: n.Arch, machine: n.Machine, virt: n.Virt, xml: text}, err == nil
}

// ownCPU: the guest sees the host's own CPU, and may use all of it.
func (n needs) ownCPU() bool {
	var x libvirtxml.DomainCPU
	return n.CPU != "" && x.Unmarshal(n.CPU) == nil && (x.Mode == "host-passthrough" || x.Mode == "maximum")
}

// readCPUs asks for the CPUs of domains that the newest inventory has shown and no
// survey has explained yet, each form once.
func (d *Driver) readCPUs(ctx context.Context) error {
	d.mu.Lock()
	ask := map[cpuKey]bool{}
	for _, n := range d.survey.needs {
		if key, ok := n.cpuOf(); ok {
			if _, known := d.survey.cpus[key]; !known {
				ask[key] = true
			}
		}
	}
	d.mu.Unlock()
	if len(ask) == 0 {
		return nil
	}
	found := map[cpuKey]cpu{}
	err := d.checks.call(ctx, func(c *libvirt.Connect) error {
		var errs []error
		for key := range ask {
			x, err := key.expand(c)
			if unlessUnsupported(err) != nil {
				errs = append(errs, err)
				continue
			}
			found[key] = x // empty where libvirtd cannot tell
		}
		return errors.Join(errs...)
	})
	if ctx.Err() != nil {
		return err // the call may still be writing
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	next := map[cpuKey]cpu{}
	for id, n := range d.survey.needs {
		key, ok := n.cpuOf()
		if !ok {
			continue
		}
		x, ok := found[key]
		if !ok {
			x, ok = d.survey.cpus[key]
		}
		if ok {
			next[key] = x
			d.survey.needs[id] = n.with(x).judgedBy(d.survey.own)
		}
	}
	d.survey.cpus = next
	return err
}

func (n needs) with(x cpu) needs {
	n.Vendor, n.Features = x.vendor, x.features
	return n
}

// explained completes what a domain needs by what is known of its CPU; d.mu is held.
func (d *Driver) explained(n needs) needs {
	if n.ownCPU() {
		own := cpu{features: d.survey.model[classFeature(n.Arch, n.Virt)]}
		if v := d.survey.model[classVendor(n.Arch, n.Virt)]; len(v) > 0 {
			own.vendor = v[0]
		}
		return n.with(own).judgedBy(d.survey.own)
	}
	if key, ok := n.cpuOf(); ok {
		n = n.with(d.survey.cpus[key])
	}
	return n.judgedBy(d.survey.own)
}

func (n needs) judgedBy(own []fleet.Ability) needs {
	n.Unjudged = nil
	n.Unjudged = n.unjudged(own)
	return n
}

// keepNeeds replaces what is known of the domains that run here.
func (d *Driver) keepNeeds(all map[fleet.WorkloadID]needs) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.survey.needs = all
	for _, n := range all {
		if key, ok := n.cpuOf(); ok {
			if _, known := d.survey.cpus[key]; !known && len(d.survey.model) > 0 {
				d.surveyAgain()
			}
		}
	}
}
