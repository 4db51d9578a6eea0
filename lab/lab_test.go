//go:build lab

package lab_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/lab"
)

// TestMain is also the prober's process.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "probe" {
		if err := lab.ProbeMain(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// rounds is how often each fault is provoked: a few times in a normal run, as
// PLACED_LAB_ROUNDS says in a soak.
func rounds(few int) int {
	if n, err := strconv.Atoi(os.Getenv("PLACED_LAB_ROUNDS")); err == nil && n > 0 {
		return n
	}
	return few
}

// bench is a lab with agents and what the tests need around it.
type bench struct {
	*testing.T
	*lab.Lab
	ctx    context.Context
	binary string // of placed
}

func newBench(t *testing.T) *bench { return newBenchOf(t, lab.Config{Name: "test"}) }

func newBenchOf(t *testing.T, cfg lab.Config) *bench {
	t.Helper()
	if why := lab.Missing(); why != "" {
		t.Skip(why)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	l, err := lab.Up(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t, l, ctx, binary(t)}
	t.Cleanup(func() {
		if t.Failed() {
			b.keepLogs()
		}
		if err := l.Down(context.Background()); err != nil {
			t.Error(err)
		}
	})
	b.must(l.PrepareAgents(ctx, lab.AgentConfig{Binary: b.binary, Memory: "4GiB", Cores: 16}))
	b.must(l.StartAgents(ctx))
	return b
}

// binary is a placed with the libvirt driver.
func binary(t *testing.T) string {
	if path := os.Getenv("PLACED_BIN"); path != "" {
		return path
	}
	path := filepath.Join(t.TempDir(), "placed")
	out, err := exec.Command("go", "build", "-tags", "libvirt_dlopen", "-o", path, "github.com/placed-dev/placed/cmd/placed").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// keepLogs saves what a failure leaves behind, where $PLACED_LAB_LOGS says.
func (b *bench) keepLogs() {
	to := os.Getenv("PLACED_LAB_LOGS")
	if to == "" {
		return
	}
	for _, h := range b.Hosts {
		for _, name := range []string{"agent", "libvirtd"} {
			text, _ := os.ReadFile(h.Path("/" + name + ".log"))
			_ = os.WriteFile(filepath.Join(to, h.Name+"."+name+".log"), text, 0o644)
		}
	}
}

// until polls with a deadline.
func (b *bench) until(limit time.Duration, what string, ok func() error) time.Duration {
	b.Helper()
	began := time.Now()
	for {
		err := ok()
		if err == nil {
			return time.Since(began)
		}
		if time.Since(began) > limit {
			b.Fatalf("%s: not within %s: %v", what, limit, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// virsh runs virsh against one host.
func (b *bench) virsh(h *lab.Host, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(b.ctx, 60*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "virsh", append([]string{"-q", "-c", h.URI()}, args...)...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("virsh %s on %s: %w: %s", strings.Join(args, " "), h.Name, err, out)
	}
	return strings.TrimSpace(string(out)), err
}

// state is the libvirt state of a guest on a host, "" when it is not there.
func (b *bench) state(h *lab.Host, g lab.Guest) string {
	s, err := b.virsh(h, "domstate", g.Name)
	if err != nil {
		return ""
	}
	return s
}

// runsOn returns the one host on which the guest runs.
func (b *bench) runsOn(g lab.Guest) (*lab.Host, error) {
	var on []*lab.Host
	var seen []string
	for _, h := range b.Hosts {
		s := b.state(h, g)
		if s != "" {
			seen = append(seen, h.Name+" "+s)
		}
		if s == "running" {
			on = append(on, h)
		}
	}
	if len(on) != 1 {
		return nil, fmt.Errorf("guest %s runs on %d hosts: %v", g.Name, len(on), seen)
	}
	return on[0], nil
}

// move asks the cluster, through any agent that answers.
func (b *bench) move(g lab.Guest, to *lab.Host) error {
	// After a fault the cluster first has to see its hosts alive again.
	last := b.AwaitAgents(b.ctx)
	if last != nil {
		return last
	}
	for _, h := range b.Hosts {
		c, err := h.API()
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(b.ctx, 20*time.Second)
		_, last = c.Move(ctx, api.MoveRequest{Workload: g.Name, DestinationHost: to.Name, Reason: "test"})
		cancel()
		c.Close()
		if last == nil {
			return nil
		}
	}
	return last
}

// booked returns the owner of the guest in the books and its open leases.
func (b *bench) booked(g lab.Guest) (owner string, open []api.Lease, err error) {
	for _, h := range b.Hosts {
		var c *lab.Client
		if c, err = h.API(); err != nil {
			return "", nil, err
		}
		owner, open, err = b.ask(c, g)
		c.Close()
		if err == nil {
			return owner, open, nil
		}
	}
	return owner, open, err
}

func (b *bench) ask(c *lab.Client, g lab.Guest) (string, []api.Lease, error) {
	ctx, cancel := context.WithTimeout(b.ctx, 5*time.Second)
	defer cancel()
	w, _, err := c.Workload(ctx, g.Name, api.QueryOptions{})
	if err != nil {
		return "", nil, err
	}
	all, _, err := c.Leases(ctx, api.QueryOptions{})
	var open []api.Lease
	for _, l := range all {
		if l.Workload == g.Name && l.Active {
			open = append(open, l)
		}
	}
	return w.Owner, open, err
}

// settled waits until the guest runs on one host, the books say so, and no lease
// is open; it returns that host.
func (b *bench) settled(g lab.Guest, limit time.Duration) *lab.Host {
	b.Helper()
	var on *lab.Host
	b.until(limit, "guest "+g.Name+" settled", func() error {
		h, err := b.runsOn(g)
		if err != nil {
			return err
		}
		owner, open, err := b.booked(g)
		switch {
		case err != nil:
			return err
		case len(open) > 0:
			return fmt.Errorf("lease %s is %s", open[0].ID, open[0].State)
		case owner != h.UUID() && owner != h.Name:
			return fmt.Errorf("the books give it to %s, it runs on %s", owner, h.Name)
		}
		on = h
		return nil
	})
	return on
}

// watch starts a prober.
func (b *bench) watch(g lab.Guest) *lab.Watch {
	b.Helper()
	self, err := os.Executable()
	b.must(err)
	w, err := b.Watch(g, 4*time.Millisecond, self, "probe")
	b.must(err)
	return w
}

// seen stops the prober and fails on a double run.
func (b *bench) seen(w *lab.Watch, what string) lab.Sight {
	b.Helper()
	s, err := w.Stop()
	b.must(err)
	if s.Double > 0 {
		b.Fatalf("%s: DOUBLE RUN: %d answers from a second host; stays %+v", what, s.Double, s.Stays)
	}
	if len(s.Stays) == 0 {
		b.Fatalf("%s: the guest never answered", what)
	}
	return s
}

// other returns a host that is not h.
func (b *bench) other(h *lab.Host) *lab.Host {
	rest := slices.DeleteFunc(slices.Clone(b.Hosts), func(x *lab.Host) bool { return x == h })
	return rest[rand.IntN(len(rest))]
}

// paused waits until the move has stopped the guest at its source: libvirtd
// writes it into a file of its own.
func (b *bench) paused(h *lab.Host, g lab.Guest) bool {
	file := h.Path("/run/libvirt/qemu/" + g.Name + ".xml")
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		text, err := os.ReadFile(file)
		if err != nil {
			return false // it has gone already
		}
		head, _, _ := strings.Cut(string(text), "<domain ")
		if strings.Contains(head, "state='paused'") {
			return true
		}
	}
	return false
}

// heal is the promise after a cut: it answers again, from one host, within 30 s.
const heal = 30 * time.Second

// answers waits until the guest answers and its memory is whole.
func (b *bench) answers(g lab.Guest, limit time.Duration) time.Duration {
	b.Helper()
	took := b.until(limit, "guest "+g.Name+" answers", func() error {
		_, err := b.Ask(b.ctx, g, "stats")
		return err
	})
	b.must(b.Check(b.ctx, g))
	return took
}

// lastPhase is a random point between the stop at the source and some time after
// the resume at the destination, which on a busy machine are two seconds apart;
// the first half second, where most of it happens, comes as often as the rest.
func lastPhase() time.Duration {
	if rand.IntN(2) == 0 {
		return jitter(500 * time.Millisecond)
	}
	return jitter(2 * time.Second)
}

func jitter(limit time.Duration) time.Duration { return time.Duration(rand.Int64N(int64(limit))) }

func TestLab(t *testing.T) {
	b := newBench(t)
	g := lab.Guest{Name: "roamer", N: 11, Rate: 10 << 20, Autostart: true}
	b.must(b.Boot(b.ctx, b.Hosts[0], g))
	b.until(30*time.Second, "the guest is booked", func() error {
		_, _, err := b.booked(g)
		return err
	})
	b.settled(g, time.Minute)
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
		from := b.settled(g, time.Minute)
		to := b.other(from)
		w := b.watch(g)
		b.must(b.move(g, to))
		b.until(time.Minute, "arrival", func() error {
			on, err := b.runsOn(g)
			if err == nil && on != to {
				err = fmt.Errorf("still on %s", on.Name)
			}
			return err
		})
		b.answers(g, heal)
		s := b.seen(w, "live")
		b.Logf("live %d: %s to %s, gap seen from outside %s", i, from.Name, to.Name, s.Gap.Round(time.Millisecond))
		if last := s.Stays[len(s.Stays)-1].Host; last != to.Name {
			b.Fatalf("the prober sees the guest on %s, it should be on %s", last, to.Name)
		}
		b.settled(g, time.Minute)
	}
}

// cuts is the split-brain row: the hosts lose each other at a random point of the
// last phase, for longer than every keepalive, and the guest has no disk whose
// lock could save it.
func (b *bench) cuts(g lab.Guest) {
	for i := range rounds(3) {
		from := b.settled(g, time.Minute)
		to := b.other(from)
		w := b.watch(g)
		b.must(b.move(g, to))
		b.paused(from, g)
		at := lastPhase()
		time.Sleep(at) // the point of the fault, not a wait for something
		victim := []*lab.Host{from, to}[rand.IntN(2)]
		b.must(victim.Cut(b.ctx))
		time.Sleep(6*time.Second + jitter(2*time.Second)) // the length of the cut
		b.must(victim.Heal(b.ctx))
		took := b.answers(g, heal)
		on := b.settled(g, time.Minute)
		s := b.seen(w, "cut")
		b.Logf("cut %d: %s to %s, %s cut off %s after the stop; answers %s after the heal from %s, gap %s",
			i, from.Name, to.Name, victim.Name, at.Round(time.Millisecond), took.Round(time.Millisecond), on.Name, s.Gap.Round(time.Millisecond))
	}
}

// kills ends agents with SIGKILL at random points of a move.
func (b *bench) kills(g lab.Guest) {
	for i := range rounds(1) * 3 {
		from := b.settled(g, time.Minute)
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
		took := b.answers(g, heal)
		on := b.settled(g, time.Minute)
		s := b.seen(w, "kill")
		b.Logf("kill %d: %s to %s, agents of %skilled; answers %s after their return from %s, gap %s",
			i, from.Name, to.Name, names, took.Round(time.Millisecond), on.Name, s.Gap.Round(time.Millisecond))
	}
}

// libvirtds ends libvirtd of either end with SIGKILL; QEMU lives on.
func (b *bench) libvirtds(g lab.Guest) {
	for i := range rounds(1) * 2 {
		from := b.settled(g, time.Minute)
		to := b.other(from)
		w := b.watch(g)
		b.must(b.move(g, to))
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
		took := b.answers(g, heal)
		on := b.settled(g, 2*time.Minute)
		s := b.seen(w, "libvirtd")
		b.Logf("libvirtd %d: %s to %s, killed on %s; answers %s after from %s, gap %s",
			i, from.Name, to.Name, names, took.Round(time.Millisecond), on.Name, s.Gap.Round(time.Millisecond))
	}
}

// aborts stops the source's agent in the middle of the copy: the move ends and
// the guest stays.
func (b *bench) aborts(g lab.Guest) {
	from := b.settled(g, time.Minute)
	to := b.other(from)
	w := b.watch(g)
	b.must(b.move(g, to))
	b.until(10*time.Second, "the copy has begun", func() error {
		if b.state(to, g) == "" {
			return fmt.Errorf("nothing at %s", to.Name)
		}
		return nil
	})
	b.must(from.StopAgent(b.ctx))
	b.must(from.StartAgent())
	b.must(b.AwaitAgents(b.ctx))
	b.answers(g, heal)
	on := b.settled(g, time.Minute)
	b.seen(w, "abort")
	b.Logf("abort: %s to %s, runs on %s", from.Name, to.Name, on.Name)
}

// power cuts every host's power at a random point of a move and boots them in a
// random order. The guest starts again, on one host, because it wants autostart:
// libvirtd must not have two that do, and the agents must not forget the flag.
func (b *bench) power(g lab.Guest) {
	for i := range (rounds(2) + 3) / 4 {
		from := b.settled(g, time.Minute)
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
		on := b.settled(g, 2*time.Minute)
		b.answers(g, time.Minute)
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
