package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/consensus"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
)

// within polls until the check succeeds.
func within(t *testing.T, limit time.Duration, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(20 * time.Millisecond) // a poll with a deadline
	}
}

func (s *site) client(i int) *api.Client {
	s.t.Helper()
	c, err := api.New(api.Config{Address: "http://" + s.ips[i] + ":4102", Getenv: func(string) string { return "" }})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.Close)
	return c
}

// three runs a whole site until all hosts are registered, and returns who leads.
func (s *site) three() (agents []*Daemon, stops []func(), leader int) {
	s.t.Helper()
	for i := range s.hosts {
		d, stop := s.start(i)
		agents, stops = append(agents, d), append(stops, stop)
	}
	within(s.t, 60*time.Second, "three hosts are registered and one leads", func() error {
		for i, d := range agents {
			hosts, ready := 0, true
			d.replica.Read(func(state *fsm.State) {
				hosts = len(state.Hosts())
				for _, h := range state.Hosts() {
					ready = ready && state.Verified(h.ID)
				}
			})
			if hosts != 3 || !ready {
				return fmt.Errorf("host %d knows %d hosts", i+1, hosts)
			}
			if d.node.IsLeader() {
				leader = i
			}
		}
		if !agents[leader].node.IsLeader() {
			return errors.New("nobody leads")
		}
		return nil
	})
	return agents, stops, leader
}

