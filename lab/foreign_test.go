//go:build lab

package lab_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/lab"
)

// What others do with the same domains: the guard on a host, moves and starts behind
// the agents' back.

// guardHook is libvirt's hook as docs/moving.md shows it, for one host of the lab.
func (b *bench) guardHook(h *lab.Host) string {
	return fmt.Sprintf("#!/bin/sh\nexec %s guard --dir %s \"$@\"\n", b.binary, h.Path("/data/libvirt"))
}

// withGuard runs f while every host's libvirtd asks the guard: it looks for hooks
// once, when it starts. Guests live on meanwhile.
func (b *bench) withGuard(f func()) {
	b.Helper()
	restart := func() {
		for _, h := range b.Hosts {
			b.must(h.KillLibvirtd())
			b.must(h.StartLibvirtd(b.ctx))
		}
	}
	for _, h := range b.Hosts {
		path := h.Path("/etc/libvirt/hooks/qemu")
		b.must(os.MkdirAll(filepath.Dir(path), 0o755))
		b.must(os.WriteFile(path, []byte(b.guardHook(h)), 0o755))
	}
	restart()
	defer func() {
		for _, h := range b.Hosts {
			b.must(os.Remove(h.Path("/etc/libvirt/hooks/qemu")))
		}
		restart()
	}()
	f()
}

// guard: a domain that was given away is not started here again, nothing comes in
// under a token that was not admitted, a move of ours does, and a libvirtd that
// starts again keeps its guests.
func (b *bench) guard(g lab.Guest) {
	from := b.settled(g)
	b.withGuard(func() {
		if on := b.settled(g); on != from {
			b.Fatalf("the guest was on %s, after libvirtd's restart it is on %s", from.Name, on.Name)
		}
		to := b.other(from)
		b.sendOff(g, to)
		b.arrives(g, to)
		b.settled(g)

		b.defineCopy(g, to, from)
		_, err := b.virsh(from, "start", g.Name)
		b.refused(err, "was given to host")
		_, err = b.virsh(from, "undefine", g.Name)
		b.must(err)

		// Its metadata carries the token of the move before, which no third host has
		// admitted.
		third := b.Hosts[slices.IndexFunc(b.Hosts, func(h *lab.Host) bool { return h != from && h != to })]
		b.refused(b.plainMove(g, to, third), "has not admitted")

		before := b.qemu(to, g)
		b.must(to.KillLibvirtd())
		b.must(to.StartLibvirtd(b.ctx))
		if on := b.settled(g); on != to || b.qemu(to, g) != before {
			b.Fatalf("libvirtd's restart under the guard: guest on %s, process %d, was %d", on.Name, b.qemu(to, g), before)
		}
		b.answers(g, ready)
	})
	b.settled(g)
	b.Logf("guard: start on the host that had given it away, and a move without an admitted token, refused; a move of ours and two restarts of libvirtd passed")
}

// refused fails unless the guard's words are in the error.
func (b *bench) refused(err error, words string) {
	b.Helper()
	if err == nil || !strings.Contains(err.Error(), "placed: domain") || !strings.Contains(err.Error(), words) {
		b.Fatalf("%v; want the guard to say %q", err, words)
	}
}

// defineCopy defines the guest, as it is on one host, on another one as well.
func (b *bench) defineCopy(g lab.Guest, from, to *lab.Host) {
	b.Helper()
	text, err := b.virsh(from, "dumpxml", "--inactive", g.Name)
	b.must(err)
	file := to.Path("/copy.xml")
	b.must(os.WriteFile(file, []byte(text), 0o644))
	_, err = b.virsh(to, "define", file)
	b.must(err)
}

// qemu is the guest's process.
func (b *bench) qemu(h *lab.Host, g lab.Guest) int {
	b.Helper()
	pids, err := h.Pids("guest=" + g.Name + ",")
	b.must(err)
	if len(pids) != 1 {
		b.Fatalf("processes %v of guest %s on %s", pids, g.Name, h.Name)
	}
	return pids[0]
}

// foreign: an operator moves a guest with virsh, and starts one. Both are in the books
// soon, the moved one rests, and nothing is corrected. A second guest of a name that
// is taken is disputed and left alone.
func (b *bench) foreign(g lab.Guest) {
	from := b.settled(g)
	to := b.other(from)
	started := lab.Guest{Name: "started", N: 47, WorkingSet: 4 << 20}
	b.must(b.Boot(b.ctx, from, started)) // "by hand": the agents are not asked
	w := b.watch(g)
	b.must(b.plainMove(g, from, to))
	_, err := b.virsh(to, "autostart", g.Name) // which virsh does not carry along
	b.must(err)
	b.arrives(g, to)
	took := b.until(ready, "the books follow", func() error {
		return b.any(func(c *lab.Client) error {
			have, _, err := c.Workload(b.ctx, g.Name, api.QueryOptions{})
			if err == nil && have.Owner != to.UUID() {
				err = fmt.Errorf("they give it to %s", have.Owner)
			}
			if err == nil && !have.CooldownUntil.After(time.Now()) {
				err = fmt.Errorf("it does not rest: cool-down until %s", have.CooldownUntil)
			}
			return err
		})
	})
	b.event("workload.found", g.Name)
	b.booksHave(started)
	b.event("workload.registered", started.Name)
	if on := b.settled(g); on != to {
		b.Fatalf("it was moved to %s by hand, and is on %s", to.Name, on.Name)
	}
	b.seen(w, "foreign")
	if soak {
		b.disputed(started, to)
	}
	b.end(started)
	// It is ours again as soon as it is known: a move of ours goes on from there.
	back := b.other(to)
	b.sendOff(g, back)
	b.arrives(g, back)
	b.settled(g)
	b.Logf("foreign: moved by virsh from %s to %s, in the books after %s; a start by virsh is in the books",
		from.Name, to.Name, took.Round(100*time.Millisecond))
}

// disputed starts another domain of a name that is taken.
func (b *bench) disputed(g lab.Guest, on *lab.Host) {
	b.Helper()
	other := g
	other.N++
	b.must(b.Boot(b.ctx, on, other))
	b.event("workload.disputed", g.Name)
	for _, x := range []lab.Guest{g, other} {
		b.answers(x, ready)
	}
	for _, command := range []string{"destroy", "undefine"} {
		_, err := b.virsh(on, command, g.Name)
		b.must(err)
	}
	b.event("workload.undisputed", g.Name)
	b.Logf("disputed: a second guest of the name %s on %s is told of, and both are left alone", g.Name, on.Name)
}

// errFound ends a stream of events.
var errFound = errors.New("found")

// event waits until the books tell of it.
func (b *bench) event(kind, workload string) {
	b.Helper()
	b.until(ready, "event "+kind+" of "+workload, func() error {
		return b.any(func(c *lab.Client) error {
			ctx, cancel := context.WithTimeout(b.ctx, 2*time.Second)
			defer cancel()
			err := c.Events(ctx, api.StreamOptions{After: &api.Cursor{}}, func(e api.Event) error {
				if e.Type == kind && e.Workload == workload {
					return errFound
				}
				return nil
			})
			if errors.Is(err, errFound) {
				return nil
			}
			return fmt.Errorf("not told of: %w", err)
		})
	})
}
