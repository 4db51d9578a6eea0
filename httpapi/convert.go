package httpapi

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/fleet"
)

// This file turns the fleet's nouns into wire types, so that every backend shows
// the same units.

// VectorOf shows cores instead of millicores and null for unknown.
func VectorOf(v fleet.Vector) api.Vector {
	known := func(n int64) *int64 {
		if n == fleet.Unknown {
			return nil
		}
		return &n
	}
	out := api.Vector{Memory: known(v.Memory), Net: known(v.Net), Disk: known(v.Disk)}
	if v.CPU != fleet.Unknown {
		cores := float64(v.CPU) / 1000
		out.CPU = &cores
	}
	for _, a := range v.Named {
		if a.Amount == fleet.Unknown {
			continue // a custom resource of unknown amount is not shown
		}
		if out.Custom == nil {
			out.Custom = map[string]float64{}
		}
		out.Custom[string(a.Name)] = float64(a.Amount) / 1000
	}
	return out
}

// UnitOf names the unit in which AmountOf shows a resource.
func UnitOf(r fleet.Resource) string {
	switch r {
	case fleet.CPU:
		return "cores"
	case fleet.Memory:
		return "bytes"
	case fleet.Net, fleet.Disk:
		return "bytes/s"
	}
	return "units"
}

// AmountOf turns base units into the unit of the wire.
func AmountOf(r fleet.Resource, base float64) float64 {
	switch r {
	case fleet.Memory, fleet.Net, fleet.Disk:
		return base
	}
	return base / 1000
}

// HostOf shows a host; workloads are the ids of what it owns.
func HostOf(h fleet.HostView, leader bool, workloads []string) api.Host {
	owned := slices.Clone(workloads)
	if owned == nil {
		owned = []string{}
	}
	return api.Host{
		ID: string(h.ID), Name: h.Name, Zone: h.Zone, Class: h.Class,
		State: h.State.String(), Liveness: h.Liveness.String(),
		Voter: h.Voter, Leader: leader, Address: h.Address, API: h.API,
		Capacity: VectorOf(h.Capacity), Allocatable: VectorOf(h.Allocatable()),
		Held: VectorOf(h.Held), Free: VectorOf(h.Free()), Overbooked: h.Overbooked,
		Usage: VectorOf(h.Usage), Reported: h.Reported, Workloads: owned,
	}
}

// WorkloadOf shows a workload; lease is the id of its active lease or "".
func WorkloadOf(w fleet.WorkloadView, lease fleet.LeaseID) api.Workload {
	return api.Workload{
		ID: string(w.ID), Kind: w.Kind.String(), Instance: string(w.Instance),
		Driver: w.Driver, Owner: string(w.Owner), Epoch: w.Epoch,
		Reservation: VectorOf(w.Reservation), Usage: VectorOf(w.Usage),
		Priority: w.Priority, Tolerance: float64(w.Tolerance) / 1000,
		Port: w.Port, Pinned: w.Pinned, ManagedBy: w.ManagedBy, Group: w.Group,
		CooldownUntil: w.CooldownUntil, Lease: string(lease),
		Size: w.Size, WriteRate: w.WriteRate,
	}
}

// LeaseOf shows a lease.
func LeaseOf(l fleet.Lease) api.Lease {
	return api.Lease{
		ID: string(l.ID), Kind: l.Kind.String(), Workload: string(l.Workload),
		Source: string(l.Source), Destination: string(l.Destination),
		Type: l.Type.String(), State: l.State.String(), Active: l.Active(),
		Token:       api.Token{Cluster: l.Token.Cluster, Generation: l.Token.Generation, Index: l.Token.Index},
		Reservation: VectorOf(l.Reservation), Digest: l.Digest,
		Decision: l.Decision, Reason: l.Reason, Changed: l.Changed, GrantedAt: l.GrantedAt,
	}
}

