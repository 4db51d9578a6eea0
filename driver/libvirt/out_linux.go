//go:build cgo && libvirt_dlopen

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	libvirt "libvirt.org/go/libvirt"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

// Channels of a move: libvirtd's own talk, QEMU's memory stream, its disks.
const (
	channelControl = "control"
	channelMemory  = "memory"
	channelDisks   = "disks"
)

// outgoing is a move of this life.
type outgoing struct {
	mu sync.Mutex
	// still is how long the CPUs had run when the move had stopped them; nil
	// until then.
	still map[int]uint64
	// turn receives when another pass over the memory has begun, halt when the move
	// has stopped the CPUs.
	turn, halt chan struct{}
}

// How often a move is looked at: libvirt's events say when it matters, and without
// them it is seen a little later. To look at a domain takes processor time, which its
// move needs.
const (
	moveEvery = 100 * time.Millisecond
	haltEvery = 5 * time.Millisecond
	// steerEvery is the pace of job statistics, which libvirt has anew once a second,
	// and with each pass.
	steerEvery = 250 * time.Millisecond
	steerLeast = 50 * time.Millisecond
)

func newOutgoing() *outgoing {
	return &outgoing{turn: make(chan struct{}, 1), halt: make(chan struct{}, 1)}
}

// endWait bounds how long an aborted job may take to end.
const endWait = 40 * time.Second

// Send hands the workload over.
func (d *Driver) Send(ctx context.Context, id fleet.WorkloadID, way driver.Way) error {
	o := newOutgoing()
	d.mu.Lock()
	d.outs[id] = o
	d.mu.Unlock()
	n, p, err := d.depart(ctx, id, way)
	if err != nil {
		return wrap(id, "prepare the move of", err)
	}
	d.giveNotice(ctx, id, way, p)
	if ctx.Err() != nil {
		return wrap(id, "move", context.Cause(ctx))
	}
	lines, err := d.openLines(ctx, id, way)
	if err != nil {
		return wrap(id, "open the way of", err)
	}
	defer lines.close()
	done := make(chan error, 1)
	go func() {
		// On a connection of its own: it is held for the whole move.
		own := &conn{uri: d.cfg.URI}
		defer own.close()
		done <- own.call(context.WithoutCancel(ctx), func(c *libvirt.Connect) error {
			dom, err := d.lookup(c, id)
			if err != nil {
				return err
			}
			defer dom.Free()
			err = dom.MigrateToURI3(d.target(id, way), d.parameters(id, way, p), d.flags(n, p))
			if plain := p; unsupported(err) && plain.simplify() && restsRunning(dom) {
				d.log.Info("this libvirt does not offer what the policy asks for: the move goes without", "workload", string(id),
					"compress", p.Compress, "parallel", p.Parallel, "error", err)
				err = dom.MigrateToURI3(d.target(id, way), d.parameters(id, way, plain), d.flags(n, plain))
			}
			return err
		})
	}()
	err = d.follow(ctx, id, way, n, p, o, done)
	return wrap(id, "move", err)
}

// depart writes down what must survive this agent, and into the domain under
// which token it travels. Autostart goes first of all: from here on only the
// agents start it.
func (d *Driver) depart(ctx context.Context, id fleet.WorkloadID, way driver.Way) (n note, p MovePolicy, err error) {
	err = d.with(ctx, id, func(dom *libvirt.Domain) error {
		name, err := dom.GetName()
		if err != nil {
			return err
		}
		uuid, err := dom.GetUUIDString()
		if err != nil {
			return err
		}
		process, err := findProcess(d.cfg.PIDs, name, uuid)
		if err != nil {
			return err
		}
		n = note{Token: way.Token, To: way.To, UUID: uuid, Process: process}
		if n.Persistent, err = dom.IsPersistent(); err != nil {
			return err
		}
		if n.Persistent {
			if n.Autostart, err = dom.GetAutostart(); err != nil {
				return err
			}
		}
		old, ok, err := d.cfg.readNote(id)
		if err != nil {
			return err
		}
		n.Autostart = n.Autostart || ok && old.UUID == uuid && old.Autostart
		text, err := dom.GetXMLDesc(0)
		if err != nil {
			return err
		}
		def, err := readDefinition(text)
		if err != nil {
			return err
		}
		n.Name, p = def.Name, def.Wishes.policy(d.cfg.Policy)
		n.Disks, n.Left = def.writable(p)
		if err := d.cfg.writeNote(id, n); err != nil {
			return err
		}
		if n.Autostart {
			if err := dom.SetAutostart(false); err != nil {
				return err
			}
		}
		return setJourney(dom, journey{Token: way.Token, To: way.To, Autostart: n.Autostart}, n.Persistent)
	})
	return n, p, err
}

