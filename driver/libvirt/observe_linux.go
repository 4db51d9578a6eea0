//go:build cgo && libvirt_dlopen

package libvirt

import (
	"errors"
	"io/fs"
	"strings"

	libvirt "libvirt.org/go/libvirt"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

// observe tells what one domain is doing, by calls that do not wait for its QEMU
// unless a job is under way.
func (d *Driver) observe(dom *libvirt.Domain) (driver.Found, error) {
	f, _, err := d.read(dom)
	return f, err
}

// read is observe, with what the domain needs of another host.
func (d *Driver) read(dom *libvirt.Domain) (driver.Found, needs, error) {
	text, err := dom.GetXMLDesc(libvirt.DOMAIN_XML_SECURE)
	if isCode(err, libvirt.ERR_NO_DOMAIN) {
		return driver.Found{}, needs{}, driver.ErrNotFound
	}
	if err != nil {
		return driver.Found{}, needs{}, err
	}
	uuid, err := dom.GetUUIDString() // known without asking
	if err != nil {
		return driver.Found{}, needs{}, err
	}
	def, err := d.defs.read(uuid, text)
	if err != nil {
		return driver.Found{}, needs{}, err
	}
	d.mu.Lock()
	d.managed(&def)
	d.seen[def.id()] = def
	mounts := d.survey.mounts
	d.mu.Unlock()
	n := def.needs(d.cfg, mounts) // it looks at images, whose storage may hang
	d.mu.Lock()
	n = d.explained(n)
	n.Overhead = d.overheads.of(def.UUID, d.cfg.Overhead)
	d.mu.Unlock()
	d.show(def)
	f := driver.Found{Spec: def.spec(n.Overhead), BootID: bootID()}
	f.Spec.Settings["needs"] = n.text()
	if def.Journey.To == d.cfg.Host {
		f.Token = def.Journey.Token
	}
	if f.State, err = d.state(dom, def); err != nil {
		return driver.Found{}, needs{}, err
	}
	if f.State == driver.Off {
		if def.Journey.Active {
			f.Token = fleet.Token{} // it arrived, ran and was shut down: nothing is unfinished
		}
		return f, n, nil
	}
	p, err := findProcess(d.cfg.PIDs, def.Name, def.UUID)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return f, n, nil // it is starting or ending right now
		}
		return driver.Found{}, needs{}, err
	}
	f.PID, f.StartTime = p.PID, p.Start
	return f, n, nil
}

// show tells an operator once what is known of a domain, and again when it has
// changed.
func (d *Driver) show(def definition) {
	disks := strings.Join(def.diskList(d.cfg.Policy, d.locks), "; ")
	key := "seen " + def.UUID + " " + def.ManagedBy + " " + disks
	d.mu.Lock()
	told := d.told[key]
	d.told[key] = true
	d.mu.Unlock()
	if !told {
		d.log.Info("domain observed", "workload", string(def.id()), "managed_by", def.ManagedBy, "disks", disks)
	}
}

// managed adds what a definition does not show of its manager; d.mu is held.
func (d *Driver) managed(def *definition) {
	if def.ManagedBy == "" && d.peers.manages(def.Name) {
		def.ManagedBy = "Pacemaker"
	}
}

func (d *Driver) state(dom *libvirt.Domain, def definition) (driver.State, error) {
	state, reason, err := dom.GetState()
	if isCode(err, libvirt.ERR_NO_DOMAIN) {
		return "", driver.ErrNotFound
	}
	if err != nil {
		return "", err
	}
	arrived := def.Journey.To == d.cfg.Host && !def.Journey.Active
	switch state {
	case libvirt.DOMAIN_SHUTOFF, libvirt.DOMAIN_CRASHED, libvirt.DOMAIN_NOSTATE:
		return driver.Off, nil
	case libvirt.DOMAIN_PAUSED:
		switch libvirt.DomainPausedReason(reason) {
		case libvirt.DOMAIN_PAUSED_MIGRATION, libvirt.DOMAIN_PAUSED_STARTING_UP, libvirt.DOMAIN_PAUSED_POSTCOPY:
			if arrived {
				return driver.Incoming, nil
			}
			return d.job(dom, driver.Frozen)
		}
		if arrived {
			return d.job(dom, driver.Whole)
		}
		return d.job(dom, driver.Frozen)
	}
	// Only of a domain that a move of ours has marked it matters whether a job
	// is under way; of every other the question is not asked, for a QEMU that
	// hangs would hold up the inventory of the whole host.
	if def.Journey.Token.IsZero() || def.Journey.To == d.cfg.Host && def.Journey.Active {
		return driver.Running, nil
	}
	return d.job(dom, driver.Running)
}

// job returns rest unless a migration is under way.
func (d *Driver) job(dom *libvirt.Domain, rest driver.State) (driver.State, error) {
	info, err := dom.GetJobStats(0)
	switch {
	case isCode(err, libvirt.ERR_OPERATION_INVALID, libvirt.ERR_NO_SUPPORT):
		return rest, nil // not running (any more), so no job
	case isCode(err, libvirt.ERR_NO_DOMAIN):
		return "", driver.ErrNotFound
	case isCode(err, libvirt.ERR_OPERATION_UNSUPPORTED):
		return driver.Incoming, nil // the job is one that only its source tells of
	case err != nil:
		return "", err
	case info.Type == libvirt.DOMAIN_JOB_NONE || info.Type == libvirt.DOMAIN_JOB_COMPLETED:
		return rest, nil
	case info.OperationSet && info.Operation == libvirt.DOMAIN_JOB_OPERATION_MIGRATION_IN:
		return driver.Incoming, nil
	case info.OperationSet && info.Operation == libvirt.DOMAIN_JOB_OPERATION_MIGRATION_OUT:
		return driver.Sending, nil
	case rest == driver.Running || rest == driver.Frozen:
		return rest, nil
	}
	return driver.Incoming, nil
}
