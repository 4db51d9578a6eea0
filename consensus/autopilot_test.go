package consensus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// pilots runs the autopilot on whoever leads.
func (c *cluster) pilots(cfg AutopilotConfig) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	cfg.Stats = func(ctx context.Context, id, _ string) (ServerStats, error) {
		for _, m := range c.members {
			if m.id == id && cfg.Alive(id) {
				return m.OwnStats(), nil
			}
		}
		return ServerStats{}, errors.New("no answer")
	}
	for _, m := range c.members {
		running.Go(func() {
			_ = m.Leadership(ctx, func(ctx context.Context) error { return m.Autopilot(ctx, cfg) })
		})
	}
	return func() { cancel(); running.Wait() }
}

// A non-voter that is healthy gets its vote; a voter that stays dead loses it,
// but never below the smallest quorum; what happens shows in Health.
func TestAutopilot(t *testing.T) {
	c := newCluster(t, 3)
	c.leader()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	joined := &member{t: t, id: "h4", dir: t.TempDir(), address: l.Addr().String()}
	c.change = func(cfg *Config) { cfg.Bootstrap = nil }
	c.start(joined, l)
	c.members = append(c.members, joined)
	var mu sync.Mutex
	dead := map[string]bool{}
	alive := func(id string) bool { mu.Lock(); defer mu.Unlock(); return !dead[id] }
	stop := c.pilots(AutopilotConfig{Alive: alive, DeadAfter: 300 * time.Millisecond, Stable: 100 * time.Millisecond, Interval: 20 * time.Millisecond})
	defer stop()
	// A starved machine may change the leader at any of these steps.
	eventually(t, "the server is added", func() error { return c.leader().AddNonvoter(t.Context(), "h4", joined.address) })
	voters := func(want int) func() error {
		return func() error {
			n := 0
			for _, s := range c.leader().Servers() {
				if !s.Nonvoter {
					n++
				}
			}
			if n != want {
				return fmt.Errorf("%d voters", n)
			}
			return nil
		}
	}
	eventually(t, "the non-voter gets its vote", voters(4))
	eventually(t, "everything is healthy", func() error {
		h := c.leader().Health()
		if h == nil || !h.Healthy || h.FailureTolerance != 1 || len(h.Servers) != 4 {
			return fmt.Errorf("health %+v", h)
		}
		return nil
	})
	die := func(m *member) {
		m.kill()
		mu.Lock()
		defer mu.Unlock()
		dead[m.id] = true
	}
	die(c.follower())
	eventually(t, "the dead server loses its vote", voters(3))
	second := c.follower()
	die(second)
	eventually(t, "the loss of a second shows", func() error {
		h := c.leader().Health()
		if h == nil || h.Healthy || h.FailureTolerance != 0 {
			return fmt.Errorf("health %+v", h)
		}
		return nil
	})
	// Longer than DeadAfter and several looks: the quorum of three stays.
	deadline := time.Now().Add(time.Second)
	for time.Now().Before(deadline) {
		if err := voters(3)(); err != nil {
			t.Fatalf("below the smallest quorum: %v", err)
		}
		time.Sleep(20 * time.Millisecond) // a poll with a deadline
	}
	eventually(t, "the rest goes on", func() error {
		_, _, err := c.leader().Propose(t.Context(), command(9))
		return err
	})
}

// A server that is silent for less than DeadAfter keeps its vote.
func TestShortSilenceIsNoDeath(t *testing.T) {
	now := time.Unix(0, 0)
	silent := true
	p := &pilot{node: &Node{cfg: Config{ID: "h1"}}, cfg: AutopilotConfig{Alive: func(string) bool { return !silent }}.withDefaults(),
		now: func() time.Time { return now }}
	p.silent = map[raft.ServerID]time.Time{}
	for _, step := range []struct {
		after  time.Duration
		silent bool
		want   string
	}{
		{0, true, "unknown"}, {59 * time.Minute, true, "unknown"}, {time.Second, false, "alive"},
		{time.Second, true, "unknown"}, {59 * time.Minute, true, "unknown"}, {time.Minute, true, "failed"},
	} {
		now, silent = now.Add(step.after), step.silent
		if got := string(p.status("h2")); got != step.want {
			t.Fatalf("%+v: %s", step, got)
		}
	}
	if got := p.status("h1"); got != "alive" {
		t.Errorf("this host is %s", got)
	}
}
