package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/lab"
)

// demo moves a real guest while a prober outside asks it every few milliseconds,
// and shows what both saw.
func demo(ctx context.Context, cfg lab.Config) error {
	l, err := lab.Attach(cfg)
	if err != nil {
		return err
	}
	c, err := l.Hosts[0].API()
	if err != nil {
		return err
	}
	defer c.Close()
	g := guests[0].guest
	w, _, err := c.Workload(ctx, g.Name, api.QueryOptions{})
	if err != nil {
		return err
	}
	to := l.Hosts[len(l.Hosts)-1]
	if w.Owner == to.UUID() {
		to = l.Hosts[0]
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	watch, err := l.Watch(g, 5*time.Millisecond, self, "probe")
	if err != nil {
		return err
	}
	say("guest %s is asked to move to %s; a prober at the switch asks it 200 times a second", g.Name, to.Name)
	_, moveErr := c.Move(ctx, api.MoveRequest{Workload: g.Name, DestinationHost: to.Name, Reason: "demo"})
	var m api.Migration
	for moveErr == nil {
		list, _, err := c.Migrations(ctx, 20, api.QueryOptions{})
		if err != nil {
			moveErr = err
			break
		}
		phase := m.Phase
		for _, x := range list {
			if x.Workload == g.Name {
				m = x
				break
			}
		}
		if m.Phase != phase {
			say("  %s", m.Phase)
		}
		if m.Phase != "" && !m.Active() {
			break
		}
		select {
		case <-ctx.Done():
			moveErr = ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	if moveErr == nil {
		moveErr = l.Check(ctx, g)
	}
	s, err := watch.Stop()
	if err != nil {
		return err
	}
	for _, stay := range s.Stays {
		say("  seen from outside: %d answers from %s, %.0f to %.0f ms", stay.Answers, stay.Host, stay.FromMS, stay.ToMS)
	}
	if moveErr != nil {
		return moveErr
	}
	say("moved in %.1f s, %d MiB sent; longest silence seen from outside %s; answers given twice: %d; every page of its memory is what it should be",
		m.DurationMS/1000, m.Bytes>>20, s.Gap.Round(time.Millisecond), s.Double)
	if s.Double > 0 {
		return fmt.Errorf("guest %s has run twice", g.Name)
	}
	return nil
}
