//go:build lab

package lab_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

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
		{"live", (*bench).live}, {"cut", (*bench).cuts}, {"kill-agents", (*bench).kills},
		{"kill-libvirtd", (*bench).libvirtds}, {"abort", (*bench).aborts}, {"power", (*bench).power},
	} {
		t.Run(s.name, func(t *testing.T) { s.run(&bench{t, b.Lab, b.ctx, b.binary}, g) })
		if t.Failed() {
			return // the lab is not in a known state any more
		}
	}
}

// live moves the guest to and fro; its memory is checked after every move.
func (b *bench) live(g lab.Guest) {
	for i := range min(rounds(3), 5) {
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
	for i := range rounds(3) {
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
		order := ""
		for _, k := range rand.Perm(len(b.Hosts)) {
			h := b.Hosts[k]
			b.must(h.Boot(b.ctx))
			b.must(h.StartAgent())
			order += h.Name + " "
		}
		b.must(b.AwaitAgents(b.ctx))
		on := b.settled(g)
		b.answers(g, ready)
		if on, err := b.runsOn(g); err != nil {
			b.Fatalf("after a while: %v (%v)", err, on)
		}
		flag, err := b.virsh(on, "dominfo", g.Name)
		b.must(err)
		if !strings.Contains(strings.Join(strings.Fields(flag), " "), "Autostart: enable") {
			b.Fatalf("autostart was lost on the way:\n%s", flag)
		}
		b.Logf("power %d: %s to %s under way, booted %s; runs on %s", i, from.Name, to.Name, order, on.Name)
	}
}
