//go:build lab

package lab_test

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/placed-dev/placed/lab"
)

// TestFigures measures what docs/moving.md shows: the gap that a client sees,
// moved by placed and by plain virsh in turn, in the same lab.
func TestFigures(t *testing.T) {
	b := newBench(t)
	n := rounds(2)
	g := lab.Guest{Name: "measured", N: 21, Rate: 10 << 20}
	b.must(b.Boot(b.ctx, b.Hosts[0], g))
	b.settled(g)
	var ours []time.Duration
	for range n {
		from := b.settled(g)
		to := b.other(from)
		w := b.watch(g)
		b.must(b.move(g, to))
		b.arrives(g, to)
		s := b.seen(w, "ours")
		ours = append(ours, s.Gap)
		b.Logf("placed: gap %s", s.Gap.Round(time.Millisecond))
		b.must(b.Check(b.ctx, g))
	}
	b.settled(g)
	for _, h := range b.Hosts {
		b.must(h.StopAgent(b.ctx))
	}
	var plain []time.Duration
	for range n {
		from, err := b.runsOn(g)
		b.must(err)
		to := b.other(from)
		w := b.watch(g)
		b.must(b.plainMove(g, from, to))
		b.arrives(g, to)
		s := b.seen(w, "virsh")
		plain = append(plain, s.Gap)
		b.Logf("virsh: gap %s", s.Gap.Round(time.Millisecond))
		b.must(b.Check(b.ctx, g))
	}
	a, p := median(ours), median(plain)
	b.Logf("median gap of %d: placed %s, virsh migrate --live --p2p %s, ratio %.2f", n, a.Round(time.Millisecond), p.Round(time.Millisecond), float64(a)/float64(p))
}

// arrives waits until the guest runs at its destination and answers there.
func (b *bench) arrives(g lab.Guest, to *lab.Host) {
	b.Helper()
	b.until(ready, "arrival at "+to.Name, func() error {
		on, err := b.runsOn(g)
		if err == nil && on != to {
			err = fmt.Errorf("still on %s", on.Name)
		}
		return err
	})
	b.answers(g, ready)
}

func (b *bench) plainMove(g lab.Guest, from, to *lab.Host) error {
	out, err := exec.CommandContext(b.ctx, "virsh", "-q", "-c", from.URI(), "migrate", "--live", "--p2p", "--persistent", "--undefinesource",
		g.Name, "qemu+tcp://"+to.Address+"/system", "tcp://"+to.Address).CombinedOutput()
	if err != nil {
		return fmt.Errorf("virsh migrate: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

func median(d []time.Duration) time.Duration {
	d = slices.Clone(d)
	slices.Sort(d)
	return d[len(d)/2]
}

// TestEndless moves a guest that writes faster than the way carries, which plain
// libvirt never ends: by the policy it is aborted at its deadline and stays, or is
// slowed down until it arrives.
func TestEndless(t *testing.T) {
	b := newBenchOf(t, lab.Config{Name: "endless", Hosts: 2})
	g := lab.Guest{Name: "writer", N: 61, Rate: 60 << 20}
	b.must(b.Boot(b.ctx, b.Hosts[0], g))
	for _, c := range []struct {
		name    string
		options map[string]string
	}{
		{"abort", map[string]string{"bandwidth": "15MiB", "deadline": "40s"}},
		{"auto-converge", map[string]string{"bandwidth": "15MiB", "deadline": "4m", "auto_converge": "true"}},
	} {
		for _, h := range b.Hosts {
			b.must(h.StopAgent(b.ctx))
		}
		b.must(b.PrepareAgents(b.ctx, lab.AgentConfig{Binary: b.binary, Memory: "4GiB", Cores: 16, Options: c.options}))
		b.must(b.StartAgents(b.ctx))
		from := b.settled(g)
		to := b.other(from)
		w := b.watch(g)
		b.must(b.move(g, to))
		began := time.Now()
		b.until(5*time.Minute, "the end of the move", func() error {
			_, open, err := b.booked(g)
			if err == nil && (len(open) > 0 || time.Since(began) < 5*time.Second) {
				err = fmt.Errorf("a lease is open")
			}
			return err
		})
		took := time.Since(began)
		on := b.settled(g)
		b.must(b.Check(b.ctx, g))
		s := b.seen(w, c.name)
		b.Logf("%s: %s, the guest is on %s (was on %s), longest silence %s", c.name, took.Round(time.Second), on.Name, from.Name, s.Gap.Round(time.Millisecond))
	}
}

// TestAgentCost measures what an agent takes from a host with twelve guests.
func TestAgentCost(t *testing.T) {
	b := newBenchOf(t, lab.Config{Name: "cost", Hosts: 1})
	h := b.Hosts[0]
	const guests = 12
	for i := range guests {
		b.must(b.Boot(b.ctx, h, lab.Guest{Name: fmt.Sprintf("guest%d", i), N: 31 + i, WorkingSet: 4 << 20}))
	}
	last := lab.Guest{Name: fmt.Sprintf("guest%d", guests-1)}
	b.until(ready, "all are booked", func() error {
		_, _, err := b.booked(last)
		return err
	})
	pids, err := h.Pids("agent --config")
	b.must(err)
	if len(pids) != 1 {
		b.Fatalf("agents %v", pids)
	}
	const span = 60 * time.Second
	before, began := cpuOf(b, pids[0]), time.Now()
	time.Sleep(span) // what is measured
	share := float64(cpuOf(b, pids[0])-before) / float64(time.Since(began)) * 100
	b.Logf("agent with %d guests, sampling every 2 s: %.2f %% of a core, %d MiB resident; extrapolated to 60 guests and sampling every 5 s: %.2f %%",
		guests, share, residentOf(b, pids[0])>>20, share/guests*60*2/5)
}

// cpuOf is the CPU time of a process so far.
func cpuOf(b *bench, pid int) time.Duration {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	b.must(err)
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	ticks := 0
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		b.must(err)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

func residentOf(b *bench, pid int) int64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	b.must(err)
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	b.must(err)
	return pages * int64(os.Getpagesize())
}
