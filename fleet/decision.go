package fleet

import "time"

// Exclusion says why a host was refused as a destination, or a workload as a
// candidate.
type Exclusion struct {
	Host     HostID     `json:"host,omitempty"`
	Workload WorkloadID `json:"workload,omitempty"`
	Reason   string     `json:"reason"`
}

// ScorePart is one named addend of a score.
type ScorePart struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
}

// Score ranks one host for one workload; Total is the sum of the parts.
type Score struct {
	Host  HostID      `json:"host"`
	Total float64     `json:"total"`
	Parts []ScorePart `json:"parts"`
}

// Outcome says what became of a decision.
type Outcome string

// Outcomes of a decision.
const (
	OutcomeMove    Outcome = "move"    // a move was planned
	OutcomeObserve Outcome = "observe" // it would have moved; automation forbids it
	OutcomeRefused Outcome = "refused" // no move, for the reason given
	OutcomeNone    Outcome = "none"    // nothing to do
	OutcomeAdjust  Outcome = "adjust"  // a workload is changed where it is
	OutcomeUndo    Outcome = "undo"    // such a change is taken back
	OutcomeStandby Outcome = "standby" // the move may wait: a copy is kept ready at its destination
	OutcomeCancel  Outcome = "cancel"  // such a copy is given up
)

// Decision is the explained result of a pass for one workload (or, with an
// empty workload, for the fleet). Times are load time.
type Decision struct {
	ID       string        `json:"id"` // "<pass>.<n>"
	Pass     string        `json:"pass"`
	At       time.Time     `json:"at"`
	Outcome  Outcome       `json:"outcome"`
	Workload WorkloadID    `json:"workload,omitempty"`
	From     HostID        `json:"from,omitempty"`
	To       HostID        `json:"to,omitempty"`
	Type     MigrationType `json:"type"`
	// Reason is one sentence an operator can act on.
	Reason     string      `json:"reason"`
	Contention *Contention `json:"contention,omitempty"`
	// LeaveBy = breach − predicted duration − margin.
	LeaveBy time.Time `json:"leave_by,omitzero"`
	// CandidateScore ranks the workload among those that could leave.
	CandidateScore []ScorePart `json:"candidate_score,omitempty"`
	Scores         []Score     `json:"scores,omitempty"`
	Exclusions     []Exclusion `json:"exclusions,omitempty"`
	// InputHash identifies the view the pass decided from.
	InputHash string `json:"input_hash,omitempty"`
}

// Move is one step of a plan.
type Move struct {
	Workload    WorkloadID    `json:"workload"`
	From        HostID        `json:"from"`
	To          HostID        `json:"to"`
	Type        MigrationType `json:"type"`
	Reservation Vector        `json:"reservation"`
	Decision    string        `json:"decision"`
	Reason      string        `json:"reason"`
	// PredictedDuration and PredictedDowntime are machine time.
	PredictedDuration time.Duration `json:"predicted_duration_ns"`
	PredictedDowntime time.Duration `json:"predicted_downtime_ns"`
	Breach            time.Time     `json:"breach,omitzero"`
	LeaveBy           time.Time     `json:"leave_by,omitzero"`
	// Lease is the standby that the move promotes, if there is one.
	Lease LeaseID `json:"lease,omitempty"`
}

// StandbyEnd gives a standby up.
type StandbyEnd struct {
	Lease    LeaseID    `json:"lease"`
	Workload WorkloadID `json:"workload"`
	Reason   string     `json:"reason"`
}

// Plan is the result of one pass.
type Plan struct {
	Pass      string    `json:"pass"`
	At        time.Time `json:"at"`
	Index     uint64    `json:"index"`
	InputHash string    `json:"input_hash"`
	Moves     []Move    `json:"moves"`
	// Adjust and Undo are what is changed in place, and taken back.
	Adjust []Adjustment    `json:"adjust,omitempty"`
	Undo   []AdjustmentEnd `json:"undo,omitempty"`
	// Standbys are moves that may wait and are copied ahead; Cancel are those that
	// are no longer wanted. The moves that promote one are among Moves.
	Standbys    []Move       `json:"standbys,omitempty"`
	Cancel      []StandbyEnd `json:"cancel,omitempty"`
	Decisions   []Decision   `json:"decisions"`
	Contentions []Contention `json:"contentions"`
	// Forecasts of the hosts, the bands the plan was made from.
	Forecasts []Forecast `json:"forecasts"`
}
