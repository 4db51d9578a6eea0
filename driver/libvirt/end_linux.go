//go:build cgo && libvirt_dlopen

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"time"

	libvirt "libvirt.org/go/libvirt"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

// Finish ends the copy here.
func (d *Driver) Finish(ctx context.Context, id fleet.WorkloadID, token fleet.Token) error {
	n, ok, err := d.cfg.readNote(id)
	if err != nil || !ok || n.Token != token {
		return wrap(id, "end the rest of", errors.Join(err, errors.New("no note says which process it was")))
	}
	d.mu.Lock()
	o := d.outs[id]
	d.mu.Unlock()
	reading := func() map[int]uint64 {
		if o == nil {
			return nil
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		return o.still
	}
	still := reading()
	if o == nil {
		// This life has not seen the move stop it. If libvirtd has no job for
		// it any more, it stands still until somebody resumes it by hand.
		f, err := d.Look(ctx, id)
		if err == nil && f.State == driver.Frozen {
			still, err = cpuTimes(n.Process.PID)
		}
		if err != nil && !errors.Is(err, driver.ErrNotFound) {
			return wrap(id, "end the rest of", err)
		}
	}
	began := time.Now()
	// Mostly libvirtd is about to end it as well; whoever is first.
	for {
		if err = endStill(ctx, n.Process, still); err == nil || time.Since(began) > finishWait || ctx.Err() != nil {
			break
		}
		time.Sleep(2 * time.Millisecond) // a process that ends is only seen by looking
		if o != nil {
			still = reading()
		}
	}
	d.log.Debug("ending what stands still", "workload", string(id), "took", time.Since(began).String(), "error", err)
	return wrap(id, "end the rest of", err)
}

// finishWait bounds how long the end of a stopped process is waited for before it
// is looked at again what libvirtd makes of it.
const finishWait = 3 * time.Second

// Keep lets the workload go on here.
func (d *Driver) Keep(ctx context.Context, id fleet.WorkloadID, token fleet.Token) error {
	n, ok, err := d.cfg.readNote(id)
	if err != nil {
		return wrap(id, "keep", err)
	}
	err = d.with(ctx, id, func(dom *libvirt.Domain) error {
		state, reason, err := dom.GetState()
		if err != nil {
			return err
		}
		// A domain that its operator has suspended stays suspended.
		if state == libvirt.DOMAIN_PAUSED && libvirt.DomainPausedReason(reason) != libvirt.DOMAIN_PAUSED_USER {
			if err := dom.Resume(); err != nil {
				return err
			}
		}
		if state == libvirt.DOMAIN_SHUTOFF && libvirt.DomainShutoffReason(reason) == libvirt.DOMAIN_SHUTOFF_UNKNOWN && ok && n.Autostart {
			if err := dom.Create(); err != nil {
				return err
			}
		}
		if ok && n.Token == token && n.Autostart {
			return dom.SetAutostart(true)
		}
		return nil
	})
	if err != nil {
		return wrap(id, "keep", err)
	}
	if ok && n.Token == token {
		g := d.guest(id)
		g.Stayed = true
		d.tellLater(g)
	}
	return d.cfg.dropNote(id)
}

// Leave removes what is left: a definition that libvirtd kept because the process
// ended before it had finished the move itself.
func (d *Driver) Leave(ctx context.Context, id fleet.WorkloadID, token fleet.Token) error {
	n, ok, err := d.cfg.readNote(id)
	if err == nil && ok && n.Token == token {
		err = putGuard(elsewhereFile(d.cfg.Dir, n.UUID), elsewhere{UUID: n.UUID, Name: n.Name, To: n.To, Token: token, Disks: n.Disks, Left: leftovers(n.Left)})
	}
	if err != nil {
		return wrap(id, "leave", err)
	}
	err = d.with(ctx, id, func(dom *libvirt.Domain) error {
		text, err := dom.GetXMLDesc(libvirt.DOMAIN_XML_INACTIVE)
		if err != nil {
			return err
		}
		def, err := readDefinition(text)
		if err != nil {
			return err
		}
		state, _, err := dom.GetState()
		if err != nil || def.Journey.Token != token || def.Journey.To == d.cfg.Host {
			return err
		}
		if state == libvirt.DOMAIN_PAUSED {
			if err := dom.Destroy(); err != nil {
				return err
			}
		} else if state != libvirt.DOMAIN_SHUTOFF {
			return nil // never a copy that runs
		}
		return dom.UndefineFlags(libvirt.DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.DOMAIN_UNDEFINE_KEEP_NVRAM)
	})
	if err != nil && !errors.Is(err, driver.ErrNotFound) && !isCode(err, libvirt.ERR_NO_DOMAIN) {
		return wrap(id, "leave", err)
	}
	if ok && n.Token == token {
		// Its room is only given back when it is there.
		if err := n.Process.awaitEnd(ctx); err != nil {
			return wrap(id, "leave", fmt.Errorf("its QEMU (process %d) is exiting and has not released its memory yet: %w", n.Process.PID, err))
		}
	}
	return d.cfg.dropNote(id)
}
