package fleet

import "time"

// Event is one thing that happened, in the order of the log. Index and Seq
// together are unique: Seq counts the events of one log entry.
type Event struct {
	Index    uint64     `json:"index"`
	Seq      int        `json:"seq"`
	At       time.Time  `json:"at"` // wall time of the proposer
	Topic    string     `json:"topic"`
	Type     string     `json:"type"`
	Host     HostID     `json:"host,omitempty"`
	Workload WorkloadID `json:"workload,omitempty"`
	Lease    LeaseID    `json:"lease,omitempty"`
	Message  string     `json:"message"`
	// Data carries the changed object as JSON, for streams; may be empty.
	Data []byte `json:"-"`
}

// Topics of events.
const (
	TopicHost      = "host"
	TopicWorkload  = "workload"
	TopicLease     = "lease"
	TopicMigration = "migration"
	TopicDecision  = "decision"
	TopicPolicy    = "policy"
	TopicCluster   = "cluster"
)
