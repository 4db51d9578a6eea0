//go:build cgo && libvirt_dlopen

package libvirt

import (
	"context"
	"time"
)

// overheadEvery is the pace of measuring what QEMUs use beside their guests' memory.
const overheadEvery = time.Minute

// measureOverheads measures every domain that runs here until ctx ends.
func (d *Driver) measureOverheads(ctx context.Context) {
	tick := time.NewTicker(overheadEvery)
	defer tick.Stop()
	told := ""
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if err := d.measureOnce(ctx, now, "/proc"); err != nil && err.Error() != told {
				told = err.Error()
				d.log.Warn("what QEMU uses beside a guest's memory is not measured; what is booked for it stands", "error", err)
			}
		}
	}
}

// measureOnce reads each domain once. One whose process is just starting or ending is
// left out.
func (d *Driver) measureOnce(ctx context.Context, now time.Time, proc string) error {
	d.mu.Lock()
	var list []definition
	for id := range d.survey.needs {
		if def, ok := d.seen[id]; ok && def.Journey.To != d.cfg.Host || ok && def.Journey.Active {
			list = append(list, def)
		}
	}
	d.mu.Unlock()
	there := map[string]bool{}
	changed := false
	var first error
	for _, def := range list {
		if ctx.Err() != nil {
			return nil
		}
		there[def.UUID] = true
		p, err := findProcess(d.cfg.PIDs, def.Name, def.UUID)
		if err != nil {
			continue
		}
		used, err := usedBeside(proc, p.PID, def.Plugged)
		if err != nil || !p.alive() {
			if p.alive() && first == nil {
				first = err
			}
			continue
		}
		d.mu.Lock()
		d.overheads.begin(def.UUID, d.cfg.Overhead)
		o := d.overheads[def.UUID]
		was := o.Booked
		news := o.take(now, used)
		is := o.Booked
		d.mu.Unlock()
		if news {
			changed = true
			d.log.Info("QEMU's own memory is booked anew", "workload", string(def.id()), "used", used>>20, "was", was>>20, "is", is>>20, "unit", "MiB")
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, at := range d.doors {
		there[at.uuid] = true // it is about to come
	}
	if d.overheads.keep(there) || changed || now.Sub(d.kept) > time.Hour {
		d.kept = now
		if err := d.overheads.write(d.cfg.Dir); err != nil {
			return err
		}
	}
	return first
}
