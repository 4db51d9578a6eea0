package daemon

import (
	"maps"
	"slices"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

// meters lists the drivers that know more of their workloads than the processes
// show, by name.
func (i *inventory) meters() (out []driver.Meter) {
	for _, name := range slices.Sorted(maps.Keys(i.drivers)) {
		if m, ok := i.drivers[name].(driver.Meter); ok {
			out = append(out, m)
		}
	}
	return out
}

// meterParts are the loops that read them.
func (d *Daemon) meterParts() (out []part) {
	for _, m := range d.inventory.meters() {
		out = append(out, part{name: m.Name() + " counters", run: m.Run})
	}
	return out
}

// measure completes samples of processes by what the hypervisors know.
func (i *inventory) measure(samples map[fleet.WorkloadID]fleet.Sample) {
	for _, m := range i.meters() {
		for id, v := range m.Measured() {
			s, ok := samples[id]
			if !ok {
				continue
			}
			if v.Net != fleet.Unknown {
				s.Usage.Net = v.Net
			}
			if v.Disk != fleet.Unknown {
				s.Usage.Disk = v.Disk
			}
			samples[id] = s
		}
	}
}
