package migrator

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

// standing says "" once the copy is kept up to date and has had so many rounds.
func standing(l *life, rounds int) string {
	p := l.m.Progress()
	if len(p) != 1 || p[0].Phase != fleet.PhaseStandby || p[0].Refresh <= 0 || last(p[0]).Round < rounds {
		return fmt.Sprintf("progress %+v", p)
	}
	return ""
}

func last(p fleet.Progress) fleet.Checkpoint {
	if len(p.Rounds) == 0 {
		return fleet.Checkpoint{}
	}
	return p.Rounds[len(p.Rounds)-1]
}

// promoteOnce is a leader that promotes a standby after so many rounds; it gives up
// when the move has ended.
func (n *testNet) promoteOnce(l *life, lease fleet.Lease, rounds int, ended <-chan struct{}) {
	for standing(l, rounds) != "" || !n.books.promote(lease.ID) {
		select {
		case <-ended:
			return
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// begin starts a standby of the workload with quick refreshes.
func (n *testNet) begin(every time.Duration) (*life, fleet.Lease, <-chan error) {
	source := n.hosts["h1"].now()
	source.m.cfg.StandbyShortest, source.m.cfg.StandbyLongest, source.m.cfg.StandbyRest = every, every, 2
	source.m.cfg.Now = func() time.Time { return time.Now().Add(time.Duration(n.jump.Load())) }
	lease := n.books.grantKind(fleet.LeaseStandby, workload, "h1", "h2")
	result := make(chan error, 1)
	go func() { result <- source.m.Migrate(context.Background(), lease) }()
	return source, lease, result
}

// TestStandby: the copy is refreshed for as long as nobody promotes it, round after
// round, while the workload runs on and writes; promoted, it needs no more than what
// was written since the last refresh, and moves.
func TestStandby(t *testing.T) {
	t.Parallel()
	const size, hot = 8 * mib, 256 << 10
	n := newNet(t, size)
	stop := n.write(hot, 20)
	defer stop()
	source, lease, result := n.begin(5 * time.Millisecond)
	until(t, time.Minute, func() string { return standing(source, 12) })
	if a, b := n.hosts["h1"].machine.state(workload), n.hosts["h2"].machine.state(workload); a != driver.Running || b != driver.Incoming {
		t.Fatalf("the source's copy is %q, the destination's %q", a, b)
	}
	// From a clean copy on, what is written by hand is all there is to send.
	stop()
	quiet := last(source.m.Progress()[0]).Round + 1
	until(t, time.Minute, func() string {
		if p := last(source.m.Progress()[0]); p.Round <= quiet || p.Dirty > 0 {
			return fmt.Sprintf("round %+v", p)
		}
		return ""
	})
	before := source.m.Progress()[0]
	const pages = 7
	r := rand.New(rand.NewPCG(5, 6))
	for range pages {
		n.hosts["h1"].machine.mutate(workload, r, size)
	}
	if !n.books.promote(lease.ID) {
		t.Fatal("not promoted")
	}
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	if where := n.settles(lease.ID, time.Minute); where != "h2" {
		t.Fatalf("it runs on %s", where)
	}
	after := source.m.Progress()[0]
	var dirty int64
	for _, round := range after.Rounds {
		if round.Round > last(before).Round {
			dirty += round.Dirty
		} else if round.Round > 1 && round.Dirty > hot {
			t.Errorf("round %+v sends more than the %d bytes that are ever written", round, hot)
		}
	}
	wire := after.Wire - before.Wire
	if dirty > pages*pageSize || wire > 2*pages*pageSize {
		t.Errorf("since the last refresh %d pages were written; %d bytes were dirty and %d sent after it", pages, dirty, wire)
	}
	if after.Phase != fleet.PhaseDone || len(after.Rounds) > keptRounds {
		t.Errorf("phase %s, %d rounds are shown", after.Phase, len(after.Rounds))
	}
	t.Logf("%d rounds; after the promotion %d bytes were dirty and %d of %d sent", last(after).Round, dirty, wire, int64(size))
}

// TestPromotedEarly: a standby that is promoted before its first copy is complete
// goes on as the move that it has become.
func TestPromotedEarly(t *testing.T) {
	t.Parallel()
	n := newNet(t, mib)
	stop := n.write(mib, 10)
	defer stop()
	source := n.hosts["h1"].now()
	reached, goOn := make(chan struct{}), make(chan struct{})
	once := false // the session's goroutine alone
	source.m.board.every = 0
	source.m.board.notify = func(p fleet.Progress) {
		if p.Phase == fleet.PhaseCopying && !once {
			once = true
			close(reached)
			<-goOn
		}
	}
	_, lease, result := n.begin(time.Hour)
	<-reached
	if !n.books.promote(lease.ID) {
		t.Fatal("not promoted")
	}
	close(goOn)
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	if where := n.settles(lease.ID, time.Minute); where != "h2" {
		t.Fatalf("it runs on %s", where)
	}
}

// TestStandbyEnds: whatever ends a standby, the workload runs on at its source and
// the destination gives its copy up.
func TestStandbyEnds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		end  func(*testNet, fleet.Lease)
		want string
	}{
		"cancelled":          {func(n *testNet, l fleet.Lease) { n.books.cancel(l.ID) }, "stays on host"},
		"expires":            {func(n *testNet, l fleet.Lease) { n.books.expire(l.ID) }, "stays on host"},
		"network cut":        {func(n *testNet, _ fleet.Lease) { n.setCut(true) }, "stays on host"},
		"source stops":       {func(n *testNet, _ fleet.Lease) { n.hosts["h1"].now().stop() }, "stopping"},
		"destination stops":  {func(n *testNet, _ fleet.Lease) { n.hosts["h2"].now().stop() }, "stays on host"},
		"source killed":      {func(n *testNet, _ fleet.Lease) { n.hosts["h1"].rise() }, ""},
		"destination killed": {func(n *testNet, _ fleet.Lease) { n.hosts["h2"].rise() }, "stays on host"},
		"workload has ended": {func(n *testNet, _ fleet.Lease) { n.hosts["h1"].machine.die(workload) }, "the process has ended"},
		"not renewed":        {func(n *testNet, _ fleet.Lease) { n.books.setDown(true); n.jump.Store(int64(2 * time.Minute)) }, "not renewed in time"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNet(t, mib)
			stop := n.write(128<<10, 5)
			defer stop()
			source, lease, result := n.begin(5 * time.Millisecond)
			until(t, time.Minute, func() string { return standing(source, 4) })
			c.end(n, lease)
			if err := <-result; err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want one with %q", err, c.want)
			}
			n.setCut(false)
			n.books.setDown(false)
			if strings.HasSuffix(name, "stops") {
				h := n.hosts[map[string]fleet.HostID{"source stops": "h1", "destination stops": "h2"}[name]]
				h.now().wg.Wait()
				h.rise()
			}
			if name == "workload has ended" {
				until(t, time.Minute, func() string {
					if l := n.books.lease(lease.ID); l.State != fleet.Aborted || !l.Discarded || n.hosts["h2"].machine.state(workload) != "" {
						return fmt.Sprintf("lease %s, discarded %v", l.State, l.Discarded)
					}
					return ""
				})
				return
			}
			if where := n.settles(lease.ID, time.Minute); where != "h1" {
				t.Fatalf("it runs on %s", where)
			}
		})
	}
}

