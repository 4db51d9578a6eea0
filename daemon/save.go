package daemon

import (
	"context"
	"errors"
	"fmt"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/traffic"
)

// SaveAll writes the state of every running workload of this host to disk, ends
// the workloads, and ends the proxy. The agent must be stopped: SaveAll holds
// its lock meanwhile, so that neither works against the other. A frozen or
// incoming workload belongs to a migration whose end is not known here: it is
// left as it is, and reported.
func SaveAll(ctx context.Context, cfg Config) (saved int, err error) {
	lock, err := lockDataDir(cfg.DataDir)
	if err != nil {
		return 0, err
	}
	defer lock.Close()
	d := &Daemon{cfg: cfg, clock: cfg.Clock, log: cfg.Logger}
	if err := d.openDrivers(); err != nil {
		return 0, err
	}
	var errs []error
	for _, f := range d.inventory.observe(ctx) {
		switch f.State {
		case driver.Running:
			if err := d.drivers[f.Spec.Driver].Save(ctx, f.Spec.ID); err != nil {
				errs = append(errs, err)
				continue
			}
			saved++
		case driver.Frozen, driver.Incoming:
			errs = append(errs, fmt.Errorf("workload %s is %s, part of an unfinished migration: start the agents, let them finish it, then save", f.Spec.ID, f.State))
		}
	}
	if err := stopProxy(ctx, cfg, d.path("proxy")); err != nil {
		errs = append(errs, err)
	}
	return saved, errors.Join(errs...)
}

func stopProxy(ctx context.Context, cfg Config, dir string) error {
	if cfg.TrafficIP == "" {
		return nil
	}
	control, err := traffic.Connect(ctx, dir)
	if errors.Is(err, traffic.ErrNoProxy) {
		return nil
	}
	if err != nil {
		return err
	}
	return control.Stop(ctx)
}
