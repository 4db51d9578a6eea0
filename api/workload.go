package api

import "time"

// Workload is an instance or a feature: who owns it and what it may use.
type Workload struct {
	ID string `json:"id"`
	// Kind is instance | feature; Instance is the instance of a feature.
	Kind     string `json:"kind"`
	Instance string `json:"instance,omitempty"`
	Driver   string `json:"driver"`
	Owner    string `json:"owner"` // host id
	// Epoch counts changes of owner.
	Epoch       uint64 `json:"epoch"`
	Reservation Vector `json:"reservation"`
	Usage       Vector `json:"usage"`
	// Priority: higher is more important. Tolerance of interruption: 1 = it
	// does not matter, 0 = it hurts.
	Priority  int64   `json:"priority"`
	Tolerance float64 `json:"tolerance"`
	Port      int64   `json:"port,omitempty"`
	Pinned    bool    `json:"pinned"`
	// ManagedBy names another manager, whose workloads are never touched.
	// "external" is what placed only observes.
	ManagedBy string `json:"managed_by,omitempty"`
	// Group under which rules and the calendar speak about many workloads.
	Group string `json:"group,omitempty"`
	// CooldownUntil is load time; absent when the workload may move.
	CooldownUntil time.Time `json:"cooldown_until,omitzero"`
	// Lease is the id of the active lease, if there is one.
	Lease string `json:"lease,omitempty"`
	Size  int64  `json:"size"` // bytes of state, 0 when unmeasured
	// WriteRate in bytes per second as last measured, 0 when unmeasured.
	WriteRate int64 `json:"write_rate,omitempty"`
}
