//go:build cgo && libvirt_dlopen

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	libvirt "libvirt.org/go/libvirt"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

// door is an expected arrival: what may come in, and under which token.
type door struct {
	token fleet.Token
	dir   string
	name  string // of the domain
	uuid  string
	needs needs
	// stirred receives when libvirt has spoken of it.
	stirred chan struct{}
}

// Expect makes the entrance. A domain of that name or UUID must not be here.
func (d *Driver) Expect(ctx context.Context, spec driver.Spec, token fleet.Token) error {
	if _, err := d.Look(ctx, spec.ID); !errors.Is(err, driver.ErrNotFound) {
		return wrap(spec.ID, "expect", errors.Join(err, errors.New("a domain of that name is defined here: undefine or rename it")))
	}
	if err := d.suits(ctx, spec); err != nil {
		return wrap(spec.ID, "take over", err)
	}
	at := &door{stirred: make(chan struct{}, 1), token: token, dir: d.socketDir(spec.ID, token), name: spec.Settings["domain"], uuid: spec.Settings["uuid"]}
	if n, known, err := readNeeds(spec); err == nil && known {
		at.needs = n
	}
	if err := os.RemoveAll(at.dir); err != nil {
		return wrap(spec.ID, "expect", err)
	}
	if err := os.MkdirAll(at.dir, 0o700); err != nil {
		return wrap(spec.ID, "expect", err)
	}
	// From here on the next one who is expected finds this one's memory taken.
	if why := d.admit(spec.ID, at); why != "" {
		return wrap(spec.ID, "take over", errors.Join(errors.New(why), os.RemoveAll(at.dir)))
	}
	err := d.makeImages(ctx, spec, token)
	if err != nil {
		err = wrap(spec.ID, "take over", err)
	} else {
		err = wrap(spec.ID, "expect", putGuard(admittedFile(d.cfg.Dir, spec.ID, token), token))
	}
	if err != nil {
		d.Shut(spec.ID, token)
	}
	return err
}

// admit opens the door if the NUMA cells have the memory now. What others who are
// expected will take is taken off, until their QEMU has started and has it.
func (d *Driver) admit(id fleet.WorkloadID, at *door) string {
	pools, err := Pools(d.nodes)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil && len(pools) > 0 { // else a kernel without NUMA; the machine as a whole is checked by whoever admits
		var expected [][]pageNeed
		for other, o := range d.doors {
			if other == id {
				continue
			}
			if _, err := findProcess(d.cfg.PIDs, o.name, o.uuid); err != nil {
				expected = append(expected, o.needs.Pages)
			}
		}
		if why := room(pools, expected, at.needs.Pages); why != "" {
			return why
		}
	}
	d.doors[id] = at
	d.overheads.begin(at.uuid, at.needs.Overhead)
	return ""
}