// MigrationOf shows the progress of a migration. now (machine time) bounds the
// duration of one that is still running. What the books know beside it (reason,
// breach, lead time, outcome) is the caller's to fill in.
func MigrationOf(p fleet.Progress, now time.Time) api.Migration {
	end := p.Ended
	if end.IsZero() {
		end = now
	}
	m := api.Migration{
		Lease: string(p.Lease), Workload: string(p.Workload),
		From: string(p.Source), To: string(p.Destination), Type: p.Type.String(),
		Phase: string(p.Phase), Tracker: p.Tracker, TotalBytes: p.Total,
		Rounds: make([]api.Round, 0, len(p.Rounds)), RoundCount: len(p.Rounds), Bytes: p.Wire,
		DowntimeMS: milliseconds(p.Downtime), DurationMS: milliseconds(max(end.Sub(p.Started), 0)),
		Started: p.Started, Ended: p.Ended, Error: p.Error, Notes: p.Notes,
		RefreshS: p.Refresh.Seconds(),
	}
	if n := len(p.Rounds); n > 0 {
		m.RoundCount = p.Rounds[n-1].Round // a standby remembers the newest only
	}
	for _, r := range p.Rounds {
		m.Rounds = append(m.Rounds, api.Round{
			Round: r.Round, Scanned: r.Scanned, Dirty: r.Dirty, Wire: r.Wire,
			TookMS: milliseconds(r.Took), WriteRate: r.WriteRate,
		})
	}
	return m
}

// ContentionOf shows a predicted shortage; nil stays nil.
func ContentionOf(c *fleet.Contention) *api.Contention {
	if c == nil {
		return nil
	}
	return &api.Contention{
		Host: string(c.Host), Zone: c.Zone, Resource: string(c.Resource),
		Probability: c.Probability, Breach: c.Breach, Steps: c.Steps,
		Demand:      AmountOf(c.Resource, c.Demand),
		Allocatable: AmountOf(c.Resource, float64(c.Allocatable)), Now: c.Now,
	}
}

// DecisionOf shows a decision with its scores and exclusions.
func DecisionOf(d fleet.Decision) api.Decision {
	out := api.Decision{
		ID: d.ID, Pass: d.Pass, At: d.At, Outcome: string(d.Outcome),
		Workload: string(d.Workload), From: string(d.From), To: string(d.To),
		Type: d.Type.String(), Reason: d.Reason, Contention: ContentionOf(d.Contention),
		LeaveBy: d.LeaveBy, CandidateScore: partsOf(d.CandidateScore),
		Scores: []api.Score{}, Exclusions: ExclusionsOf(d.Exclusions), InputHash: d.InputHash,
	}
	for _, s := range d.Scores {
		out.Scores = append(out.Scores, ScoreOf(s))
	}
	return out
}

// ScoreOf shows a score.
func ScoreOf(s fleet.Score) api.Score {
	return api.Score{Host: string(s.Host), Total: s.Total, Parts: partsOf(s.Parts)}
}

// ExclusionsOf shows exclusions; the result is never nil.
func ExclusionsOf(list []fleet.Exclusion) []api.Exclusion {
	out := make([]api.Exclusion, 0, len(list))
	for _, e := range list {
		out = append(out, api.Exclusion{Host: string(e.Host), Workload: string(e.Workload), Reason: e.Reason})
	}
	return out
}

func partsOf(parts []fleet.ScorePart) []api.ScorePart {
	out := make([]api.ScorePart, 0, len(parts))
	for _, p := range parts {
		out = append(out, api.ScorePart{Name: p.Name, Value: p.Value})
	}
	return out
}

// ForecastOf shows the forecast of a host and resource. allocatable is in base
// units; history, quantile and leave-by are the caller's to fill in.
func ForecastOf(f fleet.Forecast, allocatable int64, quantile float64) api.HostForecast {
	out := api.HostForecast{
		Quantile: quantile,
		Host:     f.Of, Resource: string(f.Resource), Unit: UnitOf(f.Resource), Model: f.Model,
		TickSeconds: int(fleet.Tick / time.Second), History: []api.Point{},
		Levels:      slices.Clone(f.Quantiles),
		Steps:       make([]api.ForecastStep, 0, len(f.Steps)),
		Allocatable: AmountOf(f.Resource, float64(allocatable)),
	}
	for k, values := range f.Steps {
		step := api.ForecastStep{T: fleet.TickStart(f.Tick + int64(k) + 1), Quantiles: make([]float64, len(values))}
		if k < len(f.Over) && k < len(f.Excess) {
			step.Over, step.Excess = f.Over[k], AmountOf(f.Resource, f.Excess[k])
			if step.Over > out.Probability {
				out.Probability, out.Excess = step.Over, step.Excess
			}
			if out.Breach.IsZero() && step.Over > 1-quantile {
				out.Breach = step.T
			}
		}
		for i, v := range values {
			step.Quantiles[i] = AmountOf(f.Resource, v)
		}
		out.Steps = append(out.Steps, step)
	}
	return out
}

