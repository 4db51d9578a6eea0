//go:build lab

package lab_test

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/lab"
)

// Work that nothing disturbs: what is listed, disks that travel or are shared, and a
// host that is emptied.

// any calls f with a client of any agent that answers.
func (b *bench) any(f func(*lab.Client) error) (err error) {
	for _, h := range b.Hosts {
		var c *lab.Client
		if c, err = h.API(); err != nil {
			return err
		}
		err = f(c)
		c.Close()
		if err == nil {
			return nil
		}
	}
	return err
}

// inventory: the books have what libvirt has, and the host reports what the guest
// uses.
func (b *bench) inventory(g lab.Guest) {
	on := b.settled(g)
	b.until(ready, "guest "+g.Name+" is reported", func() error {
		return b.any(func(c *lab.Client) error {
			w, _, err := c.Workload(b.ctx, g.Name, api.QueryOptions{})
			switch {
			case err != nil:
				return err
			case w.Driver != "libvirt" || cores(w.Reservation.CPU) != 1 || bytes(w.Reservation.Memory) < memory:
				b.Fatalf("it is in the books as %+v", w)
			case cores(w.Usage.CPU) <= 0 || bytes(w.Usage.Memory) < 32<<20:
				return fmt.Errorf("it uses %v cores and %d MiB", cores(w.Usage.CPU), bytes(w.Usage.Memory)>>20)
			case bytes(w.Usage.Net) < 0:
				return errors.New("libvirt's counters of its traffic have not been read twice")
			}
			b.Logf("inventory: %s on %s, reserved %v cores and %d MiB, uses %.2f cores, %d MiB, %d B/s net, %d B/s disk", g.Name, on.Name,
				cores(w.Reservation.CPU), bytes(w.Reservation.Memory)>>20, cores(w.Usage.CPU), bytes(w.Usage.Memory)>>20, bytes(w.Usage.Net), bytes(w.Usage.Disk))
			return nil
		})
	})
}

// memory is what a lab's guest has at least, in bytes.
const memory = 128 << 20

// cores and bytes read an amount of the API, where null is unknown.
func cores(v *float64) float64 {
	if v == nil {
		return -1
	}
	return *v
}

func bytes(v *int64) int64 {
	if v == nil {
		return -1
	}
	return *v
}

// disks moves a guest with a disk to and fro: on storage that the hosts share, with
// its disk, and with its overlay alone. It writes all the while, and reads every
// block back after every move.
func (b *bench) disks(lab.Guest) {
	const private = "/var/lib/libvirt/images/"
	guests := []lab.Guest{
		{Name: "shared", N: 41, Disk: b.Shared() + "/shared.qcow2"},
		{Name: "copied", N: 42, Disk: private + "copied.qcow2", Metadata: wish("copy")},
		{Name: "overlay", N: 43, Disk: private + "overlay.qcow2", Base: private + "base.qcow2", Metadata: wish("copy-inc")},
	}
	for i, g := range guests {
		g.Rate, g.WorkingSet = 1<<20, 8<<20
		guests[i] = g
	}
	b.boot(guests, func(i int) *lab.Host { return b.Hosts[i%len(b.Hosts)] })
	for _, g := range guests {
		moves := 1
		switch {
		case soak:
			moves = 10 // five times there and back
		case g.Name == "copied":
			moves = 2 // what a disk has left behind is in its own way
		}
		back := b.settled(g)
		for i := range moves {
			from := b.settled(g)
			to := back
			if from == back {
				to = b.other(from)
			}
			w := b.watch(g)
			b.sendOff(g, to)
			b.arrives(g, to)
			s := b.seen(w, "disks")
			b.Logf("%s disk %d: %s to %s, gap seen from outside %s", g.Name, i, from.Name, to.Name, s.Gap.Round(time.Millisecond))
		}
		b.end(g)
	}
}

// wish is the operator's word on one domain's storage.
func wish(storage string) string {
	return `<placed:wishes xmlns:placed="https://placed.dev/xmlns/libvirt/wishes/1" storage="` + storage + `"/>`
}

// boot boots guests at the same time, and returns when all of them are booked.
func (b *bench) boot(guests []lab.Guest, where func(i int) *lab.Host) {
	b.Helper()
	var group errgroup.Group
	for i, g := range guests {
		group.Go(func() error { return b.Boot(b.ctx, where(i), g) })
	}
	b.must(group.Wait())
	for _, g := range guests {
		b.booksHave(g)
	}
}

// booksHave waits until the guest is known.
func (b *bench) booksHave(g lab.Guest) {
	b.Helper()
	b.until(ready, "guest "+g.Name+" is booked", func() error {
		_, _, err := b.booked(g)
		return err
	})
}

// end shuts a guest down as its operator would.
func (b *bench) end(g lab.Guest) {
	b.Helper()
	on, err := b.runsOn(g)
	b.must(err)
	for _, command := range []string{"destroy", "undefine"} {
		_, err = b.virsh(on, command, g.Name)
		b.must(err)
	}
}

// drain empties a host with four guests; it is drained when it says so itself.
func (b *bench) drain(lab.Guest) {
	host := b.Hosts[0]
	var guests []lab.Guest
	for i := range 4 {
		guests = append(guests, lab.Guest{Name: fmt.Sprintf("leaver%d", i), N: 51 + i, WorkingSet: 4 << 20, Rate: 256 << 10})
	}
	b.boot(guests, func(int) *lab.Host { return host })
	began := time.Now()
	b.must(b.any(func(c *lab.Client) error {
		_, err := c.Drain(b.ctx, host.Name, false, "test")
		return err
	}))
	b.until(2*ready, "host "+host.Name+" is drained", func() error {
		return b.any(func(c *lab.Client) error {
			h, _, err := c.Host(b.ctx, host.Name, api.QueryOptions{})
			if err == nil && h.Drain != "drained" {
				err = fmt.Errorf("it is %q", h.Drain)
			}
			return err
		})
	})
	took := time.Since(began)
	var to []string
	for _, g := range guests {
		on := b.settled(g)
		if on == host {
			b.Fatalf("guest %s is still on the drained host", g.Name)
		}
		b.must(b.Check(b.ctx, g))
		to = append(to, on.Name)
		b.end(g)
	}
	slices.Sort(to)
	b.must(b.any(func(c *lab.Client) error {
		_, err := c.Undrain(b.ctx, host.Name, "test")
		return err
	}))
	b.Logf("drain: %d guests left %s for %v in %s", len(guests), host.Name, to, took.Round(100*time.Millisecond))
}
