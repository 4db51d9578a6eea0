package migrator

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/placed-dev/placed/cutover"
	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

const mib = 1 << 20

// TestMove: a workload that writes all the time moves, and moves back.
func TestMove(t *testing.T) {
	t.Parallel()
	n := newNet(t, 8*mib+100) // the last page is not a whole one
	stop := n.write(2*mib, 20)
	defer stop()
	lease := n.books.grant(workload, "h1", "h2")
	source := n.hosts["h1"].now()
	if err := source.m.Migrate(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	if where := n.settles(lease.ID, time.Minute); where != "h2" {
		t.Fatalf("it runs on %s", where)
	}
	p := source.m.Progress()
	if len(p) != 1 || p[0].Phase != fleet.PhaseDone || len(p[0].Rounds) < 1 || p[0].Downtime != 5*time.Millisecond || p[0].Tracker != "bitmap" || p[0].Ended.IsZero() {
		t.Fatalf("progress %+v", p)
	}
	t.Logf("rounds %d, %d of %d bytes on the wire, whole move %s", len(p[0].Rounds), p[0].Wire, p[0].Total, p[0].Ended.Sub(p[0].Started))
	until(t, 30*time.Second, func() string {
		return differ(source, cutover.Released) + differ(n.hosts["h2"].now(), cutover.Activated)
	})
	if err := source.m.MayStart(workload, lease.Token); err == nil {
		t.Error("the source may start what it has given away")
	}
	until(t, 30*time.Second, func() string { // until then a second call joins the first
		if source.m.Migrate(t.Context(), lease) == nil {
			return "the same lease is accepted again"
		}
		return ""
	})
}

func differ(l *life, want cutover.Word) string {
	if r, _ := l.m.Record(workload); r.Word != want {
		return fmt.Sprintf("host %s said %s, want %s; ", l.host.id, r.Word, want)
	}
	return ""
}

// TestRefused: whatever the destination does not like, the source runs on, the
// lease ends and nothing stays behind.
func TestRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(*testNet, *fleet.Lease)
		want  string
		early bool // refused before the lease begins
	}{
		"no room": {spoil: func(n *testNet, _ *fleet.Lease) { n.hosts["h2"].room = errors.New("wants 8 MiB, 1 MiB is free") }, want: "has no room: wants 8 MiB"},
		"blocked": {spoil: func(n *testNet, _ *fleet.Lease) {
			n.hosts["h1"].blockers = []driver.Blocker{{Reason: "it holds a device", Remedy: "detach it"}}
		}, want: "it holds a device (detach it)", early: true},
		"unreachable": {spoil: func(n *testNet, _ *fleet.Lease) { n.setCut(true) }, want: "cannot be reached"},
		"stored token is newer": {spoil: func(n *testNet, l *fleet.Lease) {
			newer := l.Token
			newer.Index += 5
			if err := n.hosts["h2"].now().m.tokens.Put(Record{Workload: workload, Token: newer, Word: cutover.Refused, Lease: "L999", Peer: "h1", Driver: "test"}); err != nil {
				n.t.Error(err)
			}
		}, want: "token is not newer"},
		"registered after the grant": {spoil: func(n *testNet, _ *fleet.Lease) {
			n.books.mu.Lock()
			defer n.books.mu.Unlock()
			h := n.books.hosts["h2"]
			h.Registered = 10_000
			n.books.hosts["h2"] = h
		}, want: "older than this host's registration"},
		"there already": {spoil: func(n *testNet, _ *fleet.Lease) {
			m := n.hosts["h2"].machine
			m.mu.Lock()
			defer m.mu.Unlock()
			m.has[workload] = newRegion(driver.Spec{ID: workload, Driver: "test", Size: 5}, fleet.Token{}, driver.Stopped)
		}, want: "already holds workload"},
		"not a lease of this source": {spoil: func(_ *testNet, l *fleet.Lease) { l.Source = "h9" }, want: "not the source", early: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNet(t, mib)
			lease := n.books.grant(workload, "h1", "h2")
			c.spoil(n, &lease)
			err := n.hosts["h1"].now().m.Migrate(t.Context(), lease)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want one with %q", err, c.want)
			}
			if state := n.hosts["h1"].machine.state(workload); state != driver.Running {
				t.Fatalf("the source's copy is %q", state)
			}
			if c.early {
				if s := n.books.lease(lease.ID).State; s != fleet.Granted {
					t.Errorf("the lease is %s", s)
				}
				return
			}
			want := fleet.Aborted
			until(t, 30*time.Second, func() string {
				if l := n.books.lease(lease.ID); l.State != want || name != "stored token is newer" && !l.Discarded {
					return fmt.Sprintf("lease %s, discarded %v", l.State, l.Discarded)
				}
				return ""
			})
		})
	}
}