// unsupported says whether libvirt, at either end, has refused what it was asked for
// before it did anything.
func unsupported(err error) bool {
	return isCode(err, libvirt.ERR_INVALID_ARG, libvirt.ERR_ARGUMENT_UNSUPPORTED, libvirt.ERR_OPERATION_UNSUPPORTED,
		libvirt.ERR_CONFIG_UNSUPPORTED, libvirt.ERR_NO_SUPPORT)
}

// restsRunning: it runs and no job is left, so that another may be tried.
func restsRunning(dom *libvirt.Domain) bool {
	state, _, err := dom.GetState()
	if err != nil || state != libvirt.DOMAIN_RUNNING {
		return false
	}
	info, err := dom.GetJobInfo()
	return err == nil && info.Type == libvirt.DOMAIN_JOB_NONE
}

func setJourney(dom *libvirt.Domain, j journey, persistent bool) error {
	text, err := j.marshal()
	if err != nil {
		return err
	}
	where := libvirt.DOMAIN_AFFECT_LIVE
	if persistent {
		where |= libvirt.DOMAIN_AFFECT_CONFIG
	}
	return dom.SetMetadata(libvirt.DOMAIN_METADATA_ELEMENT, text, prefix+"-move", moveURI, where)
}

func (d *Driver) target(id fleet.WorkloadID, way driver.Way) string {
	switch d.cfg.Native {
	case "tcp":
		return "qemu+tcp://" + way.Address + "/system"
	case "tls":
		return "qemu+tls://" + way.Address + "/system"
	}
	return "qemu+unix:///system?socket=" + filepath.Join(d.socketDir(id, way.Token), channelControl)
}

func (d *Driver) parameters(id fleet.WorkloadID, way driver.Way, policy MovePolicy) *libvirt.DomainMigrateParameters {
	p := &libvirt.DomainMigrateParameters{}
	dir := d.socketDir(id, way.Token)
	switch d.cfg.Native {
	case "":
		p.URISet, p.URI = true, "unix://"+filepath.Join(dir, channelMemory)
		if policy.Storage != "shared" {
			p.DisksURISet, p.DisksURI = true, "unix://"+filepath.Join(dir, channelDisks)
		}
	default:
		p.URISet, p.URI = true, "tcp://"+way.Address
	}
	if b := policy.Bandwidth; b > 0 {
		p.BandwidthSet, p.Bandwidth = true, uint64(max(b>>20, 1))
	}
	if policy.Compress != "" {
		p.CompressionSet, p.Compression = true, policy.Compress
	}
	if policy.Parallel > 1 {
		p.ParallelConnectionsSet, p.ParallelConnections = true, policy.Parallel
	}
	return p
}

func (d *Driver) flags(n note, p MovePolicy) libvirt.DomainMigrateFlags {
	f := libvirt.MIGRATE_LIVE | libvirt.MIGRATE_PEER2PEER | libvirt.MIGRATE_PAUSED | libvirt.MIGRATE_ABORT_ON_ERROR
	for _, c := range []struct {
		set  bool
		flag libvirt.DomainMigrateFlags
	}{
		{n.Persistent, libvirt.MIGRATE_PERSIST_DEST | libvirt.MIGRATE_UNDEFINE_SOURCE},
		{p.AutoConverge, libvirt.MIGRATE_AUTO_CONVERGE},
		{p.Compress != "", libvirt.MIGRATE_COMPRESSED},
		{p.Parallel > 1, libvirt.MIGRATE_PARALLEL},
		{p.Storage == "copy", libvirt.MIGRATE_NON_SHARED_DISK},
		{p.Storage == "copy-inc", libvirt.MIGRATE_NON_SHARED_INC},
		{p.Unsafe, libvirt.MIGRATE_UNSAFE},
		{d.cfg.Native == "tls", libvirt.MIGRATE_TLS},
	} {
		if c.set {
			f |= c.flag
		}
	}
	return f
}

// follow watches the job until done says that it is over. When ctx ends it is
// aborted, once: what becomes of it is then observed like everything else.
func (d *Driver) follow(ctx context.Context, id fleet.WorkloadID, way driver.Way, n note, p MovePolicy, o *outgoing, done <-chan error) error {
	tick := time.NewTicker(moveEvery)
	defer tick.Stop()
	began := time.Now()
	control := newControl(p)
	quit := ctx.Done()
	var limit <-chan time.Time
	var steered time.Time
	turned := false
	for {
		select {
		case err := <-done:
			return err
		case <-quit:
			quit, limit = nil, time.After(endWait)
			d.abort(id)
		case <-limit:
			return fmt.Errorf("the job does not end within %s of its abort", endWait)
		case <-o.halt:
			tick.Reset(haltEvery)
			d.stopped(id, n, o)
		case <-o.turn:
			turned = true // the last pass has told how it goes
		case <-tick.C:
			d.stopped(id, n, o)
		}
		now := time.Now()
		if since := now.Sub(steered); since < steerLeast || !turned && since < steerEvery {
			continue
		}
		turned, steered = false, now
		d.steer(id, way, control, now.Sub(began), o)
	}
}

