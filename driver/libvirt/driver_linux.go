//go:build cgo && libvirt_dlopen

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	libvirt "libvirt.org/go/libvirt"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

// Built says whether this binary has the driver.
const Built = true

// Driver drives the domains of one libvirtd.
type Driver struct {
	cfg Config
	log hclog.Logger
	// moves is for what decides, stats for what only informs: a stopped QEMU
	// blocks statistics without limit.
	// checks is for questions that make libvirtd think.
	// agents is for questions to guests, which may never answer.
	moves, stats, checks, agents *conn

	defs parsed // has a lock of its own

	mu    sync.Mutex                      // guards all below
	outs  map[fleet.WorkloadID]*outgoing  // moves of this life
	seen  map[fleet.WorkloadID]definition // by the last inventory
	doors map[fleet.WorkloadID]*door      // expected arrivals
	last  map[fleet.WorkloadID]Statistics // by the last reading
	told  map[string]bool                 // complaints made
	meter meter                           // rates, by the readings so far
	peers pacemaker                       // what the host's cluster manager runs
	locks string                          // libvirt's lock manager; set by New
	nodes string                          // where the kernel shows NUMA cells; set by New
	came  chan arrivedGuest               // to be listened for; read by Run

	survey surveyed      // what this host can run, and its domains need
	again  chan struct{} // asks Run for a new survey
	news   chan struct{} // rings after events

	overheads overheads // what QEMUs use beside their guests' memory
	kept      time.Time // when they were last written down
}

var _ driver.Handover = (*Driver)(nil)

// New prepares the driver; it connects when it is first asked.
func New(cfg Config) (*Driver, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{cfg.Dir, cfg.Sockets} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("libvirt driver: %w", err)
		}
	}
	// Before the first connection, or its events are never heard. Without libvirt.so.0
	// it fails as every connection will, which then says so.
	_ = events.register()
	return &Driver{cfg: cfg, log: cfg.Logger, peers: pacemaker{cib: cfg.Pacemaker}, locks: lockManager(cfg.QEMUConf), nodes: NodeDir, came: make(chan arrivedGuest, 16), again: make(chan struct{}, 1), news: make(chan struct{}, 1), overheads: readOverheads(cfg.Dir), moves: &conn{uri: cfg.URI}, stats: &conn{uri: cfg.URI, asks: true}, checks: &conn{uri: cfg.URI, asks: true}, agents: &conn{uri: cfg.URI},
		outs: map[fleet.WorkloadID]*outgoing{}, seen: map[fleet.WorkloadID]definition{}, doors: map[fleet.WorkloadID]*door{}, last: map[fleet.WorkloadID]Statistics{}, told: map[string]bool{}}, nil
}

// Name is "libvirt".
func (d *Driver) Name() string { return Name }

// Close lets go of libvirtd; the domains stay as they are.
func (d *Driver) Close() error {
	d.moves.close()
	d.stats.close()
	d.checks.close()
	d.agents.close()
	return nil
}

// wrap says what could not be done to which workload.
func wrap(id fleet.WorkloadID, op string, err error) error {
	if err == nil || errors.Is(err, driver.ErrNotFound) {
		return err
	}
	return &driver.Error{Driver: Name, Workload: id, Op: op, Err: err}
}

// with finds the domain of a workload and calls f with it; ErrNotFound when
// libvirtd knows none.
func (d *Driver) with(ctx context.Context, id fleet.WorkloadID, f func(*libvirt.Domain) error) error {
	return d.moves.call(ctx, func(c *libvirt.Connect) error {
		dom, err := d.lookup(c, id)
		if err != nil {
			return err
		}
		defer dom.Free()
		return f(dom)
	})
}

// lookup goes by the domain's name, which mostly is the workload's id; else by
// the UUID the last inventory has shown for it.
func (d *Driver) lookup(c *libvirt.Connect, id fleet.WorkloadID) (*libvirt.Domain, error) {
	d.mu.Lock()
	known, ok := d.seen[id]
	d.mu.Unlock()
	var dom *libvirt.Domain
	var err error
	if ok {
		dom, err = c.LookupDomainByUUIDString(known.UUID)
	} else {
		dom, err = c.LookupDomainByName(string(id))
	}
	if isCode(err, libvirt.ERR_NO_DOMAIN) {
		return nil, driver.ErrNotFound
	}
	return dom, err
}

// Inventory observes every domain that has a process, and those that a move has
// left without one. A domain that is merely defined holds nothing.
func (d *Driver) Inventory(ctx context.Context) ([]driver.Found, error) {
	var out []driver.Found
	needed := map[fleet.WorkloadID]needs{}
	err := d.moves.call(ctx, func(c *libvirt.Connect) error {
		list, err := c.ListAllDomains(0)
		if err != nil {
			return err
		}
		for i := range list {
			f, n, err := d.read(&list[i])
			_ = list[i].Free() // it only frees memory
			switch {
			case errors.Is(err, driver.ErrNotFound):
			case err != nil:
				d.complain(err)
			case f.State == driver.Off && !d.unfinished(f):
			default:
				out = append(out, coarse(f))
				needed[f.Spec.ID] = n
			}
		}
		return nil
	})
	if err != nil {
		return nil, wrap("", "inventory", err)
	}
	d.keepNeeds(needed)
	d.sweepArrivals(ctx)
	slices.SortFunc(out, func(a, b driver.Found) int { return strings.Compare(string(a.Spec.ID), string(b.Spec.ID)) })
	return out, nil
}

// complain tells an operator once of each domain that cannot be read.
func (d *Driver) complain(err error) {
	d.mu.Lock()
	told := d.told[err.Error()]
	d.told[err.Error()] = true
	d.mu.Unlock()
	if !told {
		d.log.Warn("a domain cannot be read and is left alone: correct its definition or metadata", "error", err)
	}
}

