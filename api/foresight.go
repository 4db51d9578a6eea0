package api

import "time"

// HorizonForecast is what is foreseen of one workload for one horizon, and how
// such forecasts of it have fared.
type HorizonForecast struct {
	// Horizon is the time ahead, as 15m | 1h | 4h | 24h, or peak:1h | peak:24h
	// for the largest value of all of that time.
	Horizon string `json:"horizon"`
	// Quantiles[i] belongs to the level WorkloadForecast.Levels[i].
	Quantiles []float64 `json:"quantiles"`
	// Open: the forecast may be acted upon; else Reason says why not.
	Open   bool   `json:"open"`
	Reason string `json:"reason,omitempty"`
	// Judged forecasts (older ones count less), the share of values at or below
	// the level .95, and 1 − loss / loss of repeating the newest value.
	Judged   float64 `json:"judged"`
	Coverage float64 `json:"coverage"`
	Skill    float64 `json:"skill"`
}

// WorkloadForecast is what is foreseen of one resource of a workload.
type WorkloadForecast struct {
	Resource string `json:"resource"`
	// Unit is cores | bytes | bytes/s | units.
	Unit string `json:"unit"`
	// At is the end of the tick that it was made from, load time.
	At time.Time `json:"at"`
	// Model is what passes act upon: a trained model, baseline, or reactive when
	// no forecast has earned trust; Reason says why it is not the first.
	Model    string            `json:"model"`
	Reason   string            `json:"reason,omitempty"`
	Levels   []float64         `json:"levels"`
	Horizons []HorizonForecast `json:"horizons"`
	// Effects are what the calendar does within a day; the quantiles have them.
	Effects []ForecastEffect `json:"effects"`
}

// CategoryChange is one change of a workload's category.
type CategoryChange struct {
	Day  time.Time `json:"day"` // of load time
	From string    `json:"from"`
	To   string    `json:"to"`
}

// WorkloadCategory is what kind of load a workload is.
type WorkloadCategory struct {
	Name string `json:"name"`
	// Confidence is 1 in the middle of its group and 0 halfway to the next.
	Confidence float64 `json:"confidence"`
	// Diurnal: its load repeats every day, whatever the name.
	Diurnal bool `json:"diurnal"`
	// Candidate is the other name that it was seen under on the last Days days.
	Candidate string           `json:"candidate,omitempty"`
	Days      int              `json:"days,omitempty"`
	Changes   []CategoryChange `json:"changes"` // oldest first
	// History is how many days the profile was made from.
	History int `json:"history_days"`
}

// ZoneForecast is how full a zone is and will be of one resource. Amounts are in
// Unit, times load time.
type ZoneForecast struct {
	Zone     string `json:"zone"`
	Resource string `json:"resource"`
	// Unit is cores | bytes | bytes/s | units.
	Unit        string  `json:"unit"`
	Hosts       int     `json:"hosts"` // active ones
	Allocatable float64 `json:"allocatable"`
	Now         float64 `json:"now"`
	// Peak is the largest joint use of a tick in the last day.
	Peak float64 `json:"peak"`
	// Levels and Hour are the joint demand at the worst tick of the coming
	// hour, Probability that it exceeds Allocatable, Excess by how much it is
	// expected to; empty without forecasts. Breach is the first tick at which the
	// policy's quantile exceeds it, absent when none does.
	Levels      []float64 `json:"levels"`
	Hour        []float64 `json:"hour"`
	Probability float64   `json:"probability"`
	Excess      float64   `json:"excess"`
	Breach      time.Time `json:"breach,omitzero"`
	// GrowthKnown: enough days were seen (HistoryNeeded) of most of what is used;
	// without, the zone may be full now, but growth and days until it is are not
	// known: 0 and null.
	GrowthKnown   bool `json:"growth_known"`
	HistoryNeeded int  `json:"history_needed_days"`
	// Growth of the daily peak per day, and the days until it reaches
	// Allocatable: at the median and at the edges of a band of nine in ten; null
	// = not within a year, or not known.
	Growth float64 `json:"growth_per_day"`
	// Declared is by how much the calendar's growth multiplies the zone's load
	// in the coming 30 days; the days until it is full have it.
	Declared    float64  `json:"declared_growth"`
	DaysEarly   *float64 `json:"days_to_full_early"`
	DaysToFull  *float64 `json:"days_to_full"`
	DaysLate    *float64 `json:"days_to_full_late"`
	HistoryDays int      `json:"history_days"`
	// Loss is what the other zones would have to carry if this one were lost.
	Loss *ZoneLoss `json:"loss"`
	// Coupled are the pairs whose loads rise together most.
	Coupled []CoupledPair `json:"coupled"`
}

// ZoneLoss is the joint demand of all zones against what the others can give.
type ZoneLoss struct {
	Allocatable float64 `json:"allocatable"`
	Demand      float64 `json:"demand"` // at the policy's quantile, worst tick of the hour
	Probability float64 `json:"probability"`
}

// CoupledPair are two workloads whose loads rise together.
type CoupledPair struct {
	A           string  `json:"a"`
	B           string  `json:"b"`
	Correlation float64 `json:"correlation"`
	// Declared: a rule keeps them together.
	Declared bool `json:"declared"`
}
