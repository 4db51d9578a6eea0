package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
)

// Declared is a workload that the host's configuration names. It is started once
// in its life, where it is declared first; from then on the books say where it
// runs, whatever the file says.
type Declared struct {
	Spec driver.Spec
	// History, if set, is the recorded load the host learns from before the
	// workload's first start.
	History *History
}

// History names a recorded load: one column of a CSV file, one row per tick.
type History struct {
	File, Column string
	From, To     int // rows [From, To)
	// End is the load time just after the last row; Scale is millicores per
	// unit of the file.
	End   time.Time
	Scale float64
}

// startupRetry is the pause between attempts while the cluster has no leader.
const startupRetry = 250 * time.Millisecond

// bring registers the host, adopts what runs, restores what was saved, and
// starts what is declared and new. It ends when all of that is done, or with ctx.
// Nothing is started before the books agree: a host cut off from the quorum
// keeps what runs and starts nothing.
func (d *Daemon) bring(ctx context.Context) error {
	steps := []struct {
		what string
		do   func(context.Context) error
	}{
		{"learning what is declared here", d.learnDeclared},
		{"waiting for the cluster's books", d.awaitCluster},
		{"registering the host", d.registerHost},
		{"booking what runs here", d.bookRunning},
		{"steering the traffic proxy", d.steerProxy},
		{"restoring what was saved here", d.restoreSaved},
		{"starting what is declared here", d.startDeclared},
	}
	for _, step := range steps {
		told := ""
		for {
			err := step.do(ctx)
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return nil
			}
			if text := err.Error(); text != told {
				d.log.Warn("start waits; it is tried again", "step", step.what, "error", err)
				told = text
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(startupRetry):
			}
		}
	}
	d.log.Info("host is ready", "workloads", len(d.inventory.last()))
	return nil
}

// awaitCluster returns once this host's replica has caught up with the leader.
func (d *Daemon) awaitCluster(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := d.books.linearizable(limited); err != nil {
		return fmt.Errorf("the books cannot be read yet: %w", err)
	}
	known := ""
	d.books.Read(func(s *fsm.State) { known = s.Cluster() })
	switch known {
	case d.cfg.Cluster:
		return nil
	case "":
		return errors.New("the leader has not founded the cluster yet")
	}
	return fmt.Errorf("the books are those of cluster %s, this host is configured for %s: correct cluster.id or cluster.servers", known, d.cfg.Cluster)
}

// propose commits one operation and turns a refusal into an error.
func (d *Daemon) propose(ctx context.Context, op fsm.Operation) error {
	limited, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	result, err := d.books.Propose(limited, op)
	if err != nil {
		return err
	}
	if refusal := result.Ops[0].Err; refusal != nil {
		return refusal
	}
	return nil
}

// registerHost books this host when the books have it otherwise.
func (d *Daemon) registerHost(ctx context.Context) error {
	have, ok := d.books.host(d.self)
	want := d.registration()
	if ok && sameHost(have, want) {
		return nil
	}
	return d.propose(ctx, fsm.RegisterHost{Host: want})
}

// registration is this host as it wants to be booked, in the state it is in.
func (d *Daemon) registration() fleet.Host {
	want := d.cfg.Host
	have, _ := d.books.host(d.self)
	want.State, want.Registered = have.State, have.Registered
	want.Capacity = d.withPages(d.cfg.Measured.measure(want.Capacity))
	return want
}

func sameHost(a, b fleet.Host) bool {
	return a.Name == b.Name && a.Zone == b.Zone && a.Class == b.Class && a.Address == b.Address && a.Traffic == b.Traffic &&
		a.API == b.API && a.Voter == b.Voter && a.Capacity.Equal(b.Capacity) && a.Reserve.Equal(b.Reserve) && a.Overcommit.Equal(b.Overcommit)
}

// bookRunning tells the books what the drivers found. What the books give to
// another host, or what is the other end of a move, is theirs to sort out: it is
// reported and logged, not stopped.
func (d *Daemon) bookRunning(ctx context.Context) error {
	var running []fleet.Workload
	for _, f := range d.inventory.observe(ctx) {
		if f.State == driver.Running || f.State == driver.Frozen || f.State == driver.Stopped {
			running = append(running, d.bookable(f.Spec))
		}
	}
	err := d.propose(ctx, fsm.RegisterWorkloads{Host: d.self, Workloads: running})
	var refusal *fsm.Refusal
	if errors.As(err, &refusal) {
		d.log.Warn("the books do not give this host everything it holds", "workload", refusal.Workload, "lease", refusal.Lease, "reason", refusal.Message)
		return nil
	}
	return err
}

func workloadOf(s driver.Spec, owner fleet.HostID) fleet.Workload {
	return fleet.Workload{ID: s.ID, Kind: fleet.Instance, Driver: s.Driver, Owner: owner, Reservation: s.Reserve,
		Priority: s.Priority, Tolerance: s.Tolerant, Port: s.Port, ManagedBy: s.Settings["managed_by"], Pinned: s.Settings["pinned"] == "yes"}
}