// TestStandbyWithoutLeader: while nobody answers for the books a standby stands and
// goes on, for as long as its lease was renewed; a promotion comes when there is a
// leader again.
func TestStandbyWithoutLeader(t *testing.T) {
	t.Parallel()
	n := newNet(t, mib)
	stop := n.write(128<<10, 5)
	defer stop()
	source, lease, result := n.begin(5 * time.Millisecond)
	until(t, time.Minute, func() string { return standing(source, 4) })
	n.books.setDown(true)
	rounds := last(source.m.Progress()[0]).Round
	until(t, time.Minute, func() string { return standing(source, rounds+10) })
	n.books.setDown(false)
	if !n.books.promote(lease.ID) {
		t.Fatal("not promoted")
	}
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	if where := n.settles(lease.ID, time.Minute); where != "h2" {
		t.Fatalf("it runs on %s", where)
	}
}

// TestStandbysAreCountedApart: they do not take the place of moves, nor moves theirs.
func TestStandbysAreCountedApart(t *testing.T) {
	t.Parallel()
	n := newNet(t, mib)
	m := n.hosts["h2"].now().m
	m.cfg.MaxMoves = 1
	admit := func(id fleet.WorkloadID, standby bool) error {
		_, err := m.tryAdmit(id, standby)
		return err
	}
	if err := errors.Join(admit("a", true), admit("b", false)); err != nil {
		t.Fatal(err)
	}
	for _, standby := range []bool{true, false} {
		if err := admit("c", standby); !errors.Is(err, ErrBusy) {
			t.Errorf("one more (standby: %v): %v", standby, err)
		}
	}
	for _, id := range []fleet.WorkloadID{"a", "b"} {
		m.release(id)
		m.wg.Done()
	}
}
