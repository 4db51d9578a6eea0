package api

import "time"

// Contention is a predicted shortage on one host.
type Contention struct {
	Host        string  `json:"host"`
	Zone        string  `json:"zone"`
	Resource    string  `json:"resource"`
	Probability float64 `json:"probability"`
	// Breach is the load time of the first tick whose quantile crosses,
	// Steps the ticks until then.
	Breach time.Time `json:"breach"`
	Steps  int       `json:"steps"`
	// Demand at the policy's quantile and the line it crosses, in the unit of
	// Vector (cores, bytes, bytes per second).
	Demand      float64 `json:"demand"`
	Allocatable float64 `json:"allocatable"`
	Now         bool    `json:"now"` // already contended
}

// ScorePart is one named addend of a score.
type ScorePart struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
}

// Score ranks one host for one workload.
type Score struct {
	Host  string      `json:"host"`
	Total float64     `json:"total"`
	Parts []ScorePart `json:"parts"`
}

// Exclusion says why a host or a workload was refused.
type Exclusion struct {
	Host     string `json:"host,omitempty"`
	Workload string `json:"workload,omitempty"`
	Reason   string `json:"reason"`
}

// Decision is the explained result of a pass for one workload, or for the fleet.
type Decision struct {
	ID   string    `json:"id"`
	Pass string    `json:"pass"`
	At   time.Time `json:"at"` // load time
	// Outcome is move | observe | refused | none.
	Outcome        string      `json:"outcome"`
	Workload       string      `json:"workload,omitempty"`
	From           string      `json:"from,omitempty"`
	To             string      `json:"to,omitempty"`
	Type           string      `json:"type"`
	Reason         string      `json:"reason"`
	Contention     *Contention `json:"contention"`
	LeaveBy        time.Time   `json:"leave_by,omitzero"`
	CandidateScore []ScorePart `json:"candidate_score"`
	Scores         []Score     `json:"scores"`
	Exclusions     []Exclusion `json:"exclusions"`
	InputHash      string      `json:"input_hash,omitempty"`
}

// Why explains where a workload is: newest decision first.
type Why struct {
	Workload   Workload    `json:"workload"`
	Summary    string      `json:"summary"` // one sentence
	Lease      *Lease      `json:"lease"`
	Decisions  []Decision  `json:"decisions"`
	Migrations []Migration `json:"migrations"`
	// Category of its load, null before its first profile; Forecasts of it, one
	// per resource, with what of them may be acted upon.
	Category  *WorkloadCategory  `json:"category"`
	Forecasts []WorkloadForecast `json:"forecasts"`
}

// WhyNot explains why a workload is not on a host, recomputed from the stored
// view.
type WhyNot struct {
	Workload string `json:"workload"`
	Host     string `json:"host"`
	Feasible bool   `json:"feasible"`
	Summary  string `json:"summary"`
	// Exclusions are the filters that refuse the host, empty when feasible.
	Exclusions []Exclusion `json:"exclusions"`
	// Score of the host, null when it is not feasible; Owner is the score of
	// the host that has the workload.
	Score *Score `json:"score"`
	Owner *Score `json:"owner"`
}
