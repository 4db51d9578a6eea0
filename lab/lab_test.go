//go:build lab

package lab_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/lab"
)

func TestLab(t *testing.T) {
	b := newBench(t)
	g := lab.Guest{Name: "roamer", N: 11, Rate: 10 << 20, Autostart: true}
	b.must(b.Boot(b.ctx, b.Hosts[0], g))
	b.until(ready, "the guest is booked", func() error {
		_, _, err := b.booked(g)
		return err
	})
	b.settled(g)
	for _, s := range []struct {
		name string
		run  func(*bench, lab.Guest)
	}{
		{"inventory", (*bench).inventory}, {"live", (*bench).live}, {"drain", (*bench).drain}, {"disks", (*bench).disks},
		{"hung", (*bench).hung}, {"cut", (*bench).cuts}, {"kill-agents", (*bench).kills},
		{"kill-libvirtd", (*bench).libvirtds}, {"abort", (*bench).aborts}, {"native", (*bench).native}, {"guard", (*bench).guard}, {"foreign", (*bench).foreign},
		{"power", (*bench).power},
	} {
		t.Run(s.name, func(t *testing.T) { s.run(&bench{t, b.Lab, b.ctx, b.binary}, g) })
		if t.Failed() {
			return // the lab is not in a known state any more
		}
	}
}

// live moves the guest to and fro; its memory is checked after every move.
func (b *bench) live(g lab.Guest) {
	for i := range min(rounds(1), 5) {
		from := b.settled(g)
		to := b.other(from)
		w := b.watch(g)
		b.must(b.move(g, to))
		b.until(ready, "arrival", func() error {
			on, err := b.runsOn(g)
			if err == nil && on != to {
				err = fmt.Errorf("still on %s", on.Name)
			}
			return err
		})
		b.answers(g, ready)
		s := b.seen(w, "live")
		b.Logf("live %d: %s to %s, gap seen from outside %s", i, from.Name, to.Name, s.Gap.Round(time.Millisecond))
		if last := s.Stays[len(s.Stays)-1].Host; last != to.Name {
			b.Fatalf("the prober sees the guest on %s, it should be on %s", last, to.Name)
		}
		b.settled(g)
	}
}

// cuts is the split-brain row: the hosts lose each other at a random point of the
// last phase, for longer than every keepalive, and the guest has no disk whose
// lock could save it.
func (b *bench) cuts(g lab.Guest) {
	for i := range rounds(2) {
		from := b.settled(g)
		to := b.other(from)
		w := b.watch(g)
		b.sendOff(g, to)
		b.paused(from, g)
		at := lastPhase()
		time.Sleep(at) // the point of the fault, not a wait for something
		victim := []*lab.Host{from, to}[rand.IntN(2)]
		b.must(victim.Cut(b.ctx))
		time.Sleep(6*time.Second + jitter(2*time.Second)) // the length of the cut
		b.must(victim.Heal(b.ctx))
		took := b.answers(g, promise(healed))
		on := b.settled(g)
		s := b.seen(w, "cut")
		b.Logf("cut %d: %s to %s, %s cut off %s after the stop; answers %s after the heal from %s, gap %s",
			i, from.Name, to.Name, victim.Name, at.Round(time.Millisecond), took.Round(time.Millisecond), on.Name, s.Gap.Round(time.Millisecond))
	}
}

// kills ends agents with SIGKILL at random points of a move.
func (b *bench) kills(g lab.Guest) {
	for i := range rounds(1) * 3 {
		from := b.settled(g)
		to := b.other(from)
		w := b.watch(g)
		b.must(b.move(g, to))
		if rand.IntN(3) > 0 {
			b.paused(from, g)
			time.Sleep(lastPhase()) // the point of the fault
		} else {
			time.Sleep(jitter(3 * time.Second)) // the point of the fault
		}
		victims := [][]*lab.Host{{from}, {to}, {from, to}}[i%3]
		names := ""
		for _, v := range victims {
			b.must(v.KillAgent())
			names += v.Name + " "
		}
		time.Sleep(jitter(3 * time.Second)) // how long they are away
		for _, v := range victims {
			b.must(v.StartAgent())
		}
		b.must(b.AwaitAgents(b.ctx))
		took := b.answers(g, promise(restarted))
		on := b.settled(g)
		s := b.seen(w, "kill")
		b.Logf("kill %d: %s to %s, agents of %skilled; answers %s after their return from %s, gap %s",
			i, from.Name, to.Name, names, took.Round(time.Millisecond), on.Name, s.Gap.Round(time.Millisecond))
	}
}

// libvirtds ends libvirtd of either end with SIGKILL; QEMU lives on.
func (b *bench) libvirtds(g lab.Guest) {
	for i := range rounds(1) * 2 {
		from := b.settled(g)
		to := b.other(from)
		w := b.watch(g)
		b.sendOff(g, to)
		b.paused(from, g)
		time.Sleep(lastPhase()) // the point of the fault
		victims := [][]*lab.Host{{from}, {to}, {from, to}}[i%3]
		names := ""
		for _, v := range victims {
			b.must(v.KillLibvirtd())
			names += v.Name + " "
		}
		for _, v := range victims {
			b.must(v.StartLibvirtd(b.ctx))
		}
		took := b.answers(g, promise(healed))
		on := b.settled(g)
		s := b.seen(w, "libvirtd")
		b.Logf("libvirtd %d: %s to %s, killed on %s; answers %s after from %s, gap %s",
			i, from.Name, to.Name, names, took.Round(time.Millisecond), on.Name, s.Gap.Round(time.Millisecond))
	}
}