// unfinished: a move has taken the autostart of a domain that is off, or has
// brought it and not made it run.
func (d *Driver) unfinished(f driver.Found) bool {
	if !f.Token.IsZero() {
		return true
	}
	n, ok, err := d.cfg.readNote(f.Spec.ID)
	return err != nil || ok && n.Autostart
}

// coarse turns the fine states into those of every driver.
func coarse(f driver.Found) driver.Found {
	switch f.State {
	case driver.Sending:
		f.State = driver.Running
	case driver.Whole:
		f.State = driver.Incoming
	case driver.Off:
		f.State = driver.Stopped
	}
	return f
}

// Look observes one workload.
func (d *Driver) Look(ctx context.Context, id fleet.WorkloadID) (f driver.Found, err error) {
	err = d.with(ctx, id, func(dom *libvirt.Domain) error {
		f, err = d.observe(dom)
		return err
	})
	if !errors.Is(err, driver.ErrNotFound) {
		return f, wrap(id, "look at", err)
	}
	n, ok, noteErr := d.cfg.readNote(id)
	if noteErr != nil {
		return f, wrap(id, "look at", noteErr)
	}
	if ok && n.Process.alive() {
		return f, wrap(id, "look at", fmt.Errorf("libvirtd does not know it, but its QEMU (process %d) still exists", n.Process.PID))
	}
	return f, driver.ErrNotFound
}

// Inspect lists what would keep the workload from moving.
func (d *Driver) Inspect(ctx context.Context, id fleet.WorkloadID) (out []driver.Blocker, err error) {
	err = d.with(ctx, id, func(dom *libvirt.Domain) error {
		text, err := dom.GetXMLDesc(0)
		if err != nil {
			return err
		}
		def, err := readDefinition(text)
		if err != nil {
			return err
		}
		d.mu.Lock()
		d.managed(&def)
		d.mu.Unlock()
		out = append(def.movable(d.cfg.Policy), d.cfg.Segments.undeclared(def.Networks)...)
		if n, err := dom.SnapshotNum(0); err == nil && n > 0 {
			out = append(out, driver.Blocker{Reason: fmt.Sprintf("it has %d snapshots, which would stay behind", n), Remedy: "delete them, or keep the domain here"})
		}
		for _, k := range def.Disks {
			if info, err := dom.GetBlockJobInfo(k.Target, 0); err == nil && info != nil && info.Type != libvirt.DOMAIN_BLOCK_JOB_TYPE_UNKNOWN {
				out = append(out, driver.Blocker{Reason: "a block job runs on disk " + k.Target, Remedy: "wait for it or cancel it"})
			}
		}
		if info, err := dom.GetJobStats(0); err == nil && info.Type != libvirt.DOMAIN_JOB_NONE {
			out = append(out, driver.Blocker{Reason: "another job runs on the domain (a save, a dump, or a move that placed did not start)", Remedy: "wait for it"})
		}
		return nil
	})
	return out, wrap(id, "inspect", err)
}

// Start runs a domain that is defined here and off.
func (d *Driver) Start(ctx context.Context, spec driver.Spec, token fleet.Token) (f driver.Found, err error) {
	err = d.with(ctx, spec.ID, func(dom *libvirt.Domain) error {
		state, reason, err := dom.GetState()
		if err != nil {
			return err
		}
		n, ok, err := d.cfg.readNote(spec.ID)
		if err != nil {
			return err
		}
		// Off for a reason means that somebody has shut it down; only what
		// libvirtd found off at its own start was running when the power went.
		if state == libvirt.DOMAIN_SHUTOFF && libvirt.DomainShutoffReason(reason) == libvirt.DOMAIN_SHUTOFF_UNKNOWN {
			if err := dom.Create(); err != nil && !isCode(err, libvirt.ERR_OPERATION_INVALID) {
				return err
			}
		}
		if ok && n.Autostart {
			if err := dom.SetAutostart(true); err != nil {
				return err
			}
		}
		f, err = d.observe(dom)
		return err
	})
	if err != nil {
		return f, wrap(spec.ID, "start", err)
	}
	return f, d.cfg.dropNote(spec.ID)
}

var errNoPages = errors.New("the hypervisor moves the state of its domains itself")

// Save is refused: a planned stop of the agent leaves domains running.
func (d *Driver) Save(_ context.Context, id fleet.WorkloadID) error {
	return wrap(id, "save", errors.New("domains live on without the agent; use virsh managedsave to stop one"))
}

// Stop is refused: placed never ends a domain that did not come under a token.
func (d *Driver) Stop(_ context.Context, id fleet.WorkloadID) error {
	return wrap(id, "stop", errors.New("domains are started and stopped by their operators; use virsh shutdown"))
}

// Source is not offered.
func (d *Driver) Source(_ context.Context, id fleet.WorkloadID) (driver.Source, error) {
	return nil, wrap(id, "open", errNoPages)
}

// Sink is not offered.
func (d *Driver) Sink(_ context.Context, spec driver.Spec, _ fleet.Token) (driver.Sink, error) {
	return nil, wrap(spec.ID, "open", errNoPages)
}

// OpenSink is not offered.
func (d *Driver) OpenSink(_ context.Context, id fleet.WorkloadID) (driver.Sink, error) {
	return nil, wrap(id, "open", errNoPages)
}

// socketDir is where the sockets of one move lie, at both ends under the same name.
func (d *Driver) socketDir(id fleet.WorkloadID, token fleet.Token) string {
	return filepath.Join(d.cfg.Sockets, passage(id, token))
}
