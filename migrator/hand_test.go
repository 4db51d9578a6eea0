package migrator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

// handDriver is a hypervisor that hands workloads over itself, as one life of the
// agent sees it. Its work goes on over a stream through both agents, and does not
// ask them how it should end.
type handDriver struct {
	agentDriver
	// late is how many jobs fail at their source after the destination has
	// the whole: the answer was lost on the way back.
	late *atomic.Int64
	// activated counts the calls of Activate that came to their end.
	activated *atomic.Int64
}

var _ driver.Handover = handDriver{}

func (d handDriver) Look(_ context.Context, id fleet.WorkloadID) (driver.Found, error) {
	if d.life.dead() {
		return driver.Found{}, errDead
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.has[id]
	if w == nil {
		return driver.Found{}, driver.ErrNotFound
	}
	return w.found(), nil
}

// become changes a region's state if it is still in from; nil deletes it.
func (m *machine) become(id fleet.WorkloadID, from, to driver.State) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	w := m.has[id]
	if w == nil || w.state != from {
		return false
	}
	if to == "" {
		delete(m.has, id)
	} else {
		w.state = to
	}
	return true
}

const handStream = 64 << 10

func (d handDriver) Send(ctx context.Context, id fleet.WorkloadID, way driver.Way) error {
	if err := d.life.gate("send", true); err != nil {
		return err
	}
	if !d.become(id, driver.Running, driver.Sending) {
		return errors.New("it does not run")
	}
	err := d.stream(ctx, id, way)
	if err != nil || d.late.Add(-1) >= 0 {
		if d.become(id, driver.Sending, driver.Running) { // unless it was ended here meanwhile
			d.host.net.oneRuns(id, d.machine)
		}
	} else {
		d.become(id, driver.Sending, "")
	}
	return errors.Join(err, d.life.gate("send", false))
}

func (d handDriver) stream(ctx context.Context, id fleet.WorkloadID, way driver.Way) error {
	conn, err := way.Enter(ctx, "memory")
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	for range 16 {
		if _, err := conn.Write(make([]byte, handStream/16)); err != nil {
			return err
		}
		if way.Progress != nil {
			way.Progress(driver.Progress{Total: handStream, Sent: handStream / 16, Pass: 1})
		}
	}
	_, err = io.ReadFull(conn, make([]byte, 1))
	return err
}

func (d handDriver) Await(ctx context.Context, id fleet.WorkloadID, _ driver.Way) error {
	for d.state(id) == driver.Sending && ctx.Err() == nil {
		pause(ctx, time.Millisecond)
	}
	return ctx.Err()
}

func (d handDriver) Finish(_ context.Context, id fleet.WorkloadID, _ fleet.Token) error {
	if err := d.life.gate("finish", true); err != nil {
		return err
	}
	if d.state(id) == driver.Running {
		return errors.New("it has run")
	}
	if !d.become(id, driver.Sending, "") {
		d.become(id, driver.Frozen, "")
	}
	return d.life.gate("finish", false)
}

func (d handDriver) Keep(_ context.Context, id fleet.WorkloadID, _ fleet.Token) error {
	if err := d.life.gate("keep", true); err != nil {
		return err
	}
	d.become(id, driver.Frozen, driver.Running)
	return d.life.gate("keep", false)
}

func (d handDriver) Leave(_ context.Context, id fleet.WorkloadID, _ fleet.Token) error {
	if err := d.life.gate("leave", true); err != nil {
		return err
	}
	if d.state(id) == driver.Running {
		d.host.net.complain("a running copy was left behind on %s", d.host.id)
	}
	return d.life.gate("leave", false)
}

func (d handDriver) Expect(_ context.Context, spec driver.Spec, token fleet.Token) error {
	if err := d.life.gate("expect", true); err != nil {
		return err
	}
	d.life.door.Store(&spec)
	d.life.doorToken.Store(&token)
	return d.life.gate("expect", false)
}

func (d handDriver) Shut(fleet.WorkloadID, fleet.Token) { d.life.door.Store(nil) }