// The books by the API of any agent: reserves and releases, one life per
// idempotency key, a snapshot saved on a follower and restored into a new
// generation, after which the hosts say again what they run.
func TestBooksOverTheAPI(t *testing.T) {
	s := newSite(t, 31)
	agents, stops, leader := s.three()
	defer func() {
		for _, stop := range stops {
			stop()
		}
	}()
	ctx := t.Context()
	follower := s.client((leader + 1) % 3)
	destination := s.hosts[2]
	one, err := follower.Reserve(ctx, api.LeaseOperation{Workload: "w1", Destination: "h3", CPU: 1, Memory: 1 << 30})
	if err != nil || one.Results[0].State != "granted" || one.Token.Index != one.Index {
		t.Fatalf("%+v, %v", one, err)
	}
	data, _, err := follower.SaveSnapshot(ctx, api.QueryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	inBooks := 0
	agents[leader].replica.Read(func(state *fsm.State) { inBooks = len(state.Workloads()) })
	withHistory(t, follower, inBooks)
	// All or none: the second does not fit, so the first is not granted either.
	batch, err := follower.LeaseBatch(ctx, api.LeaseOperation{Op: "reserve", Workload: "w2", Destination: destination, CPU: 1},
		api.LeaseOperation{Op: "reserve", Workload: "w3", Destination: destination, CPU: 4})
	if err != nil || batch.Results[0].Error == nil || batch.Results[1].Error == nil || !strings.Contains(batch.Results[1].Error.Message, "free of") {
		t.Fatalf("%+v, %v", batch, err)
	}
	if _, err := follower.ReleaseLease(ctx, one.Results[0].Lease, ""); err != nil {
		t.Fatal(err)
	}
	var refused *api.Error
	if _, err := follower.ReleaseLease(ctx, "L99999", ""); !errors.As(err, &refused) || refused.Status != http.StatusNotFound {
		t.Errorf("release of nothing: %v", err)
	}
	accepted, err := follower.RestoreSnapshot(ctx, data)
	if err != nil || !strings.Contains(accepted.Message, "generation 2") {
		t.Fatalf("%+v, %v", accepted, err)
	}
	within(t, 60*time.Second, "every host has said again what it runs", func() error {
		for i, d := range agents {
			var err error
			d.replica.Read(func(state *fsm.State) {
				l, known := state.Lease(fleet.LeaseID(one.Results[0].Lease))
				switch {
				case state.Generation() != 2:
					err = fmt.Errorf("generation %d", state.Generation())
				case !known || l.State != fleet.Uncertain:
					err = fmt.Errorf("lease %+v", l)
				}
				for _, id := range s.hosts {
					if !state.Verified(fleet.HostID(id)) {
						err = fmt.Errorf("host %s has not reported", id)
					}
				}
			})
			if err != nil {
				return fmt.Errorf("agent %d: %w", i+1, err)
			}
		}
		return nil
	})
	again, err := follower.Reserve(ctx, api.LeaseOperation{Workload: "w2", Destination: destination, CPU: 1})
	if err != nil || again.Token.Generation != 2 {
		t.Errorf("%+v, %v", again, err)
	}
	if _, err := follower.RestoreSnapshot(ctx, data[:len(data)-1]); !errors.As(err, &refused) || refused.Code != api.CodeInvalid {
		t.Errorf("a cut-off snapshot: %v", err)
	}
}

// The servers of the log, through the API of a follower.
func TestServersOverTheAPI(t *testing.T) {
	s := newSite(t, 32)
	agents, stops, leader := s.three()
	defer func() {
		for _, stop := range stops {
			stop()
		}
	}()
	ctx := t.Context()
	next := (leader + 1) % 3
	client := s.client(next)
	within(t, 60*time.Second, "the leader's autopilot has looked", func() error {
		state, err := client.RaftServers(ctx)
		if err != nil || !state.Judged || !state.Healthy || state.FailureTolerance != 1 || len(state.Servers) != 3 {
			return fmt.Errorf("%+v, %w", state, err)
		}
		return nil
	})
	within(t, 60*time.Second, "the chosen host leads", func() error {
		if _, err := client.RaftTransfer(ctx, fmt.Sprintf("h%d", next+1)); err != nil && !agents[next].node.IsLeader() {
			return err
		}
		if !agents[next].node.IsLeader() {
			return errors.New("another leads")
		}
		return nil
	})
	var refused *api.Error
	if _, err := client.RaftTransfer(ctx, "h9"); err == nil {
		t.Error("leadership went to nobody")
	}
	if _, err := client.RaftRemove(ctx, "h9"); !errors.As(err, &refused) || refused.Code != api.CodeConflict {
		t.Errorf("removal of nobody: %v", err)
	}
	if _, err := client.RaftSnapshot(ctx); err != nil {
		t.Error(err)
	}
	gone := (next + 1) % 3
	if _, err := client.RaftRemove(ctx, s.hosts[gone]); err != nil {
		t.Fatal(err)
	}
	if n := len(agents[next].node.Servers()); n != 2 {
		t.Errorf("%d servers", n)
	}
	if _, err := client.RaftAdd(ctx, fmt.Sprintf("h%d", gone+1), ""); err != nil {
		t.Fatal(err)
	}
	if servers := agents[next].node.Servers(); len(servers) != 3 || !servers[2].Nonvoter {
		t.Errorf("%+v", servers)
	}
	within(t, 60*time.Second, "it gets its vote back", func() error {
		for _, server := range agents[next].node.Servers() {
			if server.Nonvoter {
				return fmt.Errorf("%s has none", server.ID)
			}
		}
		return nil
	})
}

// One voter is left of three: it goes on alone in a new generation.
func TestRecoverQuorum(t *testing.T) {
	s := newSite(t, 33)
	_, stops, leader := s.three()
	client := s.client(leader)
	granted, err := client.Reserve(t.Context(), api.LeaseOperation{Workload: "w1", Destination: s.hosts[leader], CPU: 1})
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := s.config(leader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := RecoverQuorum(cfg, true); err == nil || !strings.Contains(err.Error(), "another agent runs") {
		t.Errorf("beside a running agent: %v", err)
	}
	for _, stop := range stops {
		stop()
	}
	peers, err := json.Marshal([]map[string]any{{"id": s.hosts[leader], "address": s.ips[leader] + ":4100"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(cfg.raftDir(), consensus.PeersFile), peers, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(cfg); !errors.Is(err, consensus.ErrRecoveryPending) {
		t.Fatalf("started with a recovery pending: %v", err)
	}
	if done, err := RecoverQuorum(cfg, false); err != nil || done.Index == 0 {
		t.Fatalf("%+v, %v", done, err)
	}
	d, stop := s.start(leader)
	defer stop()
	within(t, 60*time.Second, "it leads alone in generation 2", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := d.books.linearizable(ctx); err != nil {
			return err
		}
		var err error
		d.replica.Read(func(state *fsm.State) {
			l, known := state.Lease(fleet.LeaseID(granted.Results[0].Lease))
			if state.Generation() != 2 || !known || l.State != fleet.Uncertain || !state.Verified(d.self) {
				err = fmt.Errorf("generation %d, lease %+v, verified %v", state.Generation(), l, state.Verified(d.self))
			}
		})
		return err
	})
}

// The median of an odd number of clocks, the nearer middle of an even one, and
// silence where a majority does not answer.
func TestAheadOfMedian(t *testing.T) {
	const s = time.Second
	for _, c := range []struct {
		others []time.Duration
		voters int
		want   time.Duration
	}{
		{nil, 3, 0}, {nil, 1, 0},
		{[]time.Duration{6 * s, 7 * s}, 3, -6 * s}, // this one is behind
		{[]time.Duration{-6 * s, 0}, 3, 0},         // another one is behind
		{[]time.Duration{-6 * s, -7 * s}, 3, 6 * s},
		{[]time.Duration{9 * s}, 3, 0}, {[]time.Duration{9 * s}, 5, 0},
		{[]time.Duration{8 * s, 7 * s, 9 * s}, 5, -7 * s},
		{[]time.Duration{8 * s, 7 * s, 9 * s, 6 * s}, 5, -7 * s},
	} {
		if got := aheadOfMedian(c.others, c.voters); got != c.want {
			t.Errorf("%v of %d voters: %s, want %s", c.others, c.voters, got, c.want)
		}
	}
	offsets := map[fleet.HostID]time.Duration{"a": 8 * s, "b": 6 * s, "c": -s}
	if got := nearestClock(offsets, 7*s); got != "a" {
		t.Errorf("nearest is %s", got)
	}
}
