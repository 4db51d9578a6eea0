package daemon

import (
	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/driver/libvirt"
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
