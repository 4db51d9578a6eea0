package devfleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/workload"
)

// poll is how often the fleet is asked for its state; load clients and agents
// have loops of their own.
const poll = 250 * time.Millisecond

// run starts the agents and clients, waits for the aim, and sums up.
func (f *devFleet) run(ctx context.Context) (Summary, error) {
	if f.cfg.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.cfg.Timeout)
		defer cancel()
	}
	if err := f.startAgents(); err != nil {
		return Summary{}, err
	}
	client, err := f.ready(ctx)
	if err != nil {
		return Summary{}, err
	}
	defer client.Close()
	f.banner()

	loads, err := f.loads()
	if err != nil {
		return Summary{}, err
	}
	watched := time.Now()
	working, stopWorking := context.WithCancel(ctx)
	defer stopWorking()
	var group errgroup.Group
	for _, l := range loads {
		group.Go(func() error { return l.Run(working) })
	}
	if !f.cfg.Headless {
		group.Go(func() error { f.narrate(working, client); return nil })
	}
	aim := f.await(ctx, client)
	stopWorking()
	if err := group.Wait(); err != nil {
		return Summary{}, fmt.Errorf("clients: %w", err)
	}
	summary, err := f.sum(client, loads, time.Since(watched))
	if err == nil {
		err = aim
	}
	if err != nil {
		summary.Failed = err.Error()
	}
	return summary, err
}

// ready waits until every agent knows the leader and every workload runs.
func (f *devFleet) ready(run context.Context) (*client, error) {
	ctx, cancel := context.WithTimeout(run, readyTime)
	defer cancel()
	c, err := newClient(f.blueprint.Hosts)
	if err != nil {
		return nil, err
	}
	var last error
	for {
		last = f.isReady(ctx, c)
		if last == nil {
			return c, nil
		}
		for _, a := range f.agents {
			if !a.running() {
				c.Close()
				return nil, fmt.Errorf("the agent of %s did not start (%w):\n  %s", a.host.Name, a.err, logTail(a.log))
			}
		}
		select {
		case <-ctx.Done():
			c.Close()
			if run.Err() != nil {
				return nil, run.Err() // Ctrl-C, or a time-out shorter than the start
			}
			return nil, fmt.Errorf("the fleet did not come up within %s: %w; see the agents' logs in %s", readyTime, last, f.data.path)
		case <-time.After(poll):
		}
	}
}

func (f *devFleet) isReady(ctx context.Context, c *client) error {
	for i := range f.blueprint.Hosts {
		status, _, err := c.of[i].Status(ctx, api.QueryOptions{})
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", f.blueprint.Hosts[i].Name, err)
		case status.HostsAlive != len(f.blueprint.Hosts):
			return fmt.Errorf("%s sees %d of %d hosts", f.blueprint.Hosts[i].Name, status.HostsAlive, len(f.blueprint.Hosts))
		case status.Workloads != len(f.blueprint.Workloads):
			return fmt.Errorf("%d of %d workloads run", status.Workloads, len(f.blueprint.Workloads))
		}
	}
	for _, w := range f.blueprint.Workloads {
		limited, cancel := context.WithTimeout(ctx, 2*time.Second)
		probe := workload.NewClient(f.addresses(w))
		_, _, _, err := probe.Ping(limited)
		probe.Close()
		cancel()
		if err != nil {
			return fmt.Errorf("workload %s does not answer: %w", w.ID, err)
		}
	}
	return nil
}

// addresses are where clients reach a workload: its port on every host.
func (f *devFleet) addresses(w Workload) []string {
	var out []string
	for _, h := range f.blueprint.Hosts {
		out = append(out, h.address(w.Port))
	}
	return out
}

