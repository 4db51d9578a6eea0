package daemon

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
)

const (
	// observeEvery is the pause between two looks at what operators start and end by
	// other means (virsh, a cloud manager), and at what the machine itself has.
	observeEvery = 5 * time.Second
	// A workload that the books do not know is booked when it was seen in this
	// many looks in a row: between its start and its booking ours are unknown,
	// too. One that its hypervisor no longer knows leaves the books after more
	// of them: an absence may be a restart.
	newcomerLooks = 2
	leaverLooks   = 6
)

// looks counts for how many looks in a row something was so.
type looks map[fleet.WorkloadID]int

// again counts those that are so now, forgets the others, and returns those that
// were so for n looks, by id.
func (l looks) again(now []fleet.WorkloadID, n int) (lasting []fleet.WorkloadID) {
	for id := range l {
		if !slices.Contains(now, id) {
			delete(l, id)
		}
	}
	for _, id := range now {
		if l[id]++; l[id] >= n {
			lasting = append(lasting, id)
		}
	}
	slices.Sort(lasting)
	return lasting
}

// followOperators books what runs here and the books do not know, and forgets what
// a hypervisor no longer knows, until ctx ends. One at a time: what the books
// refuse must not keep the others out.
func (d *Daemon) followOperators(ctx context.Context) error {
	strangers, absent := looks{}, looks{}
	refused := map[fleet.WorkloadID]string{}
	tick := time.NewTicker(d.look)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		found := map[fleet.WorkloadID]driver.Found{}
		for _, f := range d.inventory.last() {
			found[f.Spec.ID] = f
		}
		for _, id := range strangers.again(d.strangers(found), newcomerLooks) {
			d.tell(refused, id, "a workload that was started here is in the books now", "the books do not take a workload that was started here",
				d.propose(ctx, fsm.RegisterWorkloads{Host: d.self, Workloads: []fleet.Workload{d.newcomer(found[id])}}))
		}
		for _, id := range absent.again(d.absentees(found), leaverLooks) {
			d.tell(refused, id, "a workload that ended here, or was moved away by other means, is no longer in the books", "the books keep a workload that is gone from here",
				d.propose(ctx, fsm.DeregisterWorkload{Workload: id}))
		}
	}
}

// tell logs what became of a proposal, a refusal once.
func (d *Daemon) tell(refused map[fleet.WorkloadID]string, id fleet.WorkloadID, done, not string, err error) {
	var refusal *fsm.Refusal
	switch {
	case err == nil:
		delete(refused, id)
		d.log.Info(done, "workload", id)
	case errors.As(err, &refusal) && refused[id] != refusal.Message:
		refused[id] = refusal.Message
		d.log.Warn(not, "workload", id, "reason", refusal.Message)
	}
}

// strangers run here and are not in the books.
func (d *Daemon) strangers(found map[fleet.WorkloadID]driver.Found) (out []fleet.WorkloadID) {
	d.books.Read(func(s *fsm.State) {
		for id, f := range found {
			_, known := s.Workload(id)
			_, leased := s.LeaseOf(id)
			if !known && !leased && f.State == driver.Running {
				out = append(out, id)
			}
		}
	})
	return out
}

// absentees are this host's by the books, and their hypervisor does not know them.
// A workload whose driver keeps its state on disk is never one: the file says what
// became of it, and a person decides.
func (d *Daemon) absentees(found map[fleet.WorkloadID]driver.Found) (out []fleet.WorkloadID) {
	d.books.Read(func(s *fsm.State) {
		for _, w := range s.Workloads() {
			_, here := found[w.ID]
			_, leased := s.LeaseOf(w.ID)
			_, handed := d.drivers[w.Driver].(driver.Handover)
			if w.Owner == d.self && !here && !leased && handed && d.inventory.asked(w.Driver) {
				// One whose first start is under way is about to come.
				if _, starting := d.starts.read(w.ID); !starting {
					out = append(out, w.ID)
				}
			}
		}
	})
	slices.SortFunc(out, func(a, b fleet.WorkloadID) int { return strings.Compare(string(a), string(b)) })
	return out
}
