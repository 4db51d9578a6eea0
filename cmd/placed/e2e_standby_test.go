//go:build e2e

package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/placed-dev/placed/api"
)

// TestStandbyFleet: with standbys in the policy a foreseen move is copied ahead while
// its workload runs on, is promoted when it must be made, and the clients notice nothing.
func TestStandbyFleet(t *testing.T) {
	f := startFleet(t, t.TempDir(), "--seed", "1")
	ctx := deadline(t, 4*time.Minute)
	f.until(60*time.Second, "the policy", func() error {
		for _, c := range f.clients {
			policy, _, err := c.Policy(ctx, api.QueryOptions{})
			if err != nil {
				continue
			}
			policy.Standbys = 2
			if _, err := c.SetPolicy(ctx, policy); err == nil {
				return nil
			}
		}
		return errors.New("no agent takes it")
	})
	waited := map[string]bool{}
	var done api.Migration
	f.until(3*time.Minute, "a promoted standby", func() error {
		moves, err := ask(f, func(c *api.Client) ([]api.Migration, api.Meta, error) {
			return c.Migrations(ctx, 0, api.QueryOptions{})
		})
		if err != nil {
			return err
		}
		for _, m := range moves {
			switch {
			case m.Phase == "standby":
				if waited[m.Lease] = true; m.RefreshS <= 0 || m.CommittedIndex > 0 {
					t.Fatalf("a standby that is not kept up to date, or committed: %+v", m)
				}
			case m.Phase == "done" && strings.Contains(m.Reason, "its standby") && m.CommittedIndex > 0:
				done = m
				return nil
			}
		}
		return fmt.Errorf("%d moves, %d standbys were seen", len(moves), len(waited))
	})
	if !waited[done.Lease] {
		t.Errorf("the move of lease %s was never seen to wait", done.Lease)
	}
	first := done.Rounds[len(done.Rounds)-1]
	t.Logf("FIGURE standby: %d rounds over %.1f s, last round %d of %d bytes dirty, downtime %.1f ms: %s",
		done.RoundCount, done.DurationMS/1000, first.Dirty, done.TotalBytes, done.DowntimeMS, done.Reason)
	s := f.stop()
	if s.Client.Requests < 100 || s.Client.Errors != 0 || s.Client.LostWrites != 0 {
		t.Errorf("clients made %d requests and saw %d errors and %d lost writes", s.Client.Requests, s.Client.Errors, s.Client.LostWrites)
	}
}
