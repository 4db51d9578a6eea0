package api

import "time"

// Point is one observed value.
type Point struct {
	T time.Time `json:"t"`
	V float64   `json:"v"`
}

// ForecastStep is the forecast for one tick: Quantiles[i] belongs to the level
// HostForecast.Levels[i].
type ForecastStep struct {
	T         time.Time `json:"t"`
	Quantiles []float64 `json:"quantiles"`
	// Over is the probability that demand is above what the host can serve, Excess
	// by how much it is expected to be, in HostForecast.Unit.
	Over   float64 `json:"over"`
	Excess float64 `json:"excess"`
}

// HostForecast is what a host used and what it is expected to use of one
// resource. All times are load time; values are in Unit.
type HostForecast struct {
	Host     string `json:"host"`
	Resource string `json:"resource"`
	// Unit is cores | bytes | bytes/s | units.
	Unit        string         `json:"unit"`
	Model       string         `json:"model"`
	TickSeconds int            `json:"tick_seconds"`
	History     []Point        `json:"history"` // oldest first
	Levels      []float64      `json:"levels"`  // ascending, 0..1
	Steps       []ForecastStep `json:"steps"`
	// Allocatable is the line that use is held against: of memory it is what there
	// is, not what may be booked.
	Allocatable float64 `json:"allocatable"`
	// Quantile is the level that must stay below Allocatable.
	Quantile float64 `json:"quantile"`
	// Probability that demand is above Allocatable at the worst step, Excess by how
	// much it is expected to be there, Breach the first step at which Quantile is
	// above it; absent when none is.
	Probability float64   `json:"probability"`
	Excess      float64   `json:"excess"`
	Breach      time.Time `json:"breach,omitzero"`
	// Contention is null when no breach is predicted; LeaveBy is the last
	// load time at which a move still ends before the breach.
	Contention *Contention `json:"contention"`
	LeaveBy    time.Time   `json:"leave_by,omitzero"`
	// Effects are what the calendar does within the steps.
	Effects []ForecastEffect `json:"effects"`
	// Ahead is how probable contention is, by lead.
	Ahead []ContentionAhead `json:"ahead,omitempty"`
}

// ContentionAhead is how probable it is that demand stands above what the host can
// give within the 15 minutes that follow a lead, and how such words have fared in
// the whole fleet; what was said long ago counts less.
type ContentionAhead struct {
	LeadMinutes int `json:"lead_min"`
	// Probability by the joint scenarios that passes plan from, Calibrated how
	// often contention has come when that was said.
	Probability float64 `json:"probability"`
	Calibrated  float64 `json:"calibrated"`
	Judged      float64 `json:"judged"`
	// Brier score and its skill against always saying how often contention comes,
	// Precision and Recall of warnings of an onset; null while not known.
	Brier      *float64 `json:"brier"`
	BrierSkill *float64 `json:"brier_skill"`
	Precision  *float64 `json:"precision"`
	Recall     *float64 `json:"recall"`
}

// ForecastEffect is one thing that the calendar does to a forecast.
type ForecastEffect struct {
	Of    string    `json:"of"` // capacity | load
	From  time.Time `json:"from"`
	Until time.Time `json:"until"`
	Why   string    `json:"why"`
	// Factor of capacity or load: 1.5 = half as much again, 0 = none left.
	Factor float64 `json:"factor"`
	// Workloads whose load changes.
	Workloads []string `json:"workloads"`
}