// restoreSaved starts what a planned stop has saved here and the books still give
// to this host. A saved workload under an active lease is the migrator's.
func (d *Daemon) restoreSaved(ctx context.Context) error {
	var errs []error
	for _, f := range d.inventory.last() {
		if f.State == driver.Stopped {
			errs = append(errs, d.restore(ctx, f))
		}
	}
	d.inventory.observe(ctx)
	d.proxyNudge()
	return errors.Join(errs...)
}

// restore starts one saved workload, if the books give it to this host alone and
// this host's own last word does not speak against it.
func (d *Daemon) restore(ctx context.Context, f driver.Found) error {
	id := f.Spec.ID
	var w fleet.Workload
	var known, leased bool
	d.books.Read(func(s *fsm.State) {
		w, known = s.Workload(id)
		_, leased = s.LeaseOf(id)
	})
	if !known || w.Owner != d.self || leased {
		d.log.Warn("a saved workload is not started: the books do not give it to this host alone", "workload", id, "host", w.Owner, "leased", leased)
		return nil
	}
	if err := d.migrator.MayStart(id, f.Token); err != nil {
		return err
	}
	if _, err := d.drivers[f.Spec.Driver].Start(ctx, f.Spec, f.Token); err != nil {
		return fmt.Errorf("restore workload %s: %w", id, err)
	}
	d.log.Info("workload restored", "workload", id)
	return nil
}

// startDeclared starts the declared workloads that the books do not know.
func (d *Daemon) startDeclared(ctx context.Context) error {
	for _, w := range d.cfg.Declared {
		id := w.Spec.ID
		var booked fleet.Workload
		var known bool
		d.books.Read(func(s *fsm.State) { booked, known = s.Workload(id) })
		if lease, interrupted := d.starts.read(id); known && interrupted && booked.Owner == d.self {
			if err := d.startClaimed(ctx, w.Spec, lease); err != nil {
				return fmt.Errorf("interrupted first start of workload %s: %w", id, err)
			}
			continue
		}
		if known {
			continue
		}
		if err := d.startFirst(ctx, w); err != nil {
			return fmt.Errorf("first start of workload %s: %w", id, err)
		}
	}
	return nil
}

// startFirst asks for room, starts the workload and books it.
func (d *Daemon) startFirst(ctx context.Context, w Declared) error {
	spec := w.Spec
	lease, err := d.placementLease(ctx, spec)
	if err != nil {
		return err
	}
	// Noted on disk first: a crash between claim and start must not leave a
	// workload in the books that nobody ever starts.
	if err := d.starts.note(spec.ID, lease); err != nil {
		return err
	}
	if err := d.propose(ctx, fsm.Claim{Lease: lease.ID, Workload: d.bookable(spec)}); err != nil {
		return err
	}
	return d.startClaimed(ctx, spec, lease)
}

// startClaimed starts a workload that the books give to this host and that has
// never run.
func (d *Daemon) startClaimed(ctx context.Context, spec driver.Spec, lease fleet.Lease) error {
	if _, runs := d.inventory.of(spec.ID); !runs {
		if _, err := d.drivers[spec.Driver].Start(ctx, spec, lease.Token); err != nil {
			return err
		}
		d.log.Info("workload started", "workload", spec.ID, "lease", lease.ID)
	}
	d.inventory.observe(ctx)
	d.proxyNudge()
	return d.starts.done(spec.ID)
}

// placementLease asks the leader for room. A start that was interrupted after its
// grant has left a lease behind, which serves as well.
func (d *Daemon) placementLease(ctx context.Context, spec driver.Spec) (fleet.Lease, error) {
	var lease fleet.Lease
	var held bool
	d.books.Read(func(s *fsm.State) { lease, held = s.LeaseOf(spec.ID) })
	if held && lease.Kind == fleet.LeasePlacement && lease.Destination == d.self {
		return lease, nil
	}
	answer, err := callLeader[placement, leaseAnswer](ctx, d.books, callPlace, placement{Workload: d.bookable(spec)})
	return answer.Lease, err
}

// learnDeclared loads the histories that are declared, of workloads that nothing is
// known of here: also of those that somebody else has started, as domains are.
func (d *Daemon) learnDeclared(context.Context) error {
	for _, w := range d.cfg.Declared {
		if w.History == nil || d.series.known(w.Spec.ID) {
			continue
		}
		if err := d.learn(w.Spec.ID, *w.History); err != nil {
			return err
		}
	}
	return nil
}

// learn reads a recorded load into the history, before the first start. The file
// is not opened again.
func (d *Daemon) learn(id fleet.WorkloadID, h History) error {
	samples, err := readHistory(h)
	if err != nil {
		return fmt.Errorf("history of %s: %w", id, err)
	}
	return d.series.load(id, samples)
}
