package api

import "time"

// Round is one copy round of a migration.
type Round struct {
	Round   int   `json:"round"`
	Scanned int64 `json:"scanned_bytes"`
	Dirty   int64 `json:"dirty_bytes"`
	Wire    int64 `json:"wire_bytes"`
	// TookMS is machine time; WriteRate is first writes to a page in bytes
	// per second.
	TookMS    float64 `json:"took_ms"`
	WriteRate int64   `json:"write_rate"`
}

// Migration is one move, running or ended.
type Migration struct {
	Lease    string `json:"lease"`
	Workload string `json:"workload"`
	From     string `json:"from"` // host id
	To       string `json:"to"`   // host id
	Type     string `json:"type"`
	Reason   string `json:"reason"`
	Decision string `json:"decision,omitempty"`
	// RefreshS is how often the copy of a standby is brought up to date, in
	// seconds of machine time.
	RefreshS float64 `json:"refresh_s,omitempty"`
	// Phase is offered | copying | standby | holding | frozen | prepared | committed |
	// activated | done | aborted.
	Phase      string `json:"phase"`
	Tracker    string `json:"tracker"` // pagemap-scan | bitmap | compare
	TotalBytes int64  `json:"total_bytes"`
	// Rounds in detail while the source remembers them; RoundCount also later.
	Rounds     []Round `json:"rounds"`
	RoundCount int     `json:"round_count"`
	Bytes      int64   `json:"bytes"` // sent so far
	// DowntimeMS runs from the last request forwarded at the source to the
	// first answer of the destination. Machine time, as DurationMS.
	DowntimeMS float64 `json:"downtime_ms"`
	DurationMS float64 `json:"duration_ms"`
	// LeadTimeS is load time between the commit and the predicted breach;
	// negative when the move came after it, absent without a breach.
	LeadTimeS       *float64  `json:"lead_time_s,omitempty"`
	PredictedBreach time.Time `json:"predicted_breach,omitzero"`
	LeaveBy         time.Time `json:"leave_by,omitzero"`
	CommittedIndex  uint64    `json:"committed_index,omitempty"`
	// ContentionCame: null until the predicted breach lies in the past.
	ContentionCame *bool     `json:"contention_came"`
	Started        time.Time `json:"started"`
	Ended          time.Time `json:"ended,omitzero"`
	Error          string    `json:"error,omitempty"`
	// Notes are what was done on the way, while the source remembers: a limit of
	// the move raised, the guest told of it.
	Notes []string `json:"notes,omitempty"`
}

// Active reports whether the migration is still under way.
func (m Migration) Active() bool { return m.Phase != "done" && m.Phase != "aborted" }

// MoveRequest asks for one migration. Without a destination the planner chooses.
type MoveRequest struct {
	Workload        string `json:"workload"`
	DestinationHost string `json:"destination_host,omitempty"`
	DestinationZone string `json:"destination_zone,omitempty"`
	Reason          string `json:"reason,omitempty"`
}