// TestMidCopy: what happens before the freeze leaves the source running.
func TestMidCopy(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(*testNet, fleet.Lease)
		want  string
	}{
		"lease expires": {func(n *testNet, l fleet.Lease) { n.books.expire(l.ID) }, ""},
		"network cut":   {func(n *testNet, _ fleet.Lease) { n.setCut(true) }, ""},
		"agent stops":   {func(n *testNet, _ fleet.Lease) { n.hosts["h1"].now().stop() }, "stopping"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNet(t, mib)
			// Hold the copy at its second round, so that the fault falls
			// between two rounds for sure.
			reached, goOn := make(chan struct{}), make(chan struct{})
			var once sync.Once
			stop := n.write(mib, 50)
			defer stop()
			source := n.hosts["h1"].now()
			source.m.cfg.TargetDowntime = time.Nanosecond
			source.m.board.notify = func(p fleet.Progress) {
				if len(p.Rounds) == 1 {
					once.Do(func() { close(reached); <-goOn })
				}
			}
			source.m.board.every = 0
			lease := n.books.grant(workload, "h1", "h2")
			result := make(chan error, 1)
			go func() { result <- source.m.Migrate(context.Background(), lease) }()
			<-reached
			c.spoil(n, lease)
			close(goOn)
			err := <-result
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want one with %q", err, c.want)
			}
			n.setCut(false)
			if name == "agent stops" {
				source.wg.Wait()
				source.kill()
				n.hosts["h1"].rise()
			}
			if where := n.settles(lease.ID, time.Minute); where != "h1" {
				t.Fatalf("it runs on %s", where)
			}
		})
	}
}

// TestWorkloadDies in the middle of a copy: the lease ends, the destination holds
// nothing.
func TestWorkloadDies(t *testing.T) {
	t.Parallel()
	n := newNet(t, 4*mib)
	n.hosts["h1"].machine.has[workload].dieAt = 5
	lease := n.books.grant(workload, "h1", "h2")
	err := n.hosts["h1"].now().m.Migrate(t.Context(), lease)
	if err == nil || !strings.Contains(err.Error(), "the process has ended") {
		t.Fatal(err)
	}
	until(t, 30*time.Second, func() string {
		l := n.books.lease(lease.ID)
		if l.State == fleet.Aborted && l.Discarded && n.hosts["h2"].machine.state(workload) == "" {
			return ""
		}
		return fmt.Sprintf("lease %s, discarded %v", l.State, l.Discarded)
	})
}

// TestTrackingLost: changes that were forgotten are found by looking at
// everything again, in a round and inside the frozen window.
func TestTrackingLost(t *testing.T) {
	t.Parallel()
	for _, shadow := range []int64{1, 1 << 30} {
		for at := 2; at <= 4; at++ {
			t.Run(fmt.Sprintf("call %d, shadow up to %d", at, shadow), func(t *testing.T) {
				t.Parallel()
				n := newNet(t, mib)
				n.hosts["h1"].machine.has[workload].lose = at
				n.hosts["h1"].now().m.cfg.ShadowLimit = shadow
				stop := n.write(mib, 30)
				defer stop()
				lease := n.books.grant(workload, "h1", "h2")
				if err := n.hosts["h1"].now().m.Migrate(t.Context(), lease); err != nil {
					t.Fatal(err)
				}
				n.settles(lease.ID, time.Minute)
			})
		}
	}
}

// TestJoin: a second call for the same lease waits for the first, another lease
// is turned away.
func TestJoin(t *testing.T) {
	t.Parallel()
	n := newNet(t, 2*mib)
	lease := n.books.grant(workload, "h1", "h2")
	source := n.hosts["h1"].now()
	entered, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	source.m.board.notify = func(fleet.Progress) { once.Do(func() { close(entered); <-goOn }) }
	results := make(chan error, 2)
	go func() { results <- source.m.Migrate(context.Background(), lease) }()
	<-entered
	other := lease
	other.ID = "L7"
	if err := source.m.Migrate(t.Context(), other); !errors.Is(err, ErrBusy) {
		t.Errorf("another lease: %v", err)
	}
	expired, cancel := context.WithCancel(t.Context())
	cancel()
	if err := source.m.Migrate(expired, lease); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that gives up waiting: %v", err)
	}
	go func() { results <- source.m.Migrate(context.Background(), lease) }()
	close(goOn)
	for range 2 {
		// The late one may come after the end: then it is told so.
		if err := <-results; err != nil && !errors.Is(err, ErrStaleToken) && !errors.Is(err, driver.ErrNotFound) {
			t.Error(err)
		}
	}
	n.settles(lease.ID, time.Minute)
}

// BenchmarkMove moves 64 MiB over loopback TCP while 4 MiB of it are hot, with
// books that answer at once: what is left of the gap is the protocol's own.
func BenchmarkMove(b *testing.B) {
	const size = 64 * mib
	var gap time.Duration
	var wire int64
	b.SetBytes(size)
	for b.Loop() {
		b.StopTimer()
		n := newNet(b, size)
		n.blind = true
		stop := n.write(4*mib, 5)
		lease := n.books.grant(workload, "h1", "h2")
		b.StartTimer()
		if err := n.hosts["h1"].now().m.Migrate(b.Context(), lease); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		stop()
		gap += n.gap
		wire += n.hosts["h1"].now().m.Progress()[0].Wire
		n.settles(lease.ID, time.Minute)
		b.StartTimer()
	}
	b.ReportMetric(float64(gap.Microseconds())/1000/float64(b.N), "gap-ms/op")
	b.ReportMetric(float64(wire)/float64(b.N)/mib, "wire-MiB/op")
}
