package fleet

import (
	"fmt"
	"time"
)

// Automation says what a pass may do on its own.
type Automation uint8

// Levels of automation. Numbers are part of the replicated log.
const (
	Observe   Automation = iota // decide and explain, move nothing
	Recommend                   // the same, and ask an operator to apply
	Auto                        // carry the plan out
)

var automations = []string{"observe", "recommend", "auto"}

func (a Automation) String() string { return enumText(automations, a) }

// MarshalText writes the word for the level.
func (a Automation) MarshalText() ([]byte, error) { return marshalEnum("automation", automations, a) }

// UnmarshalText reads the word for a level.
func (a *Automation) UnmarshalText(b []byte) error {
	return unmarshalEnum("automation", automations, b, a)
}

// Policy is replicated: what the passes of every leader obey. Durations named
// in load time pass on the load clock.
type Policy struct {
	Automation Automation `json:"automation"`
	Paused     bool       `json:"paused"`
	// Quantile of demand, in thousandths, that must stay below allocatable.
	Quantile int64 `json:"quantile"`
	// Horizon (load time) within which a predicted breach is acted upon.
	Horizon time.Duration `json:"horizon_ns"`
	// Hold: consecutive passes a breach must be predicted before a move.
	HoldPasses int64 `json:"hold_passes"`
	// Margin (load time) kept between the end of a move and the breach.
	Margin time.Duration `json:"margin_ns"`
	// Headroom in thousandths of allocatable that a destination must keep
	// free at the quantile after the move.
	Headroom int64 `json:"headroom"`
	// Cooldown (load time) of a workload after its first move; it doubles
	// with each further move within CooldownReset.
	Cooldown      time.Duration `json:"cooldown_ns"`
	CooldownReset time.Duration `json:"cooldown_reset_ns"`
	// MovesPerPass and MovesInFlight bound one pass and all running moves.
	MovesPerPass  int64 `json:"moves_per_pass"`
	MovesInFlight int64 `json:"moves_in_flight"`
	// ChurnPerHour bounds grants in any hour of load time.
	ChurnPerHour int64 `json:"churn_per_hour"`
	// What follows is off at zero, and older members do not know it.

	// ReserveHosts is how many hosts of a zone may fail with the others having
	// room for their reservations: no destination may use that room.
	ReserveHosts int64 `json:"reserve_hosts,omitempty"`
	// MovesPerHost and BandwidthInFlight (bytes per second of migration links)
	// bound the moves under way, per host and in all.
	MovesPerHost      int64 `json:"moves_per_host,omitempty"`
	BandwidthInFlight int64 `json:"bandwidth_in_flight,omitempty"`
	// Consolidate lets a pass that has nothing else to do empty hosts.
	Consolidate bool `json:"consolidate,omitempty"`

	// What follows came with a later feature level, and is off at zero too.

	// InPlace is what a pass may change of a workload before it moves one.
	InPlace InPlace `json:"in_place,omitzero"`
	// MovesPerLink and BandwidthPerLink (bytes per second) bound the moves under
	// way between any two zones, and within each, as far as their links tell.
	MovesPerLink     int64 `json:"moves_per_link,omitempty"`
	BandwidthPerLink int64 `json:"bandwidth_per_link,omitempty"`

	// Standbys bounds the workloads that are kept copied at the destination of a
	// move that may still wait; 0: no move is begun that way. It came later still.
	Standbys int64 `json:"standbys,omitempty"`
}

// InPlaceOrLinks says whether the policy uses what came with that later level.
func (p Policy) InPlaceOrLinks() bool {
	return p.InPlace.Any() || p.MovesPerLink != 0 || p.BandwidthPerLink != 0
}

// Extended says whether the policy uses what older members do not know.
func (p Policy) Extended() bool {
	return p.ReserveHosts != 0 || p.MovesPerHost != 0 || p.BandwidthInFlight != 0 || p.Consolidate || p.InPlaceOrLinks() || p.Standbys != 0
}

// DefaultPolicy is what a new cluster starts with: it observes.
func DefaultPolicy() Policy {
	return Policy{
		Automation: Observe,
		Quantile:   900,
		Horizon:    time.Hour,
		HoldPasses: 2,
		Margin:     0,
		Headroom:   50,
		Cooldown:   2 * time.Hour, CooldownReset: 24 * time.Hour,
		MovesPerPass: 1, MovesInFlight: 2, ChurnPerHour: 4,
	}
}

// Validate checks a policy that comes from outside.
func (p Policy) Validate() error {
	switch {
	case int(p.Automation) >= len(automations):
		return fmt.Errorf("policy: automation %d has no name", p.Automation)
	case p.Quantile < 500 || p.Quantile > 999:
		return fmt.Errorf("policy: quantile %d is outside 500..999 (thousandths)", p.Quantile)
	case p.Horizon < Tick || p.Horizon > 24*time.Hour:
		return fmt.Errorf("policy: horizon %s is outside %s..24h", p.Horizon, Tick)
	case p.Headroom < 0 || p.Headroom > 900:
		return fmt.Errorf("policy: headroom %d is outside 0..900 (thousandths)", p.Headroom)
	case p.HoldPasses < 1 || p.MovesPerPass < 1 || p.MovesInFlight < 1 || p.ChurnPerHour < 0:
		return fmt.Errorf("policy: hold_passes, moves_per_pass and moves_in_flight must be at least 1, churn_per_hour at least 0")
	case p.ReserveHosts < 0 || p.ReserveHosts > 100 || p.MovesPerHost < 0 || p.BandwidthInFlight < 0:
		return fmt.Errorf("policy: reserve_hosts must be 0..100, moves_per_host and bandwidth_in_flight not negative (0 = no bound)")
	case p.MovesPerLink < 0 || p.BandwidthPerLink < 0:
		return fmt.Errorf("policy: moves_per_link and bandwidth_per_link must not be negative (0 = no bound)")
	case p.Standbys < 0:
		return fmt.Errorf("policy: standbys must not be negative (0 = none)")
	case p.Margin < 0 || p.Cooldown < 0 || p.CooldownReset < 0:
		return fmt.Errorf("policy: margin, cooldown and cooldown_reset must not be negative")
	}
	return nil
}
