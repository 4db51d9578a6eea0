package migrator

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/placed-dev/placed/cutover"
	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

// effects are the gates that a move passes at each end.
var effects = map[fleet.HostID][]string{
	"h1": {"begin", "renew", "source", "dial", "dirty", "read", "linearizable", "hold", "freeze", "commit", "switch", "discard", "released", "abort", "thaw", "resume"},
	"h2": {"sink", "write", "readback", "prepared", "activate", "adopt", "activated", "discardsink", "discarded"},
}

// proposals are those whose answer can be lost.
var proposals = map[fleet.HostID][]string{
	"h1": {"begin", "commit", "released", "abort"},
	"h2": {"prepared", "activated", "discarded"},
}

// trial is one move with faults planted at either end.
type trial struct {
	name   string
	faults map[fleet.HostID]*fault
	// refuse makes the destination refuse at its digest, so that the ways
	// of giving up are walked too.
	refuse bool
	// standby: it begins as one, and is promoted once its copy was kept up to
	// date for a while.
	standby bool
}

func trials() []trial {
	var out []trial
	add := func(h fleet.HostID, f fault, refuse bool) {
		name := fmt.Sprintf("%s %s", h, f)
		if refuse {
			name += ", move refused"
		}
		out = append(out, trial{name: name, faults: map[fleet.HostID]*fault{h: &f}, refuse: refuse})
	}
	for h, ops := range effects {
		for _, op := range ops {
			for _, before := range []bool{true, false} {
				f := fault{op: op, before: before, nth: 1, kill: true}
				if op == "dirty" || op == "write" {
					f.nth = 6 // the copy stands
				}
				out = append(out, trial{name: fmt.Sprintf("standby, %s %s", h, f), faults: map[fleet.HostID]*fault{h: &f}, standby: true})
			}
		}
	}
	for _, refuse := range []bool{false, true} {
		for h, ops := range effects {
			for _, op := range ops {
				for _, before := range []bool{true, false} {
					for nth := 1; nth <= 3; nth += 2 {
						if op != "dirty" && op != "write" && op != "read" && nth > 1 {
							continue
						}
						add(h, fault{op: op, before: before, nth: nth, kill: true}, refuse)
					}
				}
			}
		}
		for h, ops := range proposals {
			for _, op := range ops {
				for _, before := range []bool{true, false} {
					add(h, fault{op: op, before: before, nth: 1}, refuse)
				}
			}
		}
	}
	// Both ends at once, around the commit.
	for _, a := range []string{"freeze", "commit", "switch", "discard"} {
		for _, b := range []string{"prepared", "activate", "activated"} {
			for _, before := range []bool{true, false} {
				out = append(out, trial{name: fmt.Sprintf("both die, %s and %s, before %v", a, b, before), faults: map[fleet.HostID]*fault{
					"h1": {op: a, before: before, nth: 1, kill: true}, "h2": {op: b, before: !before, nth: 1, kill: true}}})
			}
		}
	}
	return out
}

// TestCrashEverywhere kills the agent of either end before and after each of its
// effects, and loses each answer of the books. After the restart exactly one copy
// runs, with the content that was frozen, within five seconds.
func TestCrashEverywhere(t *testing.T) {
	t.Parallel()
	reached := make(chan string, 1000)
	t.Run("trials", func(t *testing.T) {
		for _, c := range trials() {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				if c.run(t) {
					reached <- c.name
				}
			})
		}
	})
	close(reached)
	struck := 0
	for range reached {
		struck++
	}
	t.Logf("%d of %d faults struck", struck, len(trials()))
	if struck < len(trials())/2 {
		t.Errorf("only %d of %d faults were ever reached: the table has lost touch with the code", struck, len(trials()))
	}
}

