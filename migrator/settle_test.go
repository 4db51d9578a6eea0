package migrator

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/placed-dev/placed/cutover"
	"github.com/placed-dev/placed/fleet"
)

// TestWaitsForTheEndBefore: a move that begins while this host still settles its
// part in the one before waits for that end, in both directions, and is turned
// away when the end does not come in time.
func TestWaitsForTheEndBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &Migrator{cfg: Config{Host: "h1", Handshake: 5 * time.Second, MaxMoves: 1 << 10}, log: hclog.NewNullLogger(),
			running: true, soft: t.Context(), sessions: map[fleet.WorkloadID]*session{}, moves: map[fleet.WorkloadID]*move{}}
		hold := func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			if _, err := m.claimLocked(workload); err != nil {
				t.Fatal(err)
			}
		}
		hold()
		result := make(chan error, 1)
		go func() {
			_, err := m.admit(t.Context(), workload, false)
			result <- err
		}()
		synctest.Wait()
		select {
		case err := <-result:
			t.Fatalf("the destination did not wait: %v", err)
		default:
		}
		m.release(workload)
		if err := <-result; err != nil {
			t.Fatalf("the destination is turned away after the end of the move before: %v", err)
		}
		// The admitted move now holds the workload; a move from here waits for it.
		began := time.Now()
		_, err := m.startMove(t.Context(), fleet.Lease{ID: "L2", Workload: workload, Source: "h1", Kind: fleet.LeaseMigration})
		if !errors.Is(err, ErrBusy) || time.Since(began) != m.cfg.Handshake {
			t.Fatalf("the source answers %v after %s, want ErrBusy after %s", err, time.Since(began), m.cfg.Handshake)
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := m.admit(short, workload, false); !errors.Is(err, ErrBusy) {
			t.Fatalf("the destination answers %v, want ErrBusy", err)
		}
	})
}

// restless is an end for which there is nothing to do until a Deadline.
type restless struct{ deadlines int }

func (r *restless) step(e cutover.Event) []cutover.Action {
	if e.Kind == cutover.Deadline {
		r.deadlines++
	}
	return nil
}
func (*restless) perform(context.Context, cutover.ActionKind) error { return nil }
func (*restless) observe(context.Context) (cutover.Copy, error)     { return cutover.Absent, nil }
func (*restless) again(cutover.Copy) cutover.Event                  { return cutover.Event{} }
func (*restless) decided() bool                                     { return true }
func (r *restless) settled() bool                                   { return r.deadlines == 3 }
func (*restless) wait(int) time.Duration                            { return time.Second }

// lostBooks know no lease.
type lostBooks struct{ Books }

func (lostBooks) Lease(context.Context, fleet.LeaseID) (fleet.Lease, error) {
	return fleet.Lease{}, errors.New("out of reach")
}

// TestDeadlineIsNotPutOff: a watcher that tells the same thing more often than the
// deadline comes does not keep it from coming. It once did, and an end that owed
// the books a word never gave it.
func TestDeadlineIsNotPutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &Migrator{cfg: Config{Now: time.Now, Proposal: time.Second, RecoverEvery: time.Second, Books: lostBooks{}},
			log: hclog.NewNullLogger(), soft: t.Context()}
		s := newSession(m, workload)
		s.watched = true
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		s.spawn(func() {
			for ; ctx.Err() == nil; pause(ctx, 400*time.Millisecond) {
				s.notify(ctx, note{event: cutover.Event{Kind: cutover.Observed, Copy: cutover.Absent}})
			}
		})
		began, d := time.Now(), &restless{}
		err := s.run(ctx, d, cutover.Event{Kind: cutover.Observed, Copy: cutover.Absent})
		s.join(cancel)
		if err != nil || time.Since(began) != 3*time.Second {
			t.Fatalf("three deadlines of 1 s took %s: %v", time.Since(began), err)
		}
	})
}

// TestTunnelsApart: all grants of one entry have the same token; the end of one move
// leaves the channels of the others alone.
func TestTunnelsApart(t *testing.T) {
	token := fleet.Token{Cluster: "c", Generation: 1, Index: 17}
	mine, other := passage{"a", token}, passage{"b", token}
	var all tunnels
	var stopped []string
	for _, p := range []passage{mine, other} {
		var end func()
		end, ok := all.begin(p, func() { stopped = append(stopped, string(p.workload)); go end() })
		if !ok {
			t.Fatalf("the channel of %v does not open", p)
		}
	}
	if err := all.bar(t.Context(), mine); err != nil {
		t.Fatal(err)
	}
	if len(stopped) == 0 || slices.Contains(stopped, "b") {
		t.Errorf("stopped %v", stopped)
	}
	if _, ok := all.begin(mine, func() {}); ok {
		t.Error("a barred channel opens")
	}
	if _, ok := all.begin(other, func() {}); !ok {
		t.Error("the other move's entrance is shut as well")
	}
}
