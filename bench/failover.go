package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/placed-dev/placed/api"
)

// gapOf writes in a closed loop and returns the longest time from one answered
// write to the next, from just before disturb until settled writes after it.
func gapOf(ctx context.Context, write func(context.Context) error, disturb func() error) (time.Duration, error) {
	const settled = 20
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for range settled {
		if err := write(ctx); err != nil {
			return 0, err
		}
	}
	var longest time.Duration
	done := make(chan error, 1)
	last := time.Now()
	go func() { done <- disturb() }()
	disturbed := false
	for after := 0; after < settled; {
		// A server may sit on a write that its change of leader has dropped
		// (etcd for 7 s), so the client asks again soon.
		attempt, end := context.WithTimeout(ctx, 250*time.Millisecond)
		err := write(attempt)
		end()
		if ctx.Err() != nil {
			return 0, fmt.Errorf("no write within 30 s: %w", err)
		}
		if err != nil {
			time.Sleep(time.Millisecond) // the next attempt, at once
			continue
		}
		now := time.Now()
		longest, last = max(longest, now.Sub(last)), now
		if !disturbed {
			select {
			case err := <-done:
				if err != nil {
					return 0, err
				}
				disturbed = true
			default:
			}
			continue
		}
		after++
	}
	return longest, nil
}

// write makes one grant through any agent that runs, the leader's or another.
func (p *placed) anyWriter(i int) (write func(context.Context) error, end func(), err error) {
	c, err := p.client(i)
	if err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context) error {
		batch, err := c.Reserve(ctx, p.reservation())
		if err != nil {
			return err
		}
		return p.granted(batch)
	}, c.Close, nil
}

// measureKills kills the leader again and again, of both systems in turn.
func measureKills(ctx context.Context, s settings, e *etcd, p *placed, t *table) error {
	if err := p.killRow(ctx, s, e, t, "kill -9 of the leader: writes resume, default time-outs", "median < 2.3 s, max < 4 s"); err != nil {
		return err
	}
	if err := p.restartWith(ctx, `heartbeat = "500ms"`); err != nil {
		return err
	}
	return p.killRow(ctx, s, e, t, "the same with heartbeats of 500 ms", "max < 2 s (stretch: below etcd)")
}

func (p *placed) killRow(ctx context.Context, s settings, e *etcd, t *table, work, reach string) error {
	var ours, theirs []time.Duration
	for i := range s.kills {
		gap, err := e.kill(ctx)
		if err != nil {
			return fmt.Errorf("etcd, kill %d: %w", i+1, err)
		}
		theirs = append(theirs, gap)
		if gap, err = p.kill(ctx); err != nil {
			return fmt.Errorf("placed, kill %d: %w", i+1, err)
		}
		ours = append(ours, gap)
	}
	slices.Sort(ours)
	slices.Sort(theirs)
	t.add(fmt.Sprintf("%s (%d kills)", work, s.kills), gaps(ours), gaps(theirs),
		fmt.Sprintf("%.2f ×", quantile(ours, .5).Seconds()/quantile(theirs, .5).Seconds()), reach)
	return p.release(ctx)
}

func gaps(sorted []time.Duration) string {
	return fmt.Sprintf("median %.2f s, max %.2f s", quantile(sorted, .5).Seconds(), sorted[len(sorted)-1].Seconds())
}

// kill kills the leader, measures, and starts it again.
func (p *placed) kill(ctx context.Context) (time.Duration, error) {
	if err := until(ctx, 3*time.Minute, "all agents are well", p.ready); err != nil {
		return 0, err
	}
	leader, err := p.leader(ctx)
	if err != nil {
		return 0, err
	}
	write, end, err := p.anyWriter((leader + 1) % 3)
	if err != nil {
		return 0, err
	}
	defer end()
	gap, err := gapOf(ctx, write, func() error { p.members[leader].end(syscall.SIGKILL); return nil })
	if err != nil {
		return 0, err
	}
	if err := p.members[leader].start(); err != nil {
		return 0, err
	}
	return gap, until(ctx, 3*time.Minute, "the killed agent is back", p.ready)
}

