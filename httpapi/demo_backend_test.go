package httpapi

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/fleet"
)

var _ Backend = (*demo)(nil)

func (d *demo) Meta() api.Meta {
	d.mu.Lock()
	defer d.mu.Unlock()
	return api.Meta{Index: d.index, KnownLeader: d.leader >= 0, LastContact: 12 * time.Millisecond}
}

func (d *demo) Sync(context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failSync != nil {
		return d.failSync
	}
	if d.leader < 0 {
		return ErrNoLeader
	}
	return nil
}

func (d *demo) Wait(ctx context.Context, index uint64) error {
	for {
		d.mu.Lock()
		now, changed := d.index, d.changed
		d.mu.Unlock()
		if now > index {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (d *demo) ref(i int) api.HostRef {
	return api.HostRef{ID: d.hosts[i].id, Name: d.hosts[i].name, Address: fmt.Sprintf("127.0.0.%d:7481", i+1), API: fmt.Sprintf("127.0.0.%d:7480", i+1)}
}

func (d *demo) Status(context.Context) (api.Status, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := api.Status{
		Cluster: "demo", Host: d.ref(0), Term: d.term, Index: d.index, Time: time.Now().UTC(), LoadTime: d.now(), TimeScale: 300,
		Automation: d.policy.Automation, Paused: d.policy.Paused, Hosts: len(d.hosts), Voters: min(3, len(d.hosts)), Workloads: len(d.workloads),
		Version: "0.1.0-dev", Problems: []api.Problem{},
	}
	if d.leader >= 0 {
		leader := d.ref(d.leader)
		s.Leader = &leader
	} else {
		s.Problems = append(s.Problems, api.Problem{Code: "no_leader", Message: "the cluster has no leader", Hint: "check that a majority of the voters runs and can reach each other"})
	}
	for i, h := range d.hosts {
		if h.liveness == "alive" {
			s.HostsAlive++
			if i < 3 {
				s.VotersAlive++
			}
		} else {
			s.Problems = append(s.Problems, api.Problem{Code: "host_" + h.liveness, Host: h.id, Message: "host " + h.name + " is " + h.liveness + "; its workloads run on without an agent", Hint: "restart its agent: placed agent --config /etc/placed.d"})
		}
		if d.contention(i) != nil {
			s.Contentions++
		}
	}
	for _, m := range d.migrations {
		switch {
		case m.Active():
			s.MigrationsActive++
		case m.Phase == "done":
			s.MigrationsTotal++
		default:
			s.MigrationsFailed++
		}
	}
	s.Healthy = len(s.Problems) == 0
	return s, nil
}

func (d *demo) Health(context.Context) api.Health {
	d.mu.Lock()
	defer d.mu.Unlock()
	return api.Health{Alive: true, Ready: d.leader >= 0, Host: d.ref(0), Version: "0.1.0-dev"}
}

func (d *demo) Hosts(context.Context) ([]api.Host, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []api.Host
	for i, h := range d.hosts {
		view := fleet.HostView{Host: fleet.Host{
			ID: fleet.HostID(h.id), Name: h.name, Zone: h.zone, Voter: i < 3,
			Address: d.ref(i).Address, API: d.ref(i).API,
			Capacity: fleet.Vector{CPU: int64(h.allocatable * 1000), Memory: demoHostMemory, Net: 125 << 20, Disk: fleet.Unknown},
		}, Reported: d.now()}
		var owned []string
		for _, w := range d.workloads {
			if w.owner == i {
				owned = append(owned, w.id)
				view.Held.Memory += w.size
				view.Usage.Memory += w.size
				view.Usage.CPU += int64(1000 * w.load(d.tick))
			}
		}
		host := HostOf(view, i == d.leader, owned)
		host.State, host.Liveness = h.state, h.liveness
		out = append(out, host)
	}
	return out, nil
}

func (d *demo) Workloads(context.Context) ([]api.Workload, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []api.Workload
	for i, w := range d.workloads {
		out = append(out, d.workload(i, w))
	}
	slices.SortFunc(out, func(a, b api.Workload) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return out, nil
}

func (d *demo) workload(i int, w demoWorkload) api.Workload {
	var lease fleet.LeaseID
	for _, l := range d.leases {
		if l.Workload == w.id && l.Active {
			lease = fleet.LeaseID(l.ID)
		}
	}
	return WorkloadOf(fleet.WorkloadView{
		Workload: fleet.Workload{
			ID: fleet.WorkloadID(w.id), Kind: fleet.Feature, Instance: fleet.WorkloadID(fmt.Sprintf("vm-%d", i+1)), Driver: "region",
			Owner: fleet.HostID(d.hosts[w.owner].id), Epoch: 1, Reservation: fleet.Vector{Memory: w.size}, Priority: w.priority, Tolerance: 700,
			Port: int64(9000 + i), Pinned: i == 2,
		},
		Usage: fleet.Vector{CPU: int64(1000 * w.load(d.tick)), Memory: w.size}, Size: w.size, WriteRate: 9 << 20, CooldownUntil: w.cooldown,
	}, lease)
}

func (d *demo) Leases(context.Context) ([]api.Lease, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.leases), nil
}

func newest[T any](items []T, limit int) []T {
	out := slices.Clone(items[max(0, len(items)-limit):])
	slices.Reverse(out)
	return out
}

func (d *demo) Migrations(_ context.Context, limit int) ([]api.Migration, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return newest(d.migrations, limit), nil
}

func (d *demo) Decisions(_ context.Context, workload string, limit int) ([]api.Decision, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []api.Decision
	for _, decision := range d.decisions {
		if workload == "" || decision.Workload == workload {
			out = append(out, decision)
		}
	}
	return newest(out, limit), nil
}

func (d *demo) Forecasts(_ context.Context, host string) ([]api.HostForecast, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []api.HostForecast
	for i, h := range d.hosts {
		if host != "" && host != h.id {
			continue
		}
		f := api.HostForecast{
			Host: h.id, Resource: "cpu", Unit: "cores", Model: "baseline", TickSeconds: 300, Levels: demoLevels,
			Allocatable: h.allocatable, Quantile: d.policy.Quantile, Contention: d.contention(i),
		}
		if f.Contention != nil {
			f.LeaveBy = f.Contention.Breach.Add(-4 * time.Minute)
		}
		for k := int64(-36); k <= 0; k++ {
			f.History = append(f.History, api.Point{T: fleet.TickStart(d.tick + k), V: d.demand(i, d.tick+k)})
		}
		for k := int64(1); k <= 12; k++ {
			f.Steps = append(f.Steps, api.ForecastStep{T: fleet.TickStart(d.tick + k), Quantiles: d.forecast(i, k)})
		}
		out = append(out, f)
	}
	return out, nil
}

func (d *demo) Why(ctx context.Context, workload string) (api.Why, error) {
	workloads, err := d.Workloads(ctx)
	if err != nil {
		return api.Why{}, err
	}
	i := slices.IndexFunc(workloads, func(w api.Workload) bool { return w.ID == workload })
	if i < 0 {
		return api.Why{}, fmt.Errorf("workload %s: %w", workload, ErrNotFound)
	}
	decisions, err := d.Decisions(ctx, workload, 10)
	return api.Why{Workload: workloads[i], Summary: workload + " has not moved", Decisions: list(decisions), Migrations: []api.Migration{}}, err
}

func (d *demo) WhyNot(_ context.Context, workload, host string) (api.WhyNot, error) {
	return api.WhyNot{Workload: workload, Host: host, Summary: "no room", Exclusions: []api.Exclusion{{Host: host, Reason: "cpu is short"}}}, nil
}

func (d *demo) Policy(context.Context) (api.Policy, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.policy, nil
}

// once carries out a write the first time its id is seen.
func (d *demo) once(w Write, do func() (api.Accepted, error)) (api.Accepted, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.leader < 0 {
		d.refused++
		return api.Accepted{}, ErrNoLeader
	}
	if done, ok := d.writes[w.ID]; ok {
		return done, nil
	}
	accepted, err := do()
	if err == nil {
		d.writes[w.ID] = accepted
		d.by = append(d.by, w.By)
	}
	return accepted, err
}

func (d *demo) SetPolicy(_ context.Context, w Write, policy api.Policy) (api.Accepted, error) {
	return d.once(w, func() (api.Accepted, error) {
		d.policy = policy
		d.emit(fleet.TopicPolicy, "changed", "", "", "", "automation is now "+policy.Automation)
		return api.Accepted{Index: d.index, Message: "policy changed"}, nil
	})
}

func (d *demo) Resolve(_ context.Context, w Write, request api.ResolveRequest) (api.Accepted, error) {
	if request.Lease != "L41" {
		return api.Accepted{}, fmt.Errorf("lease %s: %w", request.Lease, ErrNotFound)
	}
	return api.Accepted{Index: 7, Message: fmt.Sprintf("resolved by %s: commit %v", w.By, request.Commit)}, nil
}

func (d *demo) Move(_ context.Context, w Write, request api.MoveRequest) (api.Accepted, error) {
	return d.once(w, func() (api.Accepted, error) {
		i := slices.IndexFunc(d.workloads, func(w demoWorkload) bool { return w.id == request.Workload })
		if i < 0 {
			return api.Accepted{}, fmt.Errorf("workload %s: %w", request.Workload, ErrNotFound)
		}
		if d.hosts[d.workloads[i].owner].id == request.DestinationHost {
			return api.Accepted{}, fmt.Errorf("workload %s is already there: %w", request.Workload, ErrConflict)
		}
		d.emit(fleet.TopicMigration, "requested", request.DestinationHost, request.Workload, "", "move requested")
		return api.Accepted{Index: d.index, Message: "the next pass plans it"}, nil
	})
}

func (d *demo) Drain(_ context.Context, w Write, host string, request api.DrainRequest) (api.Accepted, error) {
	return d.once(w, func() (api.Accepted, error) {
		i := slices.IndexFunc(d.hosts, func(h demoHost) bool { return h.id == host })
		d.hosts[i].state = map[bool]string{true: "draining", false: "active"}[request.Drain]
		d.emit(fleet.TopicHost, "state", host, "", "", "host "+d.hosts[i].name+" is "+d.hosts[i].state)
		return api.Accepted{Index: d.index, Message: d.hosts[i].state}, nil
	})
}

func (d *demo) Events(_ context.Context, after api.Cursor, limit int) (EventPage, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	page := EventPage{Changed: d.changed, Truncated: after.Index < d.oldest}
	for _, event := range d.events {
		if event.Index >= d.oldest && after.Before(event) && len(page.Events) < limit {
			page.Events = append(page.Events, event)
		}
	}
	return page, nil
}
