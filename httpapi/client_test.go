package httpapi

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/fleet"
)

func newClient(t *testing.T, address string) *api.Client {
	t.Helper()
	client, err := api.New(api.Config{Address: address})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// The client speaks every call of the server.
func TestClientAgainstServer(t *testing.T) {
	backend := newDemo(3)
	for range 130 {
		backend.advance()
	}
	client := newClient(t, serve(t, Config{Backend: backend}))
	ctx := context.Background()
	q := api.QueryOptions{}

	status, meta, err := client.Status(ctx, q)
	if err != nil || status.Leader.Name != "h1" || meta.Index != backend.index || !meta.KnownLeader {
		t.Errorf("status %+v %+v %v", status, meta, err)
	}
	hosts, _, err := client.Hosts(ctx, q)
	if err != nil || len(hosts) != 3 || hosts[0].Usage.CPU == nil || hosts[0].Capacity.Disk != nil {
		t.Errorf("hosts %+v %v", hosts, err)
	}
	host, _, err := client.Host(ctx, "h2", q)
	if err != nil || host.ID != hosts[1].ID {
		t.Errorf("host %+v %v", host, err)
	}
	workloads, _, err := client.Workloads(ctx, q)
	if err != nil || len(workloads) != 12 {
		t.Errorf("workloads %v %v", workloads, err)
	}
	workload, _, err := client.Workload(ctx, "vm-1/cache", q)
	if err != nil || workload.Size != 16<<20 {
		t.Errorf("workload %+v %v", workload, err)
	}
	migrations, _, err := client.Migrations(ctx, 5, q)
	if err != nil || len(migrations) == 0 || len(migrations) > 5 || migrations[0].Reason == "" {
		t.Fatalf("migrations %+v %v", migrations, err)
	}
	leases, _, err := client.Leases(ctx, q)
	if err != nil || len(leases) != len(backend.leases) {
		t.Errorf("leases %v %v", leases, err)
	}
	moved := migrations[len(migrations)-1].Workload
	decisions, _, err := client.Decisions(ctx, moved, 0, q)
	if err != nil || len(decisions) == 0 || decisions[0].Contention == nil || decisions[0].LeaveBy.IsZero() {
		t.Errorf("decisions %+v %v", decisions, err)
	}
	forecasts, _, err := client.Forecasts(ctx, "h3", q)
	if err != nil || len(forecasts) != 1 || len(forecasts[0].Steps) != 12 || len(forecasts[0].Steps[0].Quantiles) != len(forecasts[0].Levels) {
		t.Errorf("forecasts %+v %v", forecasts, err)
	}
	if all, _, err := client.Forecasts(ctx, "", q); err != nil || len(all) != 3 {
		t.Errorf("all forecasts %v", err)
	}
	why, _, err := client.Why(ctx, moved, q)
	if err != nil || why.Workload.ID != moved || len(why.Decisions) == 0 {
		t.Errorf("why %+v %v", why, err)
	}
	whyNot, _, err := client.WhyNot(ctx, moved, "h3", q)
	if err != nil || whyNot.Host != hosts[2].ID || len(whyNot.Exclusions) != 1 {
		t.Errorf("why-not %+v %v", whyNot, err)
	}
	file, _, err := client.Fleet(ctx, q)
	if err != nil || len(file.Hosts) != 3 || len(file.Instances) != 12 || file.Instances[5].ID != "vm-3/index" || file.Instances[5].Movable {
		t.Errorf("fleet with %d hosts, %d instances: %v", len(file.Hosts), len(file.Instances), err)
	}
	if _, err := client.SetAutomation(ctx, "observe"); err != nil {
		t.Error(err)
	}
	policy, _, err := client.Policy(ctx, q)
	if err != nil || policy.Automation != "observe" {
		t.Errorf("policy %+v %v", policy, err)
	}
	policy.Paused = true
	if accepted, err := client.SetPolicy(ctx, policy); err != nil || accepted.Index == 0 || !backend.policy.Paused {
		t.Errorf("set policy %+v %v", accepted, err)
	}
	if _, err := client.Move(ctx, api.MoveRequest{Workload: "vm-9/cache"}); err != nil {
		t.Error(err)
	}
	if _, err := client.Drain(ctx, "h3", false, "new memory"); err != nil || backend.hosts[2].state != "draining" {
		t.Error(err)
	}
	if _, err := client.Undrain(ctx, "h3", ""); err != nil || backend.hosts[2].state != "active" {
		t.Error(err)
	}
	health, err := client.Health(ctx)
	if ready, readyErr := client.Ready(ctx); err != nil || readyErr != nil || !health.Alive || !ready {
		t.Errorf("health %+v %v, ready %v %v", health, err, ready, readyErr)
	}
	var refused *api.Error
	if _, _, err := client.Host(ctx, "no/such host", q); !errors.As(err, &refused) || refused.Status != 404 || refused.Hint == "" {
		t.Errorf("unknown host: %v", err)
	}
	// A blocking query that ends without news is an ordinary answer.
	_, meta, err = client.Hosts(ctx, api.QueryOptions{Index: backend.Meta().Index, Wait: 20 * time.Millisecond, Stale: true})
	if err != nil || meta.Index != backend.Meta().Index {
		t.Errorf("blocking %+v %v", meta, err)
	}
}

// A write during an election is repeated and happens once.
func TestClientWriteDuringElection(t *testing.T) {
	backend := newDemo(3)
	backend.leader = -1
	client := newClient(t, serve(t, Config{Backend: backend}))
	done := make(chan error, 1)
	go func() {
		_, err := client.Move(context.Background(), api.MoveRequest{Workload: "vm-9/cache"})
		done <- err
	}()
	eventually(t, "the first attempt is refused", func() bool {
		backend.mu.Lock()
		defer backend.mu.Unlock()
		return backend.refused > 0
	})
	backend.mu.Lock()
	backend.leader = 1
	backend.mu.Unlock()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	backend.mu.Lock()
	defer backend.mu.Unlock()
	if len(backend.writes) != 1 {
		t.Errorf("%d writes", len(backend.writes))
	}
}

// The agent restarts in the middle of a stream; the client sees every event once.
func TestClientEventsSurviveARestart(t *testing.T) {
	backend := newDemo(3)
	socket := filepath.Join(t.TempDir(), "api.sock")
	start := func() (stop func()) {
		_ = os.Remove(socket)
		listener, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		server := newServer(t, Config{Backend: backend})
		ended := make(chan error, 1)
		go func() { ended <- server.Serve(ctx, listener) }()
		return func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}
	stop := start()
	client := newClient(t, "unix://"+socket)
	var mu sync.Mutex
	var got []string
	seen := func(n int) func() bool {
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(got) >= n
		}
	}
	enough := errors.New("enough")
	after := api.After(backend.Meta().Index)
	done := make(chan error, 1)
	go func() {
		done <- client.Events(context.Background(), api.StreamOptions{After: &after, Topics: []string{fleet.TopicHost}}, func(e api.Event) error {
			mu.Lock()
			defer mu.Unlock()
			if got = append(got, e.Message); e.Message == "last" {
				return enough
			}
			return nil
		})
	}()
	backend.say(fleet.TopicHost, "one")
	eventually(t, "the first event", seen(1))
	stop()
	backend.say(fleet.TopicHost, "two")
	backend.say(fleet.TopicPolicy, "not asked for")
	stop = start()
	defer stop()
	eventually(t, "the event of the meantime", seen(2))
	backend.say(fleet.TopicHost, "last")
	select {
	case err := <-done:
		if !errors.Is(err, enough) {
			t.Fatal(err)
		}
	case <-time.After(60 * time.Second):
		t.Fatal("the stream does not end")
	}
	if len(got) != 3 || got[0] != "one" || got[1] != "two" || got[2] != "last" {
		t.Errorf("events %q", got)
	}
}

// What will not heal ends the stream at once.
func TestClientEventsRefused(t *testing.T) {
	client := newClient(t, serve(t, Config{Backend: newDemo(3)}))
	err := client.Events(context.Background(), api.StreamOptions{Topics: []string{"wether"}}, func(api.Event) error { return nil })
	var refused *api.Error
	if !errors.As(err, &refused) || refused.Status != 400 {
		t.Errorf("%v", err)
	}
}