// stopped notes how long the CPUs have run, while the move keeps them stopped. The
// newest reading counts: QEMU lets a stopped CPU's thread work a little on the last
// pass. Seen running again, everything noted is void.
func (d *Driver) stopped(id fleet.WorkloadID, n note, o *outgoing) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	var times map[int]uint64
	err := d.with(ctx, id, func(dom *libvirt.Domain) error {
		held, err := heldByMove(dom)
		if err != nil || !held {
			return err
		}
		if times, err = cpuTimes(n.Process.PID); err != nil {
			return err
		}
		// Still stopped after the reading, so what was read stands.
		if held, err = heldByMove(dom); !held {
			times = nil
		}
		return err
	})
	if err != nil {
		return // it ends, or is asked again
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.still = times
}

func heldByMove(dom *libvirt.Domain) (bool, error) {
	state, reason, err := dom.GetState()
	return err == nil && state == libvirt.DOMAIN_PAUSED && libvirt.DomainPausedReason(reason) == libvirt.DOMAIN_PAUSED_MIGRATION, err
}

// steer reads the job's statistics and changes what the policy allows.
func (d *Driver) steer(id fleet.WorkloadID, way driver.Way, c *control, elapsed time.Duration, o *outgoing) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	// Without a reading only the deadline is looked at: a hypervisor that does
	// not tell how a move goes must not make it endless.
	p := driver.Progress{Elapsed: elapsed}
	err := d.with(ctx, id, func(dom *libvirt.Domain) error {
		info, err := dom.GetJobStats(0)
		if err == nil {
			p = progressOf(info, elapsed)
		}
		return err
	})
	if errors.Is(err, driver.ErrNotFound) {
		return // it is over
	}
	o.mu.Lock()
	p.Stopped = o.still != nil
	o.mu.Unlock()
	step := c.next(p)
	p.Note = step.note
	if step.note != "" {
		d.log.Info("move adjusted", "workload", string(id), "change", step.note)
	}
	if err := d.adjust(id, step); err != nil && c.failed(step) {
		d.log.Warn("the move could not be adjusted, it is tried again", "workload", string(id), "change", step.note, "error", err)
	}
	if err == nil && way.Progress != nil {
		way.Progress(p)
	}
}

// adjust carries out one step of the control, with its own time.
func (d *Driver) adjust(id fleet.WorkloadID, s step) error {
	if s == (step{}) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := d.with(ctx, id, func(dom *libvirt.Domain) error {
		switch {
		case s.abort:
			return dom.AbortJob()
		case s.downtime > 0:
			return dom.MigrateSetMaxDowntime(uint64(s.downtime.Milliseconds()), 0)
		case s.bandwidth > 0:
			return dom.MigrateSetMaxSpeed(uint64(max(s.bandwidth>>20, 1)), 0)
		}
		return nil
	})
	if errors.Is(err, driver.ErrNotFound) || isCode(err, libvirt.ERR_OPERATION_INVALID) {
		return nil // the job has just ended
	}
	return err
}

func progressOf(info *libvirt.DomainJobInfo, elapsed time.Duration) driver.Progress {
	return driver.Progress{Total: int64(info.MemTotal + info.DiskTotal), Remaining: int64(info.MemRemaining + info.DiskRemaining),
		Sent: int64(info.MemProcessed + info.DiskProcessed), Pass: int(info.MemIteration),
		DirtyRate: int64(info.MemDirtyRate * max(info.MemPageSize, 1)), Throttle: info.AutoConvergeThrottle, Elapsed: elapsed}
}

func (d *Driver) abort(id fleet.WorkloadID) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := d.with(ctx, id, func(dom *libvirt.Domain) error { return dom.AbortJob() }); err != nil {
		d.log.Debug("abort of a job", "workload", string(id), "error", err)
	}
}

// Await waits for a job of an earlier life.
func (d *Driver) Await(ctx context.Context, id fleet.WorkloadID, way driver.Way) error {
	began, quit := time.Now(), ctx.Done()
	d.mu.Lock()
	control := newControl(d.seen[id].Wishes.policy(d.cfg.Policy))
	d.mu.Unlock()
	o := &outgoing{still: map[int]uint64{}} // not known: this life did not see it stop
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		look, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		f, err := d.Look(look, id)
		cancel()
		if errors.Is(err, driver.ErrNotFound) || err == nil && f.State != driver.Sending {
			return nil
		}
		select {
		case <-quit:
			quit = nil
			d.abort(id)
		case now := <-tick.C:
			if now.Sub(began) > endWait && quit == nil {
				return wrap(id, "await the move of", fmt.Errorf("the job does not end within %s of its abort", endWait))
			}
			d.steer(id, way, control, now.Sub(began), o)
		}
	}
}