func (c trial) run(t *testing.T) (struck bool) {
	n := newNet(t, 256<<10)
	stop := n.write(128<<10, 5)
	defer stop()
	for id, f := range c.faults {
		l := n.hosts[id].now()
		l.mu.Lock()
		f.struck = new(atomic.Bool)
		l.fault = f
		l.mu.Unlock()
	}
	if c.refuse {
		n.hosts["h2"].now().spoilDigest()
	}
	lease := n.books.grantKind(map[bool]fleet.LeaseKind{true: fleet.LeaseStandby}[c.standby], workload, "h1", "h2")
	done := make(chan struct{})
	first := n.hosts["h1"].now()
	if c.standby {
		first.m.cfg.StandbyShortest, first.m.cfg.StandbyLongest, first.m.cfg.StandbyRest = 2*time.Millisecond, 2*time.Millisecond, 2
		go n.promoteOnce(first, lease, 6, done)
	}
	go func() {
		defer close(done)
		_ = first.m.Migrate(context.Background(), lease) // what counts is what is left
	}()
	// A killed agent comes back at once; a dead source also ends the call.
	deadline := time.After(60 * time.Second)
	for waiting := true; waiting; {
		select {
		case <-done:
			waiting = false
		case <-n.hosts["h1"].now().died:
			n.hosts["h1"].rise()
		case <-n.hosts["h2"].now().died:
			n.hosts["h2"].rise()
		case <-deadline:
			t.Fatal("Migrate does not return")
		}
	}
	for id := range c.faults {
		select {
		case <-n.hosts[id].now().died:
			n.hosts[id].rise()
		default:
		}
	}
	began := time.Now()
	until(t, 30*time.Second, func() string {
		for id := range c.faults { // it may strike as late as this
			select {
			case <-n.hosts[id].now().died:
				n.hosts[id].rise()
			default:
			}
		}
		if l := n.books.lease(lease.ID); l.State == fleet.Granted {
			return "" // it died before it began: the workload has not moved
		}
		count, _ := n.running()
		if l := n.books.lease(lease.ID); count == 1 && !l.Active() {
			return ""
		}
		l := n.books.lease(lease.ID)
		return fmt.Sprintf("%d running copies, h1 %q, h2 %q, lease %s (discarded %v)", count,
			n.hosts["h1"].machine.state(workload), n.hosts["h2"].machine.state(workload), l.State, l.Discarded)
	})
	if took := time.Since(began); took > 2*time.Second {
		t.Logf("took %s", took)
	}
	if n.books.lease(lease.ID).State != fleet.Granted {
		n.settles(lease.ID, time.Minute)
	}
	for _, f := range c.faults {
		struck = struck || f.struck.Load()
	}
	return struck
}

// spoilDigest makes this life's next incoming copy differ from the source's.
func (l *life) spoilDigest() { l.spoil.Store(true) }

// TestPartition: with neither peer nor books the source stays frozen; nothing is
// thawed by time-out. When they come back, one copy runs.
func TestPartition(t *testing.T) {
	t.Parallel()
	for _, applied := range []bool{true, false} {
		t.Run(fmt.Sprintf("commit applied %v", applied), func(t *testing.T) {
			t.Parallel()
			n := newNet(t, mib)
			source := n.hosts["h1"].now()
			cut := make(chan struct{})
			source.mu.Lock()
			source.fault = &fault{op: "commit", before: !applied, nth: 1}
			source.onFault = func() {
				n.books.setDown(true)
				n.isolate("h2")
				close(cut)
			}
			source.mu.Unlock()
			lease := n.books.grant(workload, "h1", "h2")
			result := make(chan error, 1)
			go func() { result <- source.m.Migrate(context.Background(), lease) }()
			<-cut
			// The destination may learn of an applied commit from its own
			// voter; then it runs, and the source must stay frozen all the more.
			for range 10 {
				if s := n.hosts["h1"].machine.state(workload); s != driver.Frozen {
					t.Fatalf("the source's copy is %q while nobody answers", s)
				}
				pause(t.Context(), 20*time.Millisecond)
			}
			n.books.setDown(false)
			n.setCut(false)
			n.settles(lease.ID, time.Minute)
			<-result
		})
	}
}

