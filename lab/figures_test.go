//go:build lab

package lab_test

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/placed-dev/placed/lab"
)

// TestFigures measures what docs/moving.md shows: the gap that a client sees of two
// equal guests in the same lab, one moved by placed and the other by plain virsh, in
// turn, so that whatever else the machine does is in the way of both; once for each
// way that the bytes may take.
func TestFigures(t *testing.T) {
	b := newBenchOf(t, lab.Config{Name: "figures"})
	n := rounds(2)
	const leave = `<placed:wishes xmlns:placed="https://placed.dev/xmlns/libvirt/wishes/1" move="no"/>`
	ours := lab.Guest{Name: "ours", N: 21, Rate: 10 << 20}
	theirs := lab.Guest{Name: "theirs", N: 22, Rate: 10 << 20, Metadata: leave}
	for _, g := range []lab.Guest{ours, theirs} {
		b.must(b.Boot(b.ctx, b.Hosts[0], g))
		b.booksHave(g)
	}
	for _, way := range ways {
		if way.options != nil {
			b.configure(way.options)
		}
		gaps := map[string][]time.Duration{}
		for range n {
			for _, g := range []lab.Guest{ours, theirs} {
				gaps[g.Name] = append(gaps[g.Name], b.gap(g, g.Name == ours.Name))
			}
		}
		a, p, exit := median(gaps[ours.Name]), median(gaps[theirs.Name]), median(b.exits(ours))
		b.Logf("median gap of %d by %s: placed %s, virsh migrate --live --p2p (tcp) in the same run %s, ratio %.2f; without the end of the source's QEMU, which placed waits for (median %s), %.2f; all of placed %v; all of virsh %v", n, way.name,
			a.Round(time.Millisecond), p.Round(time.Millisecond), float64(a)/float64(p), exit.Round(time.Millisecond), float64(a-exit)/float64(p), rounded(gaps[ours.Name]), rounded(gaps[theirs.Name]))
	}
}

var exited = regexp.MustCompile(`ending what stands still: workload=(\S+) took=(\S+) error=<nil>`)

// exits are the times that the guest's QEMUs took to exit after the destination had
// said Prepared, by the logs of the agents that run now.
func (b *bench) exits(g lab.Guest) (out []time.Duration) {
	b.Helper()
	for _, h := range b.Hosts {
		text, err := os.ReadFile(h.Path("/agent.log"))
		b.must(err)
		since := max(strings.LastIndex(string(text), "agent runs"), 0)
		for _, m := range exited.FindAllStringSubmatch(string(text)[since:], -1) {
			took, err := time.ParseDuration(m[2])
			b.must(err)
			if m[1] == g.Name {
				out = append(out, took)
			}
		}
	}
	if len(out) == 0 {
		b.Fatal("no agent's log says how long a QEMU took to exit")
	}
	return out
}

// ways are how the bytes of a move may travel.
var ways = []struct {
	name    string
	options map[string]string
}{{"the agents' port", nil}, {"native tcp", map[string]string{"native": "tcp"}}, {"native tls", map[string]string{"native": "tls"}}}

// gap moves a guest once and returns the longest silence that a client saw.
func (b *bench) gap(g lab.Guest, ours bool) time.Duration {
	b.Helper()
	if ours {
		b.settled(g)
	}
	from, err := b.runsOn(g)
	b.must(err)
	to := b.other(from)
	w := b.watch(g)
	if ours {
		// The guest that virsh moves is where the books do not expect it, for a while.
		b.until(ready, "the move is granted", func() error { return b.move(g, to) })
		// Nothing is asked meanwhile, as virsh asks nothing: on a small machine the
		// questions would be part of what is measured.
		time.Sleep(2 * time.Second)
	} else {
		b.must(b.plainMove(g, from, to))
	}
	b.arrives(g, to)
	s := b.seen(w, g.Name)
	b.Logf("%s: gap %s", g.Name, s.Gap.Round(time.Millisecond))
	return s.Gap
}