// aborts stops the source's agent in the middle of the copy: the move ends and
// the guest stays.
func (b *bench) aborts(g lab.Guest) {
	from := b.settled(g)
	to := b.other(from)
	w := b.watch(g)
	b.sendOff(g, to)
	b.must(from.StopAgent(b.ctx))
	b.must(from.StartAgent())
	b.must(b.AwaitAgents(b.ctx))
	b.answers(g, promise(restarted))
	on := b.settled(g)
	b.seen(w, "abort")
	b.Logf("abort: %s to %s, runs on %s", from.Name, to.Name, on.Name)
}

// power cuts every host's power at a random point of a move and boots them in a
// random order. The guest starts again, on one host, because it wants autostart:
// libvirtd must not have two that do, and the agents must not forget the flag.
func (b *bench) power(g lab.Guest) {
	for i := range (rounds(2) + 3) / 4 {
		from := b.settled(g)
		to := b.other(from)
		b.must(b.move(g, to))
		if rand.IntN(2) == 0 {
			b.paused(from, g)
			time.Sleep(lastPhase()) // the point of the fault
		} else {
			time.Sleep(jitter(5 * time.Second)) // the point of the fault
		}
		var off errgroup.Group
		for _, h := range b.Hosts {
			off.Go(func() error { return h.PowerCut(b.ctx) })
		}
		b.must(off.Wait())
		// A guest that starts anew counts its answers anew: two of them give
		// themselves away as two halves of one do.
		w := b.watch(g)
		order := ""
		for _, k := range rand.Perm(len(b.Hosts)) {
			h := b.Hosts[k]
			b.must(h.Boot(b.ctx))
			b.must(h.StartAgent())
			order += h.Name + " "
		}
		b.must(b.AwaitAgents(b.ctx))
		took := b.answers(g, ready)
		on := b.settled(g)
		b.answers(g, ready)
		if on, err := b.runsOn(g); err != nil {
			b.Fatalf("after a while: %v (%v)", err, on)
		}
		s := b.seen(w, "power")
		flag, err := b.virsh(on, "dominfo", g.Name)
		b.must(err)
		if !strings.Contains(strings.Join(strings.Fields(flag), " "), "Autostart: enable") {
			b.Fatalf("autostart was lost on the way:\n%s", flag)
		}
		b.Logf("power %d: %s to %s under way, booted %s; answers %s after the agents' return from %s, gap %s", i, from.Name, to.Name, order,
			took.Round(time.Millisecond), on.Name, max(s.Gap, time.Duration(s.Stays[0].FromMS*float64(time.Millisecond))).Round(time.Millisecond))
	}
}

// hung stops a guest's QEMU, as a dead storage does: the agent goes on reporting
// its host and moving its other guests, and nothing is decided about the stopped
// one, which goes on when it can.
func (b *bench) hung(g lab.Guest) {
	from := b.settled(g)
	h := lab.Guest{Name: "hung", N: 45, WorkingSet: 4 << 20}
	b.must(b.Boot(b.ctx, from, h))
	b.booksHave(h)
	stopped, err := from.Signal("guest="+h.Name+",", unix.SIGSTOP)
	b.must(err)
	if stopped != 1 {
		b.Fatalf("%d processes of guest %s", stopped, h.Name)
	}
	began, blind := time.Now(), b.complaints(from)
	for range 3 { // reports come every 2 s
		b.reports(from, time.Now())
	}
	reported := time.Since(began)
	b.sendOff(g, b.other(from))
	b.until(ready, "the other guest has left", func() error {
		on, err := b.runsOn(g)
		if err == nil && on == from {
			err = fmt.Errorf("still on %s", on.Name)
		}
		return err
	})
	b.answers(g, ready)
	b.settled(g)
	if state := b.state(from, h); state != "running" {
		b.Fatalf("guest %s, whose QEMU stands still, is %q", h.Name, state)
	}
	if n := b.complaints(from); n != blind {
		b.Fatalf("one QEMU that stands still has blinded the agent of %s", from.Name)
	}
	_, err = from.Signal("guest="+h.Name+",", unix.SIGCONT)
	b.must(err)
	b.answers(h, ready)
	b.end(h)
	b.Logf("hung: three reports of %s in %s while a QEMU stood still, its other guest moved", from.Name, reported.Round(100*time.Millisecond))
}

// complaints counts how often the host's agent could not observe its domains.
func (b *bench) complaints(h *lab.Host) int {
	b.Helper()
	text, err := os.ReadFile(h.Path("/agent.log"))
	b.must(err)
	return strings.Count(string(text), "driver cannot be observed")
}

// reports waits for a report of the host that is newer than a moment.
func (b *bench) reports(h *lab.Host, after time.Time) {
	b.Helper()
	b.until(ready, "host "+h.Name+" reports", func() error {
		return b.any(func(c *lab.Client) error {
			s, _, err := c.Host(b.ctx, h.Name, api.QueryOptions{})
			if err == nil && !s.Reported.After(after) {
				err = fmt.Errorf("its last report is of %s", s.Reported)
			}
			return err
		})
	})
}