// Enter is where the stream arrives: the copy comes to be, and is whole when all
// of it is there, whatever the agents are doing by then.
func (d handDriver) Enter(_ context.Context, id fleet.WorkloadID, token fleet.Token, _ string) (net.Conn, error) {
	spec, expected := d.life.door.Load(), d.life.doorToken.Load()
	if spec == nil || expected == nil || *expected != token || d.life.dead() {
		return nil, errors.New("nothing is expected")
	}
	near, far := net.Pipe()
	go func() { // the hypervisor's own; it ends with its stream
		defer far.Close()
		d.mu.Lock()
		d.has[id] = newRegion(*spec, token, driver.Incoming)
		d.mu.Unlock()
		if _, err := io.ReadFull(far, make([]byte, handStream)); err != nil {
			d.become(id, driver.Incoming, "")
			return
		}
		if d.become(id, driver.Incoming, driver.Whole) {
			_, _ = far.Write([]byte{1}) // lost with the stream, if it must be
		}
	}()
	return near, nil
}

func (d handDriver) Activate(_ context.Context, id fleet.WorkloadID, token fleet.Token) (found driver.Found, err error) {
	err = d.effect("activate", id, func(w *region) error {
		if w.token != token || w.state != driver.Whole && w.state != driver.Running {
			return fmt.Errorf("it is %s", w.state)
		}
		d.host.net.oneRuns(id, d.machine)
		w.state = driver.Running
		found = w.found()
		return nil
	})
	if err == nil {
		d.activated.Add(1)
	}
	return found, err
}

func (d handDriver) Discard(_ context.Context, id fleet.WorkloadID, token fleet.Token) error {
	err := d.effect("discard", id, func(w *region) error {
		switch {
		case w.token != token:
			return errors.New("it did not come under this token")
		case w.state == driver.Running:
			d.host.net.complain("a running copy was discarded on %s", d.host.id)
		case w.state == driver.Whole && d.host.net.hosts["h1"].machine.state(id) == "":
			d.host.net.complain("the only copy was discarded")
		}
		delete(d.has, id)
		return nil
	})
	if errors.Is(err, driver.ErrNotFound) {
		return nil
	}
	return err
}

// newHandNet is a fleet whose hypervisors hand workloads over.
func newHandNet(t *testing.T, late int64) *testNet {
	n, _ := newCountedHandNet(t, late)
	return n
}

func newCountedHandNet(t *testing.T, late int64) (*testNet, *atomic.Int64) {
	failures, activated := new(atomic.Int64), new(atomic.Int64)
	failures.Store(late)
	return newNetWith(t, 64<<10, func(d agentDriver) driver.Driver { return handDriver{d, failures, activated} }), activated
}