// TestExpiredInTheLastPhase: the leader puts the lease in doubt while the source
// is frozen; both ends say what they hold and one copy runs.
func TestExpiredInTheLastPhase(t *testing.T) {
	t.Parallel()
	n := newNet(t, mib)
	source := n.hosts["h1"].now()
	lease := n.books.grant(workload, "h1", "h2")
	source.mu.Lock()
	source.fault = &fault{op: "commit", before: true, nth: 1}
	source.onFault = func() { n.books.expire(lease.ID) }
	source.mu.Unlock()
	_ = source.m.Migrate(t.Context(), lease) // either outcome is right
	n.settles(lease.ID, time.Minute)
}

// TestPlannedStop in the last phase: the agent finishes the move before it ends.
func TestPlannedStop(t *testing.T) {
	t.Parallel()
	n := newNet(t, mib)
	source := n.hosts["h1"].now()
	source.mu.Lock()
	source.fault = &fault{op: "freeze", before: false, nth: 1}
	source.onFault = source.stop
	source.quiet = true
	source.mu.Unlock()
	lease := n.books.grant(workload, "h1", "h2")
	if err := source.m.Migrate(context.Background(), lease); err != nil {
		t.Fatal(err)
	}
	source.wg.Wait()
	until(t, 30*time.Second, func() string {
		if n.hosts["h2"].machine.state(workload) == driver.Running && n.hosts["h1"].machine.state(workload) == "" {
			return ""
		}
		return "it does not run at the destination alone"
	})
	if _, err := source.m.startMove(t.Context(), lease); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after the end: %v", err)
	}
	source.kill()
	n.hosts["h1"].rise()
	n.settles(lease.ID, time.Minute)
}

// TestSavedWhileFrozen: a planned stop of the whole host saves a frozen workload;
// the next life brings it back from its saved state or gives it away.
func TestSavedWhileFrozen(t *testing.T) {
	t.Parallel()
	n := newNet(t, mib)
	source := n.hosts["h1"].now()
	source.mu.Lock()
	source.fault = &fault{op: "commit", before: true, nth: 1, kill: true}
	source.mu.Unlock()
	lease := n.books.grant(workload, "h1", "h2")
	go func() { _ = source.m.Migrate(context.Background(), lease) }()
	<-source.died
	m := n.hosts["h1"].machine
	m.mu.Lock()
	m.has[workload].state = driver.Stopped
	m.mu.Unlock()
	n.hosts["h1"].rise()
	n.settles(lease.ID, time.Minute)
}

// TestRelinquish: an operator gives a hanging workload to its destination while
// the books do not answer.
func TestRelinquish(t *testing.T) {
	t.Parallel()
	n := newNet(t, mib)
	source := n.hosts["h1"].now()
	source.m.cfg.AskAfter = time.Minute // the proposal hangs until the operator acts
	hanging := make(chan struct{})
	source.mu.Lock()
	source.fault = &fault{op: "commit", before: true, nth: 1}
	source.refuse = true // a refusal leaves the source waiting, not pressing
	source.onFault = func() { close(hanging) }
	source.mu.Unlock()
	lease := n.books.grant(workload, "h1", "h2")
	result := make(chan error, 1)
	go func() { result <- source.m.Migrate(context.Background(), lease) }()
	<-hanging
	n.books.setDown(true)
	if err := source.m.Relinquish(t.Context(), workload); err != nil {
		t.Fatal(err)
	}
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	if count, where := n.running(); count != 1 || where != "h2" {
		t.Fatalf("%d running copies, on %s", count, where)
	}
	n.books.setDown(false)
	n.settles(lease.ID, time.Minute)
}