// Enter connects to a channel of an expected arrival.
func (d *Driver) Enter(ctx context.Context, id fleet.WorkloadID, token fleet.Token, channel string) (net.Conn, error) {
	d.mu.Lock()
	at := d.doors[id]
	d.mu.Unlock()
	if at == nil || at.token != token {
		return nil, wrap(id, "let in", fmt.Errorf("nothing is expected here under token %s", token))
	}
	path := d.cfg.Socket
	switch channel {
	case channelControl:
	case channelMemory, channelDisks:
		path = filepath.Join(at.dir, channel)
	default:
		return nil, wrap(id, "let in", fmt.Errorf("channel %.20q is unknown", channel))
	}
	// QEMU opens its socket a moment before the source is told to connect.
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
		if err == nil || channel == channelControl || ctx.Err() != nil {
			return conn, wrap(id, "let in", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Shut closes the entrance.
func (d *Driver) Shut(id fleet.WorkloadID, token fleet.Token) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if at := d.doors[id]; at != nil && at.token == token {
		delete(d.doors, id)
		_ = os.RemoveAll(at.dir)
	}
	if err := dropGuard(admittedFile(d.cfg.Dir, id, token)); err != nil {
		d.log.Warn("an admitted token stays in the guard's table", "workload", string(id), "error", err)
	}
}

// arrived calls f with a domain that came under the token; anything else of that
// name is not touched.
func (d *Driver) arrived(ctx context.Context, id fleet.WorkloadID, token fleet.Token, f func(*libvirt.Domain, definition) error) error {
	return d.with(ctx, id, func(dom *libvirt.Domain) error {
		text, err := dom.GetXMLDesc(0)
		if err != nil {
			return err
		}
		def, err := readDefinition(text)
		if err != nil {
			return err
		}
		if def.Journey.Token != token || def.Journey.To != d.cfg.Host {
			return fmt.Errorf("the domain here did not come under token %s (its metadata says %s to host %s): left alone", token, def.Journey.Token, def.Journey.To)
		}
		return f(dom, def)
	})
}

// Activate makes what arrived run. It is marked first: once it may have run it is
// never taken for a copy that has not.
func (d *Driver) Activate(ctx context.Context, id fleet.WorkloadID, token fleet.Token) (f driver.Found, err error) {
	err = d.arrived(ctx, id, token, func(dom *libvirt.Domain, def definition) error {
		persistent, err := dom.IsPersistent()
		if err != nil {
			return err
		}
		state, _, err := dom.GetState()
		if err != nil {
			return err
		}
		if err := dropGuard(elsewhereFile(d.cfg.Dir, def.UUID)); err != nil {
			return err
		}
		j := def.Journey
		j.Active = true
		mark := func() error { return setJourney(dom, j, persistent) }
		switch state {
		case libvirt.DOMAIN_SHUTOFF:
			// The power went between the source's end and this start.
			if err := dom.Create(); err != nil {
				return err
			}
			err = mark()
		case libvirt.DOMAIN_PAUSED:
			if err = mark(); err == nil {
				err = dom.Resume()
			}
		}
		if err != nil {
			return err
		}
		if j.Autostart && persistent {
			if err := dom.SetAutostart(true); err != nil {
				return err
			}
		}
		f, err = d.observe(dom)
		return err
	})
	if err == nil {
		d.Shut(id, token)
		err = d.cfg.keepArrival(id)
		d.tellLater(d.guest(id))
	}
	return f, wrap(id, "activate", err)
}

// guest is what is looked at after a move of the domain.
func (d *Driver) guest(id fleet.WorkloadID) arrivedGuest {
	d.mu.Lock()
	defer d.mu.Unlock()
	def := d.seen[id]
	return arrivedGuest{Workload: id, Cards: def.Cards, Agent: def.Agent, Notice: def.Wishes.policy(d.cfg.Policy).Notice > 0}
}

// Discard ends what arrived and never ran, with the definition that came along.
func (d *Driver) Discard(ctx context.Context, id fleet.WorkloadID, token fleet.Token) error {
	d.Shut(id, token)
	err := d.arrived(ctx, id, token, func(dom *libvirt.Domain, def definition) error {
		state, _, err := dom.GetState()
		if err != nil {
			return err
		}
		if def.Journey.Active || state == libvirt.DOMAIN_RUNNING {
			return errors.New("it was made to run here: only a copy that never ran is ended")
		}
		if state != libvirt.DOMAIN_SHUTOFF {
			if err := dom.Destroy(); err != nil && !isCode(err, libvirt.ERR_NO_DOMAIN, libvirt.ERR_OPERATION_INVALID) {
				return err
			}
		}
		persistent, err := dom.IsPersistent()
		if err != nil || !persistent {
			return ignoreGone(err)
		}
		return ignoreGone(dom.UndefineFlags(libvirt.DOMAIN_UNDEFINE_KEEP_NVRAM))
	})
	if err = ignoreGone(err); err == nil || errors.Is(err, driver.ErrNotFound) {
		err = d.cfg.dropArrival(id, token)
	}
	return wrap(id, "discard", err)
}

func ignoreGone(err error) error {
	if isCode(err, libvirt.ERR_NO_DOMAIN) {
		return nil
	}
	return err
}

// dropGuard removes one file of the guard's table.
func dropGuard(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("guard table: %w", err)
	}
	return nil
}