func rounded(d []time.Duration) (out []time.Duration) {
	for _, x := range d {
		out = append(out, x.Round(time.Millisecond))
	}
	return out
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
// libvirt never ends: by the policy it is aborted at its deadline and stays, is stopped
// there until the rest has arrived, or is slowed down until it arrives. What the guest has really written is told beside it:
// an emulated one on a busy machine may not reach its rate.
func TestEndless(t *testing.T) {
	b := newBenchOf(t, lab.Config{Name: "endless", Hosts: 2})
	g := lab.Guest{Name: "writer", N: 61, Rate: 60 << 20}
	b.must(b.Boot(b.ctx, b.Hosts[0], g))
	for _, c := range []struct {
		name     string
		deadline time.Duration
		options  map[string]string
	}{
		{"abort", 30 * time.Second, map[string]string{"bandwidth": "15MiB", "max_downtime": "300ms"}},
		{"stop", 30 * time.Second, map[string]string{"bandwidth": "15MiB", "max_downtime": "300ms", "at_deadline": "stop"}},
		{"auto-converge", 4 * time.Minute, map[string]string{"bandwidth": "15MiB", "auto_converge": "true"}},
		{"more-bandwidth", 4 * time.Minute, map[string]string{"bandwidth": "15MiB", "max_bandwidth": "240MiB"}},
	} {
		c.options["deadline"] = c.deadline.String()
		b.configure(c.options)
		b.endless(g, c.name, c.deadline)
	}
}

// abortTime is how long an aborted job may take to end, beside its deadline.
const abortTime = 15 * time.Second

func (b *bench) endless(g lab.Guest, name string, deadline time.Duration) {
	from := b.settled(g)
	to := b.other(from)
	w := b.watch(g)
	before, began := b.written(g), time.Now()
	b.sendOff(g, to)
	at := time.Now()
	took := b.until(promise(deadline+abortTime), "the end of the move", func() error {
		_, open, err := b.booked(g)
		if err == nil && len(open) > 0 {
			err = fmt.Errorf("lease %s is %s", open[0].ID, open[0].State)
		}
		return err
	})
	on := b.settled(g)
	rate := float64(b.written(g)-before) / time.Since(began).Seconds()
	b.must(b.Check(b.ctx, g))
	s := b.seen(w, name)
	if name == "stop" && on != to {
		b.Fatalf("the guest was to be stopped at the deadline until the rest had arrived, and is on %s", on.Name)
	}
	result := "it was aborted and stays"
	if on != from {
		result = "it has arrived"
	}
	b.Logf("%s: deadline %s: %s after %s on %s; the guest wrote %.0f MB/s on average; copy began after %s, longest silence %s", name, deadline, result,
		took.Round(time.Second), on.Name, rate/1e6, at.Sub(began).Round(100*time.Millisecond), s.Gap.Round(time.Millisecond))
}

// written asks the guest how many bytes it has written so far.
func (b *bench) written(g lab.Guest) int64 {
	b.Helper()
	answer, err := b.Ask(b.ctx, g, "stats")
	b.must(err)
	for _, word := range strings.Fields(answer) {
		if number, ok := strings.CutPrefix(word, "written="); ok {
			n, err := strconv.ParseInt(number, 10, 64)
			b.must(err)
			return n
		}
	}
	b.Fatalf("guest %s answers %q", g.Name, answer)
	return 0
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
	b.Logf("agent with %d guests, sampling every 2 s: %.2f %% of a core, %d MiB of memory of its own and %d MiB of its program's file; extrapolated to 60 guests and sampling every 5 s: %.2f %%",
		guests, share, residentOf(b, pids[0], "RssAnon:")>>20, residentOf(b, pids[0], "RssFile:")>>20, share/guests*60*2/5)
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

// residentOf is what a process has in memory, in bytes: what it has made ("RssAnon:"),
// or what of files it has touched ("RssFile:"), which the kernel takes back when it
// needs the room.
func residentOf(b *bench, pid int, kind string) int64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	b.must(err)
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == kind {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			b.must(err)
			return kib << 10
		}
	}
	b.Fatalf("process %d has no %s", pid, kind)
	return 0
}
