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
	// of them: an absence may be a restart. Where another host says that it runs
	// there, as many will do.
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
	strangers, claimed, absent, lost := looks{}, looks{}, looks{}, looks{}
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
		claims := d.claims(found, claimed)
		for _, id := range strangers.again(d.strangers(found), newcomerLooks) {
			// What is left out of a report counts as no longer claimed.
			d.tell(refused, id, "a workload that was started here is in the books now", "the books do not take a workload that was started here",
				about(id, d.propose(ctx, fsm.RegisterWorkloads{Host: d.self, Workloads: append([]fleet.Workload{d.newcomer(found[id])}, claims...)})))
		}
		d.claim(ctx, claims)
		gone := d.absentees(found)
		elsewhere := slices.DeleteFunc(slices.Clone(gone), func(id fleet.WorkloadID) bool { return len(d.claimants(id)) == 0 })
		leavers := append(absent.again(gone, leaverLooks), lost.again(elsewhere, newcomerLooks)...)
		slices.Sort(leavers)
		for _, id := range slices.Compact(leavers) {
			d.tell(refused, id, "a workload that ended here, or was moved away by other means, is no longer in the books", "the books keep a workload that is gone from here",
				d.propose(ctx, fsm.DeregisterWorkload{Workload: id}))
		}
	}
}

// claims are what runs here for a while although the books give it to another host,
// and no move explains it.
func (d *Daemon) claims(found map[fleet.WorkloadID]driver.Found, seen looks) (out []fleet.Workload) {
	var now []fleet.WorkloadID
	d.books.Read(func(s *fsm.State) {
		for id, f := range found {
			w, known := s.Workload(id)
			_, leased := s.LeaseOf(id)
			if known && w.Owner != d.self && !leased && f.State == driver.Running {
				now = append(now, id)
			}
		}
	})
	for _, id := range seen.again(now, newcomerLooks) {
		out = append(out, d.newcomer(found[id]))
	}
	return out
}

// claim lets the books know what is claimed here, and what no longer is: nothing is
// corrected by it, but nothing is granted either while two hosts say they have it.
func (d *Daemon) claim(ctx context.Context, claims []fleet.Workload) {
	var claimed, now []fleet.WorkloadID
	d.books.Read(func(s *fsm.State) {
		for _, w := range s.Workloads() {
			if slices.Contains(s.Disputed(w.ID), d.self) {
				claimed = append(claimed, w.ID)
			}
		}
	})
	for _, w := range claims {
		now = append(now, w.ID)
	}
	slices.Sort(claimed)
	same := slices.Equal(claimed, now)
	if same && len(now) == 0 {
		return
	}
	// Said again as long as it is so: once its owner has given it up, it is ours.
	err := about("", d.propose(ctx, fsm.RegisterWorkloads{Host: d.self, Workloads: claims}))
	if !same {
		d.log.Warn("what runs here and belongs to another host by the books has changed", "was", claimed, "is", now, "error", err)
	}
}

// claimants are the other hosts that say they run the workload.
func (d *Daemon) claimants(id fleet.WorkloadID) (out []fleet.HostID) {
	d.books.Read(func(s *fsm.State) { out = s.Disputed(id) })
	return out
}

// about keeps a refusal only if it is this workload's: what is claimed is refused
// every time.
func about(id fleet.WorkloadID, err error) error {
	var refusal *fsm.Refusal
	if errors.As(err, &refusal) && refusal.Workload != id {
		return nil
	}
	return err
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
