package daemon

import (
	"slices"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/driver/libvirt"
	"github.com/placed-dev/placed/fleet"
)

// openLibvirt builds the driver of this host's libvirtd. A build without it says
// so here, when the configuration asks for it, and nowhere else.
func (d *Daemon) openLibvirt(c DriverConfig) (driver.Driver, error) {
	dir := c.Dir
	if dir == "" {
		dir = d.path("libvirt")
	}
	cfg := libvirt.Config{Host: d.self, Dir: dir, Logger: d.cfg.Logger.Named("libvirt")}
	if err := cfg.Options(c.Options); err != nil {
		return nil, err
	}
	built, err := libvirt.New(cfg)
	if err != nil {
		return nil, err
	}
	d.atClose(func() {
		if err := built.Close(); err != nil {
			d.log.Error("letting go of libvirtd", "error", err)
		}
	})
	return built, nil
}

// withPages adds this host's pools of huge pages to its capacity, where it runs domains
// that may use them. Cells that cannot be read have none: nothing is promised then.
func (d *Daemon) withPages(capacity fleet.Vector) fleet.Vector {
	if !slices.ContainsFunc(d.cfg.Drivers, func(c DriverConfig) bool { return c.Name == libvirt.Name }) {
		return capacity
	}
	pools, err := libvirt.Pools(libvirt.NodeDir)
	if err != nil {
		d.log.Debug("this host's huge pages are not known and count as none", "error", err)
		return capacity
	}
	return libvirt.WithPages(capacity, pools, d.cfg.Measured.Memory)
}