func (e *etcd) kill(ctx context.Context) (time.Duration, error) {
	leader, err := e.leader(ctx, 3)
	if err != nil {
		return 0, err
	}
	c, err := e.client(e.endpoints[(leader+1)%3])
	if err != nil {
		return 0, err
	}
	defer c.Close()
	write := func(ctx context.Context) error {
		_, err := c.Put(ctx, e.key(), value)
		return err
	}
	gap, err := gapOf(ctx, write, func() error { e.members[leader].end(syscall.SIGKILL); return nil })
	if err != nil {
		return 0, err
	}
	if err := e.members[leader].start(); err != nil {
		return 0, err
	}
	return gap, until(ctx, 60*time.Second, "the killed member is back", e.ready)
}

// restartWith stops the agents and starts them with another server block.
func (p *placed) restartWith(ctx context.Context, server string) error {
	for _, m := range p.members {
		m.end(syscall.SIGTERM)
	}
	for i, m := range p.members {
		file := filepath.Join(p.dir, fmt.Sprintf("p%d", i), "config.hcl")
		if err := os.WriteFile(file, []byte(p.configuration(i, server)), 0o600); err != nil {
			return err
		}
		if err := m.start(); err != nil {
			return err
		}
	}
	return until(ctx, 3*time.Minute, "the agents are back", p.ready)
}

// measureTransfers hands leadership over on purpose, while somebody writes through
// an agent that stays a follower or becomes the leader.
func measureTransfers(ctx context.Context, s settings, e *etcd, p *placed, t *table) error {
	var ours, theirs []time.Duration
	for i := range s.transfers {
		leader, err := p.leader(ctx)
		if err != nil {
			return err
		}
		next := (leader + 1 + i%2) % 3
		write, end, err := p.anyWriter((leader + 1) % 3)
		if err != nil {
			return err
		}
		gap, err := gapOf(ctx, write, func() error { return p.transfer(ctx, leader, next) })
		end()
		if err != nil {
			return err
		}
		ours = append(ours, gap)
		if err := until(ctx, 20*time.Second, "one leader", p.ready); err != nil {
			return err
		}
		if gap, err = e.transfer(ctx); err != nil {
			return fmt.Errorf("etcd: %w", err)
		}
		theirs = append(theirs, gap)
	}
	slices.Sort(ours)
	slices.Sort(theirs)
	t.add(fmt.Sprintf("planned transfer of leadership: gap in writes, p99 of %d", s.transfers), fmt.Sprintf("%s (median %s)", ms(quantile(ours, .99)), ms(quantile(ours, .5))),
		fmt.Sprintf("%s (median %s)", ms(quantile(theirs, .99)), ms(quantile(theirs, .5))), fmt.Sprintf("%.2f ×", quantile(ours, .5).Seconds()/quantile(theirs, .5).Seconds()), "≤ 300 ms (stretch 200)")
	return p.release(ctx)
}

func (p *placed) transfer(ctx context.Context, leader, to int) error {
	c, err := api.New(api.Config{Address: "http://" + p.apis[leader], Getenv: func(string) string { return "" }})
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.RaftTransfer(ctx, string(p.ids[to]))
	return err
}

func (e *etcd) transfer(ctx context.Context) (time.Duration, error) {
	leader, err := e.leader(ctx, 3)
	if err != nil {
		return 0, err
	}
	next := (leader + 1) % 3
	c, err := e.client(e.endpoints[next])
	if err != nil {
		return 0, err
	}
	defer c.Close()
	status, err := c.Status(ctx, e.endpoints[next])
	if err != nil {
		return 0, err
	}
	mover, err := e.client(e.endpoints[leader])
	if err != nil {
		return 0, err
	}
	defer mover.Close()
	write := func(ctx context.Context) error {
		_, err := c.Put(ctx, e.key(), value)
		return err
	}
	gap, err := gapOf(ctx, write, func() error {
		_, err := mover.MoveLeader(ctx, status.Header.MemberId)
		return err
	})
	if err != nil {
		return 0, err
	}
	return gap, until(ctx, 20*time.Second, "one leader", e.ready)
}