// EventOf shows an event.
func EventOf(e fleet.Event) api.Event {
	return api.Event{
		Index: e.Index, Seq: e.Seq, At: e.At, Topic: e.Topic, Type: e.Type,
		Host: string(e.Host), Workload: string(e.Workload), Lease: string(e.Lease),
		Message: e.Message, Data: e.Data,
	}
}

// PolicyOf shows a policy.
func PolicyOf(p fleet.Policy) api.Policy {
	return api.Policy{
		Automation: p.Automation.String(), Paused: p.Paused,
		Quantile: float64(p.Quantile) / 1000, HorizonS: p.Horizon.Seconds(),
		HoldPasses: p.HoldPasses, MarginS: p.Margin.Seconds(),
		Headroom: float64(p.Headroom) / 1000, CooldownS: p.Cooldown.Seconds(),
		CooldownResetS: p.CooldownReset.Seconds(), MovesPerPass: p.MovesPerPass,
		MovesInFlight: p.MovesInFlight, ChurnPerHour: p.ChurnPerHour,
		ReserveHosts: p.ReserveHosts, MovesPerHost: p.MovesPerHost,
		BandwidthInFlight: p.BandwidthInFlight, Consolidate: p.Consolidate,
		MovesPerLink: p.MovesPerLink, BandwidthPerLink: p.BandwidthPerLink,
		InPlaceCPUWeight: p.InPlace.CPUWeight, InPlaceCPUQuota: p.InPlace.CPUQuota, InPlaceVCPUs: p.InPlace.VCPUs, InPlaceBalloon: p.InPlace.Balloon,
		Standbys: p.Standbys,
	}
}

// FleetPolicy reads a policy from the wire and validates it; its errors wrap
// ErrInvalid.
func FleetPolicy(p api.Policy) (fleet.Policy, error) {
	var level fleet.Automation
	if err := level.UnmarshalText([]byte(p.Automation)); err != nil {
		return fleet.Policy{}, fmt.Errorf("policy: %w: %w", ErrInvalid, err)
	}
	// Seconds beyond this would overflow a duration; Validate then refuses.
	seconds := func(s float64) time.Duration {
		const most = float64(math.MaxInt64 / int64(time.Second))
		return time.Duration(math.Max(-most, math.Min(most, s)) * float64(time.Second))
	}
	thousandths := func(f float64) int64 { return int64(math.Round(math.Max(-1e6, math.Min(1e6, f)) * 1000)) }
	out := fleet.Policy{
		Automation: level, Paused: p.Paused, Quantile: thousandths(p.Quantile),
		Horizon: seconds(p.HorizonS), HoldPasses: p.HoldPasses, Margin: seconds(p.MarginS),
		Headroom: thousandths(p.Headroom), Cooldown: seconds(p.CooldownS),
		CooldownReset: seconds(p.CooldownResetS), MovesPerPass: p.MovesPerPass,
		MovesInFlight: p.MovesInFlight, ChurnPerHour: p.ChurnPerHour,
		ReserveHosts: p.ReserveHosts, MovesPerHost: p.MovesPerHost,
		BandwidthInFlight: p.BandwidthInFlight, Consolidate: p.Consolidate,
		MovesPerLink: p.MovesPerLink, BandwidthPerLink: p.BandwidthPerLink,
		InPlace:  fleet.InPlace{CPUWeight: p.InPlaceCPUWeight, CPUQuota: p.InPlaceCPUQuota, VCPUs: p.InPlaceVCPUs, Balloon: p.InPlaceBalloon},
		Standbys: p.Standbys,
	}
	if err := out.Validate(); err != nil {
		return fleet.Policy{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return out, nil
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