// TestHandActivateToItsEnd: an activation that made the workload run and then failed,
// or whose agent died then, is brought to its end: autostart comes after the resume,
// and was lost with it.
func TestHandActivateToItsEnd(t *testing.T) {
	t.Parallel()
	for _, kill := range []bool{false, true} {
		n, activated := newCountedHandNet(t, 0)
		struck := new(atomic.Bool)
		l := n.hosts["h2"].now()
		l.mu.Lock()
		l.fault = &fault{op: "activate", nth: 1, kill: kill, struck: struck}
		l.mu.Unlock()
		lease := n.books.grant(workload, "h1", "h2")
		done := make(chan error, 1)
		go func() { done <- n.hosts["h1"].now().m.Migrate(t.Context(), lease) }()
		if kill {
			<-l.died
			n.hosts["h2"].rise()
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if where := n.settles(lease.ID, 30*time.Second); where != "h2" {
			t.Fatalf("it runs on %s", where)
		}
		if !struck.Load() || activated.Load() == 0 {
			t.Errorf("agent killed %v: struck %v, %d activations came to their end", kill, struck.Load(), activated.Load())
		}
	}
}

// TestHandMove: a workload is handed over.
func TestHandMove(t *testing.T) {
	t.Parallel()
	n := newHandNet(t, 0)
	lease := n.books.grant(workload, "h1", "h2")
	if err := n.hosts["h1"].now().m.Migrate(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	if where := n.settles(lease.ID, time.Minute); where != "h2" {
		t.Fatalf("it runs on %s", where)
	}
	p := n.hosts["h1"].now().m.Progress()
	if len(p) != 1 || p[0].Phase != fleet.PhaseDone || p[0].Tracker != "hypervisor" || p[0].Wire == 0 {
		t.Errorf("progress %+v", p)
	}
}

// TestHandLateFailure is the row that this protocol exists for: the destination
// has the whole, the source's hypervisor hears nothing of it and lets its own
// copy run on. It stays there, and the other one never ran.
func TestHandLateFailure(t *testing.T) {
	t.Parallel()
	n := newHandNet(t, 1)
	lease := n.books.grant(workload, "h1", "h2")
	err := n.hosts["h1"].now().m.Migrate(t.Context(), lease)
	where := n.settles(lease.ID, time.Minute)
	if err != nil && where != "h1" || err == nil && where != "h2" {
		t.Fatalf("it runs on %s, and Migrate said %v", where, err)
	}
}

// handEffects are the gates of a handed-over move.
var handEffects = map[fleet.HostID][]string{
	"h1": {"dial", "send", "finish", "keep", "leave", "begin", "commit", "abort", "released"},
	"h2": {"expect", "activate", "discard", "prepared", "activated", "discarded"},
}

// TestHandCrashEverywhere kills the agent of either end, or both, before and after
// each of its effects, with hypervisors that succeed and that fail late.
// Afterwards exactly one copy runs.
func TestHandCrashEverywhere(t *testing.T) {
	t.Parallel()
	var struck atomic.Int64
	total := 0
	t.Run("trials", func(t *testing.T) {
		for _, late := range []int64{0, 1} {
			for h, ops := range handEffects {
				for _, op := range ops {
					for _, before := range []bool{true, false} {
						f := fault{op: op, before: before, nth: 1, kill: true}
						total++
						t.Run(fmt.Sprintf("%s %s late %d", h, f, late), func(t *testing.T) {
							t.Parallel()
							if handTrial(t, late, map[fleet.HostID]*fault{h: &f}) {
								struck.Add(1)
							}
						})
					}
				}
			}
			for range 10 {
				a, b := handEffects["h1"][rand.IntN(5)], handEffects["h2"][rand.IntN(4)]
				total++
				t.Run(fmt.Sprintf("both die, %s and %s late %d", a, b, late), func(t *testing.T) {
					t.Parallel()
					if handTrial(t, late, map[fleet.HostID]*fault{"h1": {op: a, before: true, nth: 1, kill: true}, "h2": {op: b, nth: 1, kill: true}}) {
						struck.Add(1)
					}
				})
			}
		}
	})
	t.Logf("%d of %d faults struck", struck.Load(), total)
	if int(struck.Load()) < total/3 {
		t.Errorf("only %d of %d faults were ever reached: the table has lost touch with the code", struck.Load(), total)
	}
}

func handTrial(t *testing.T, late int64, faults map[fleet.HostID]*fault) (struck bool) {
	n := newHandNet(t, late)
	for id, f := range faults {
		l := n.hosts[id].now()
		l.mu.Lock()
		f.struck = new(atomic.Bool)
		l.fault = f
		l.mu.Unlock()
	}
	lease := n.books.grant(workload, "h1", "h2")
	first := n.hosts["h1"].now()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = first.m.Migrate(context.Background(), lease) // what counts is what is left
	}()
	rise := func() {
		for _, id := range []fleet.HostID{"h1", "h2"} {
			select {
			case <-n.hosts[id].now().died:
				n.hosts[id].rise()
			default:
			}
		}
	}
	until(t, 60*time.Second, func() string {
		rise()
		l := n.books.lease(lease.ID)
		count, where := n.running()
		// One that died before it had begun has not moved anything.
		if count == 1 && (!l.Active() || l.State == fleet.Granted && first.dead()) {
			return ""
		}
		return fmt.Sprintf("%d running copies (%s), h1 %q, h2 %q, lease %s (discarded %v)", count, where,
			n.hosts["h1"].machine.state(workload), n.hosts["h2"].machine.state(workload), l.State, l.Discarded)
	})
	rise()
	n.hosts["h1"].now().stop() // ends the first call, if it still waits
	first.stop()
	<-done
	if n.books.lease(lease.ID).State != fleet.Granted {
		n.settles(lease.ID, time.Minute)
	}
	for _, f := range faults {
		struck = struck || f.struck.Load()
	}
	return struck
}
