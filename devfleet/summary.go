package devfleet

import (
	"time"

	"github.com/placed-dev/placed/api"
)

// Summary is what a headless run prints: what moved, what its clients saw, and
// who led.
type Summary struct {
	Migrations []Move        `json:"migrations"`
	Client     ClientSummary `json:"client"`
	Raft       RaftSummary   `json:"raft"`
	// ContentionCame, Tracker: of the first migration that counts, null or
	// empty while unknown.
	ContentionCame *bool   `json:"contention_came"`
	Tracker        string  `json:"tracker"`
	TimeScale      float64 `json:"time_scale"`
	Seed           uint64  `json:"seed"`
	Automation     string  `json:"automation"`
	// ContendedS is how many machine seconds hosts were measured above their
	// allocatable capacity, summed over the hosts, in WatchedS seconds.
	ContendedS float64 `json:"contended_s"`
	WatchedS   float64 `json:"watched_s"`
	// Failed says in one line why the run did not reach its aim.
	Failed string `json:"failed,omitempty"`
}

// Move is one migration as an operator reads it: hosts by name.
type Move struct {
	Workload        string    `json:"workload"`
	From            string    `json:"from"`
	To              string    `json:"to"`
	Type            string    `json:"type"`
	Reason          string    `json:"reason"`
	Phase           string    `json:"phase"`
	Rounds          int       `json:"rounds"`
	Bytes           int64     `json:"bytes"`
	DowntimeMS      float64   `json:"downtime_ms"`
	DurationMS      float64   `json:"duration_ms"`
	LeadTimeS       *float64  `json:"lead_time_s"`
	PredictedBreach time.Time `json:"predicted_breach"`
	CommittedIndex  uint64    `json:"committed_index"`
	ContentionCame  *bool     `json:"contention_came"`
	Tracker         string    `json:"tracker"`
	Error           string    `json:"error,omitempty"`
}

// ClientSummary adds up every client of every workload.
type ClientSummary struct {
	Requests   int64   `json:"requests"`
	Errors     int64   `json:"errors"`
	LostWrites int64   `json:"lost_writes"`
	MaxGapMS   float64 `json:"max_gap_ms"`
}

// RaftSummary is where the log stood at the end.
type RaftSummary struct {
	Leader string `json:"leader"`
	Term   uint64 `json:"term"`
	Index  uint64 `json:"index"`
}

func moveOf(m api.Migration, name func(id string) string) Move {
	return Move{
		Workload: m.Workload, From: name(m.From), To: name(m.To), Type: m.Type, Reason: m.Reason, Phase: m.Phase,
		Rounds: m.RoundCount, Bytes: m.Bytes, DowntimeMS: m.DowntimeMS, DurationMS: m.DurationMS,
		LeadTimeS: m.LeadTimeS, PredictedBreach: m.PredictedBreach, CommittedIndex: m.CommittedIndex,
		ContentionCame: m.ContentionCame, Tracker: m.Tracker, Error: m.Error,
	}
}

// counts reports whether a migration is one that --until-migrations waits for:
// pre-emptive, committed and carried through.
func counts(m api.Migration) bool {
	return m.Type == "preemptive" && m.CommittedIndex > 0 && m.Phase == "done"
}