// loads makes the clients of every workload.
func (f *devFleet) loads() ([]*workload.Load, error) {
	var out []*workload.Load
	for _, w := range f.blueprint.Workloads {
		l, err := workload.NewLoad(workload.LoadConfig{Addrs: f.addresses(w), Clients: 2, Keys: 200, Interval: 50 * time.Millisecond,
			Deadline: 15 * time.Second, Prefix: fmt.Sprintf("dev%d", f.started.Unix())})
		if err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, nil
}

// errTooFew: the time was up before enough migrations were committed.
var errTooFew = errors.New("the time was up")

// await returns when the aim is reached, with an error when it was missed. An
// aim of no migrations is reached by whatever ends the run.
func (f *devFleet) await(ctx context.Context, c *client) error {
	told := map[string]bool{}
	for {
		f.tellEnded(told)
		migrations, err := c.migrations(ctx)
		if err == nil && f.cfg.UntilMigrations > 0 && !f.cfg.FullTime && enough(migrations, f.cfg.UntilMigrations, true) {
			return nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(poll):
			continue
		}
		if f.cfg.UntilMigrations == 0 {
			return nil
		}
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if migrations, err = c.migrations(last); err == nil && enough(migrations, f.cfg.UntilMigrations, false) {
			return nil // committed, though not judged yet
		}
		done := 0
		for _, m := range migrations {
			if counts(m) {
				done++
			}
		}
		return fmt.Errorf("%w: %d of %d pre-emptive migrations were committed; `placed why-not` and the decisions at /ui say what held them back", errTooFew, done, f.cfg.UntilMigrations)
	}
}

// enough: n migrations count, and, if asked, each of them has been judged.
func enough(migrations []api.Migration, n int, judged bool) bool {
	done := 0
	for _, m := range migrations {
		if counts(m) && (!judged || m.ContentionCame != nil) {
			done++
		}
	}
	return done >= n
}

// tellEnded says once of every agent that has ended how to start it again.
func (f *devFleet) tellEnded(told map[string]bool) {
	for _, a := range f.agents {
		if !a.running() && !told[a.host.Name] {
			told[a.host.Name] = true
			fmt.Fprintf(f.cfg.Err, "the agent of %s ended (%v); its workloads run on. Start it again with:\n  %s\n", a.host.Name, a.err, a.restartCommand(f.cfg.Binary))
		}
	}
}

// sum reads back every acknowledged write and collects what the fleet says.
func (f *devFleet) sum(c *client, loads []*workload.Load, watched time.Duration) (Summary, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	s := Summary{Migrations: []Move{}, TimeScale: f.blueprint.TimeScale, Seed: f.blueprint.Seed, Automation: f.cfg.Automation, WatchedS: watched.Seconds()}
	var firstError error
	for i, l := range loads {
		seen, err := l.ReadBack(ctx)
		if err != nil {
			return s, fmt.Errorf("reading back the writes to %s: %w", f.blueprint.Workloads[i].ID, err)
		}
		s.Client.Requests += seen.Requests
		s.Client.Errors += seen.Errors + seen.Regressions
		s.Client.LostWrites += seen.LostWrites
		s.Client.MaxGapMS = max(s.Client.MaxGapMS, float64(seen.MaxGap)/float64(time.Millisecond))
		if firstError == nil && seen.FirstError != nil {
			firstError = fmt.Errorf("%s: %w", f.blueprint.Workloads[i].ID, seen.FirstError)
		}
	}
	if firstError != nil {
		fmt.Fprintln(f.cfg.Err, "first client error:", firstError)
	}
	status, err := c.status(ctx)
	if err != nil {
		return s, err
	}
	s.Raft = RaftSummary{Term: status.Term, Index: status.Index}
	if status.Leader != nil {
		s.Raft.Leader = status.Leader.Name
	}
	hosts, err := c.hosts(ctx)
	if err != nil {
		return s, err
	}
	names := map[string]string{}
	for _, h := range hosts {
		names[h.ID] = h.Name
		s.ContendedS += h.ContendedS
	}
	migrations, err := c.migrations(ctx)
	if err != nil {
		return s, err
	}
	for i := len(migrations) - 1; i >= 0; i-- { // oldest first
		m := migrations[i]
		s.Migrations = append(s.Migrations, moveOf(m, func(id string) string { return names[id] }))
		if counts(m) && s.Tracker == "" {
			s.Tracker, s.ContentionCame = m.Tracker, m.ContentionCame
		}
	}
	return s, nil
}
