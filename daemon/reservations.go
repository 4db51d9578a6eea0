package daemon

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
)

// reservations follow what hypervisors find out about their workloads while they run:
// how much memory a QEMU uses beside its guest's, what an operator has changed in a
// domain. The books hear of it as an observation, so that a rise counts also where it
// leaves the host overbooked. What a driver says is never below what is in use.
type reservations struct {
	told map[fleet.WorkloadID]fleet.Vector // what the driver said when the books last heard it
	seen looks
}

// followReservations keeps the books' reservations of what runs here, until ctx ends.
func (d *Daemon) followReservations(ctx context.Context) error {
	r := reservations{told: map[fleet.WorkloadID]fleet.Vector{}, seen: looks{}}
	tick := time.NewTicker(d.look)
	defer tick.Stop()
	told := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := d.reserve(ctx, &r); err != nil && ctx.Err() == nil && err.Error() != told {
			told = err.Error()
			d.log.Warn("a changed reservation is not in the books; it is tried again", "error", err)
		}
	}
}

// reserve proposes what has changed for a while. A workload under a lease is left as it
// is: both ends have promised that much, and the destination says what it finds.
func (d *Daemon) reserve(ctx context.Context, r *reservations) error {
	found := map[fleet.WorkloadID]driver.Found{}
	for _, f := range d.inventory.last() {
		if _, handed := d.drivers[f.Spec.Driver].(driver.Handover); handed && f.State == driver.Running {
			found[f.Spec.ID] = f
		}
	}
	var changed []fleet.WorkloadID
	var disputed []fleet.Workload
	d.books.Read(func(s *fsm.State) {
		for id, f := range found {
			w, known := s.Workload(id)
			_, leased := s.LeaseOf(id)
			told, before := r.told[id]
			switch {
			case known && w.Owner != d.self && slices.Contains(s.Disputed(id), d.self):
				disputed = append(disputed, d.newcomer(f))
			case !known || w.Owner != d.self || leased:
				delete(r.told, id)
			case before && told.Equal(f.Spec.Reserve):
			case !before && w.Reservation.Equal(f.Spec.Reserve):
				r.told[id] = f.Spec.Reserve
			default:
				changed = append(changed, id)
			}
		}
	})
	for id := range r.told {
		if _, here := found[id]; !here {
			delete(r.told, id)
		}
	}
	changed = r.seen.again(changed, riseLooks)
	if len(changed) == 0 {
		return nil
	}
	// What is left out of a report counts as no longer claimed.
	report := fsm.RegisterWorkloads{Host: d.self, Workloads: disputed}
	for _, id := range changed {
		report.Workloads = append(report.Workloads, d.bookable(found[id].Spec))
	}
	slices.SortFunc(report.Workloads, func(a, b fleet.Workload) int { return strings.Compare(string(a.ID), string(b.ID)) })
	if err := about("", d.propose(ctx, report)); err != nil {
		return err
	}
	for _, id := range changed {
		r.told[id] = found[id].Spec.Reserve
	}
	return nil
}