// TestFenced: books and the other end are gone for good. What an operator vouches
// for decides at either end; what he gets wrong has no effect.
func TestFenced(t *testing.T) {
	t.Parallel()
	hang := func(t *testing.T) (*testNet, fleet.Lease) {
		n := newNet(t, mib)
		source := n.hosts["h1"].now()
		hanging := make(chan struct{})
		source.mu.Lock()
		source.fault = &fault{op: "commit", before: true, nth: 1}
		source.onFault = func() {
			n.books.setDown(true)
			n.isolate("h2")
			close(hanging)
		}
		source.mu.Unlock()
		lease := n.books.grant(workload, "h1", "h2")
		go func() { _ = source.m.Migrate(context.Background(), lease) }()
		<-hanging
		until(t, 30*time.Second, func() string {
			if r, _ := n.hosts["h2"].now().m.Record(workload); r.Word == cutover.Prepared {
				return ""
			}
			return "the destination is not prepared"
		})
		return n, lease
	}
	for name, c := range map[string]struct {
		good, bad, wrong func(n *testNet) error
		fenced, survivor fleet.HostID
	}{
		"thaw": {
			good:   func(n *testNet) error { return n.hosts["h1"].now().m.Thaw(t.Context(), workload, "h2") },
			bad:    func(n *testNet) error { return n.hosts["h1"].now().m.Thaw(t.Context(), workload, "h7") },
			wrong:  func(n *testNet) error { return n.hosts["h2"].now().m.Thaw(t.Context(), workload, "h1") },
			fenced: "h2", survivor: "h1",
		},
		"resume": {
			good:   func(n *testNet) error { return n.hosts["h2"].now().m.Resume(t.Context(), workload, "h1") },
			bad:    func(n *testNet) error { return n.hosts["h2"].now().m.Resume(t.Context(), workload, "h7") },
			wrong:  func(n *testNet) error { return n.hosts["h1"].now().m.Resume(t.Context(), workload, "h2") },
			fenced: "h1", survivor: "h2",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, lease := hang(t)
			if err := c.bad(n); !errors.Is(err, ErrNotFenced) {
				t.Errorf("another host was fenced: %v", err)
			}
			if err := c.wrong(n); !errors.Is(err, ErrNoEffect) {
				t.Errorf("at the wrong end: %v", err)
			}
			if count, _ := n.running(); count != 0 {
				t.Fatalf("%d copies run before anything was decided", count)
			}
			// Fenced means that its copy is gone before anybody vouches.
			n.hosts[c.fenced].now().kill()
			m := n.hosts[c.fenced].machine
			m.mu.Lock()
			delete(m.has, workload)
			m.mu.Unlock()
			if err := c.good(n); err != nil {
				t.Fatal(err)
			}
			until(t, 30*time.Second, func() string {
				if count, where := n.running(); count == 1 && where == c.survivor {
					return ""
				}
				return "it does not run at " + string(c.survivor)
			})
			// The fenced host comes back empty, and the books follow.
			n.hosts[c.fenced].rise()
			n.books.setDown(false)
			n.setCut(false)
			n.settles(lease.ID, time.Minute)
		})
	}
	n := newNet(t, mib)
	if err := n.hosts["h1"].now().m.Thaw(t.Context(), workload, "h2"); !errors.Is(err, ErrNoEffect) {
		t.Errorf("no move is open: %v", err)
	}
}

// TestAnswer: questions about tokens that this host has never seen are answered
// by a refusal on disk, strangers' by an error.
func TestAnswer(t *testing.T) {
	t.Parallel()
	n := newNet(t, mib)
	lease := n.books.grant("vm-2", "h1", "h2")
	n.books.mu.Lock()
	lease.State = fleet.Transferring
	n.books.put(lease)
	n.books.mu.Unlock()
	q := Question{Workload: "vm-2", Lease: lease.ID, Token: lease.Token, Say: Say{Kind: "asked"}}
	far := n.hosts["h2"].now()
	if a, err := far.m.Answer(t.Context(), "h1", q); err != nil || a.Word != cutover.Refused {
		t.Fatalf("answer %v, %v", a, err)
	}
	if r, ok := far.m.Record("vm-2"); !ok || r.Word != cutover.Refused || r.Token != lease.Token {
		t.Fatalf("record %+v", r)
	}
	if _, err := far.m.Answer(t.Context(), "h9", q); err == nil {
		t.Error("a stranger was answered")
	}
	q.Say = Say{Kind: "learned", Lease: fleet.Aborted}
	if _, err := far.m.Answer(t.Context(), "h1", q); err == nil {
		t.Error("the source may not say aborted as learned")
	}
	q.Lease, q.Token.Index = "L1", 1
	if a, err := far.m.Answer(t.Context(), "h1", q); err == nil && a.Word != cutover.None {
		t.Errorf("an old token: %v", a.Word)
	}
}
