package daemon

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/placed-dev/placed/controller"
	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/telemetry"
)

// reality is what this host sees beyond what the books reserve: memory in use
// that belongs to nobody's reservation. It speaks to the books rarely: what comes
// and goes within seconds is no news to them.
type reality struct {
	seen []int64 // the newest looks, in steps, oldest first
}

const (
	// A rise counts when it has lasted for riseLooks looks, a fall when it has
	// lasted for fallLooks: too little room promised is put right later, too
	// much at once.
	riseLooks = 2
	fallLooks = 12
	// foreignStep rounds what is in use beyond the reservations, upwards; less
	// than one step beyond what is booked is no change.
	foreignStep = 64 << 20
	// allowance is what the process that runs a workload may need beside the
	// reservation before that counts as in use beyond it, with a 64th of it.
	allowance = 64 << 20
)

// next takes in a look, in bytes, and returns what the books should say instead
// of what they say; false: leave them.
func (r *reality) next(seen, booked int64) (int64, bool) {
	steps := int64(0)
	if seen >= foreignStep/2 {
		steps = (seen + foreignStep - 1) / foreignStep
	}
	r.seen = append(r.seen, steps)
	if n := len(r.seen); n > fallLooks {
		r.seen = r.seen[n-fallLooks:]
	}
	have := booked / foreignStep
	if n := len(r.seen); n >= riseLooks {
		if lasting := slices.Min(r.seen[n-riseLooks:]); lasting > have+1 || lasting > 0 && have == 0 {
			r.seen = nil
			return lasting * foreignStep, true
		}
	}
	if len(r.seen) == fallLooks {
		if lasting := slices.Max(r.seen); lasting < have-1 || lasting == 0 && booked > 0 {
			r.seen = nil
			return lasting * foreignStep, true
		}
	}
	return 0, false
}

// observeHost keeps the books of this host true until ctx ends: its capacity where
// it is measured, and what is in use beyond all reservations.
func (d *Daemon) observeHost(ctx context.Context) error {
	var memory reality
	told := ""
	tick := time.NewTicker(d.look)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := d.observeOnce(ctx, d.reporter.latest.Load(), &memory); err != nil && ctx.Err() == nil {
			if text := err.Error(); text != told {
				d.log.Warn("what this host sees is not in the books; it is tried again", "error", err)
				told = text
			}
		}
	}
}

func (d *Daemon) observeOnce(ctx context.Context, report *controller.Report, memory *reality) error {
	booked, registered := d.books.host(d.self)
	if !registered {
		return nil // its start registers it
	}
	if want := d.registration(); !booked.Capacity.Equal(want.Capacity) {
		d.log.Warn("this host has another capacity than the books say", "booked", booked.Capacity, "found", want.Capacity)
		if err := d.propose(ctx, fsm.RegisterHost{Host: want}); err != nil {
			return err
		}
	}
	if report == nil {
		return nil
	}
	var workloads []fleet.Workload
	var leases []fleet.Lease
	var foreign fleet.Vector
	var allowed error
	d.books.Read(func(s *fsm.State) {
		allowed = s.Allows(fsm.ObserveHost{})
		foreign = s.Foreign(d.self)
		workloads, leases = s.OnHost(d.self)
	})
	if allowed != nil {
		return nil // nothing is wrong with a cluster of an older level
	}
	used := int64(-1)
	if d.cfg.Measured.Memory {
		var err error
		if used, err = telemetry.UsedMemory(); err != nil {
			return err
		}
	}
	beyond := beyondReservations(*report, workloads, leases, used, d.cfg.Host.Reserve.Memory)
	want, news := memory.next(beyond, foreign.Memory)
	if !news {
		return nil
	}
	d.log.Warn("memory in use beyond all reservations has changed", "was", fleet.FormatAmount(fleet.Memory, foreign.Memory), "is", fleet.FormatAmount(fleet.Memory, want))
	return d.propose(ctx, fsm.ObserveHost{Host: d.self, Foreign: fleet.Vector{Memory: want}})
}

// beyondReservations is the memory, in bytes, that this host has in use and no
// reservation covers: of workloads that have outgrown theirs, of workloads that
// the books do not give to this host, and, where used (of the whole machine) is
// not negative, of everything else beyond what the host keeps for itself. A copy
// that a move fills or has frozen uses what its lease holds here.
func beyondReservations(report controller.Report, booked []fleet.Workload, leases []fleet.Lease, used, reserve int64) int64 {
	reserved, silent := map[fleet.WorkloadID]int64{}, map[fleet.WorkloadID]int64{}
	for _, l := range leases {
		silent[l.Workload] = max(l.Reservation.Memory, 0)
	}
	for _, w := range booked {
		reserved[w.ID], silent[w.ID] = w.Reservation.Memory, w.Reservation.Memory
	}
	var beyond, ours int64
	for _, w := range report.Workloads {
		delete(silent, w.ID)
		if w.Usage.Memory == fleet.Unknown {
			continue
		}
		ours += w.Usage.Memory
		if r, ok := reserved[w.ID]; !ok {
			beyond += w.Usage.Memory
		} else if over := w.Usage.Memory - r; over > allowance+r/64 {
			beyond += over
		}
	}
	for _, memory := range silent {
		ours += memory
	}
	if used >= 0 {
		beyond += max(used-ours-max(reserve, 0), 0)
	}
	return beyond
}

// Measured says which amounts of the host's capacity are measured because the
// configuration names none. Only then is the machine the host's alone, and only
// then can be said what else uses it.
type Measured struct{ CPU, Memory bool }

// measure puts what the machine has now in place of what it had at the start, and
// never believes in more memory than there is.
func (m Measured) measure(capacity fleet.Vector) fleet.Vector {
	if total, err := telemetry.TotalMemory(); err == nil && (m.Memory || capacity.Memory > total) {
		capacity.Memory = total
	}
	var online unix.CPUSet
	if err := unix.SchedGetaffinity(0, &online); err == nil && m.CPU && online.Count() > 0 {
		capacity.CPU = int64(online.Count()) * 1000
	}
	return capacity
}

// newcomer is a workload as the books take it that somebody else has started. A
// sample process without a token of ours is only observed: nobody here decided
// that it runs.
func (d *Daemon) newcomer(f driver.Found) fleet.Workload {
	w := d.bookable(f.Spec)
	if _, handed := d.drivers[f.Spec.Driver].(driver.Handover); !handed && f.Token.IsZero() {
		w.ManagedBy = external
	}
	return w
}

// external marks what placed only observes.
const external = "external"

// groupSetting is where a driver's spec carries the workload's group.
const groupSetting = "group"

// bookable is a workload of this host as this feature level lets it be booked.
func (d *Daemon) bookable(s driver.Spec) fleet.Workload {
	w := workloadOf(s, d.self)
	grouped := w
	grouped.Group = s.Settings[groupSetting]
	d.books.Read(func(state *fsm.State) {
		if state.Allows(fsm.RegisterWorkloads{Workloads: []fleet.Workload{grouped}}) == nil {
			w = grouped
		}
	})
	return w
}
