//go:build lab

package lab_test

import (
	"cmp"
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

func newBench(t *testing.T) *bench {
	return newBenchOf(t, lab.Config{Name: cmp.Or(os.Getenv("PLACED_LAB_NAME"), "test")})
}

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
	b.must(l.PrepareAgents(ctx, b.agents(nil)))
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

// soak says whether this is a run whose promises are judged strictly. The short
// forms also run on machines that are busy with everything else: there a promise
// is a figure, and only its fourfold a failure.
var soak = os.Getenv("PLACED_LAB_ROUNDS") != ""

// promise is the limit of what a user was promised.
func promise(limit time.Duration) time.Duration {
	if soak {
		return limit
	}
	return 4 * limit
}

// ready is for waits that are no promise: nothing is measured, a slow machine may
// take it.
const ready = 2 * time.Minute

// until polls with a deadline; a failure comes with what the agents say.
func (b *bench) until(limit time.Duration, what string, ok func() error) time.Duration {
	b.Helper()
	began := time.Now()
	for {
		err := ok()
		if err == nil {
			return time.Since(began)
		}
		if time.Since(began) > limit {
			b.tell()
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
		ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
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
	ctx, cancel := context.WithTimeout(b.ctx, 20*time.Second)
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
func (b *bench) settled(g lab.Guest) *lab.Host {
	b.Helper()
	var on *lab.Host
	b.until(ready, "guest "+g.Name+" settled", func() error {
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

// sendOff asks for a move and returns when its copy has begun. A move may be given
// up before its first byte, for a reason that the agents say; then it is asked
// for again, as an operator would.
func (b *bench) sendOff(g lab.Guest, to *lab.Host) {
	b.Helper()
	b.must(b.move(g, to))
	b.until(ready, "the copy has begun", func() error {
		if b.state(to, g) != "" {
			return nil
		}
		_, open, err := b.booked(g)
		switch {
		case err != nil:
			return err
		case len(open) > 0:
			return fmt.Errorf("nothing at %s, lease %s is %s", to.Name, open[0].ID, open[0].State)
		case b.state(to, g) != "":
			return nil
		}
		b.Logf("the move to %s was given up before it had begun, it is asked for again: %s", to.Name, b.lastMove(g))
		return b.move(g, to)
	})
}

// lastMove is what the agents say of the guest's newest move.
func (b *bench) lastMove(g lab.Guest) string {
	c, err := b.Hosts[0].API()
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	list, _, err := c.Migrations(b.ctx, 20, api.QueryOptions{})
	for _, m := range list {
		if m.Workload == g.Name {
			return m.Phase + ": " + m.Reason
		}
	}
	return fmt.Sprintf("no move is known: %v", err)
}

// paused waits until the move has stopped the guest at its source: libvirtd
// writes it into a file of its own. It returns at once when the move is over.
func (b *bench) paused(h *lab.Host, g lab.Guest) {
	file := h.Path("/run/libvirt/qemu/" + g.Name + ".xml")
	look := time.Now().Add(5 * time.Second)
	for end := time.Now().Add(ready); time.Now().Before(end); time.Sleep(time.Millisecond) {
		text, err := os.ReadFile(file)
		if err != nil {
			return // it has gone already
		}
		head, _, _ := strings.Cut(string(text), "<domain ")
		if strings.Contains(head, "state='paused'") {
			return
		}
		if time.Now().After(look) {
			if _, open, err := b.booked(g); err == nil && len(open) == 0 {
				return
			}
			look = time.Now().Add(time.Second)
		}
	}
}

// healed and restarted are the promises: a guest answers again, from one host,
// within 30 s of the heal of a cut, and within 5 s of the return of an agent.
const (
	healed    = 30 * time.Second
	restarted = 5 * time.Second
)

// answers waits until the guest answers and its memory is whole.
func (b *bench) answers(g lab.Guest, limit time.Duration) time.Duration {
	b.Helper()
	took := b.until(limit, "guest "+g.Name+" answers", func() error {
		_, err := b.AskOnce(b.ctx, g, "stats")
		return err
	})
	if err := b.Check(b.ctx, g); err != nil {
		b.tell()
		b.Fatal(err)
	}
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
