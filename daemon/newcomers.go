package daemon

import (
	"context"
	"errors"
	"time"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
)

// newcomersEvery is how soon a workload that an operator has started by other
// means (virsh, a cloud manager) gets into the books.
const newcomersEvery = 5 * time.Second

// bookNewcomers books what runs here and the books do not know, until ctx ends.
// One at a time: what the books refuse must not keep the others out.
func (d *Daemon) bookNewcomers(ctx context.Context) error {
	refused := map[fleet.WorkloadID]string{}
	tick := time.NewTicker(newcomersEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for _, f := range d.inventory.last() {
			_, handed := d.drivers[f.Spec.Driver].(driver.Handover)
			known := false
			d.books.Read(func(s *fsm.State) { _, known = s.Workload(f.Spec.ID) })
			if !handed || known || f.State != driver.Running {
				continue
			}
			err := d.propose(ctx, fsm.RegisterWorkloads{Host: d.self, Workloads: []fleet.Workload{workloadOf(f.Spec, d.self)}})
			var refusal *fsm.Refusal
			switch {
			case err == nil:
				d.log.Info("a workload that was started here is in the books now", "workload", f.Spec.ID)
			case errors.As(err, &refusal) && refused[f.Spec.ID] != refusal.Message:
				refused[f.Spec.ID] = refusal.Message
				d.log.Warn("the books do not take a workload that was started here", "workload", f.Spec.ID, "reason", refusal.Message)
			}
		}
	}
}
