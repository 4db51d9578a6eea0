package fleet

import "time"

// MigrationType says why a workload moves.
type MigrationType uint8

// Types of migration. Numbers are part of the replicated log.
const (
	Preemptive MigrationType = iota
	Threshold
	Requested
	Drain
	Maintenance
	Balance
	Consolidate
)

var migrationTypes = []string{"preemptive", "threshold", "requested", "drain", "maintenance", "balance", "consolidate"}

func (t MigrationType) String() string { return enumText(migrationTypes, t) }

// MarshalText writes the word for the type.
func (t MigrationType) MarshalText() ([]byte, error) {
	return marshalEnum("migration type", migrationTypes, t)
}

// UnmarshalText reads the word for a type.
func (t *MigrationType) UnmarshalText(b []byte) error {
	return unmarshalEnum("migration type", migrationTypes, b, t)
}

// Request asks for one migration: DestinationHost or DestinationZone may be
// empty, then the planner chooses.
type Request struct {
	Workload        WorkloadID    `json:"workload"`
	Source          HostID        `json:"source,omitempty"`
	DestinationHost HostID        `json:"destination_host,omitempty"`
	DestinationZone string        `json:"destination_zone,omitempty"`
	Type            MigrationType `json:"type"`
	Reason          string        `json:"reason,omitempty"`
	By              string        `json:"by,omitempty"`
	At              time.Time     `json:"at"`
}

// Checkpoint is one copy round of a migration. Times are machine time.
type Checkpoint struct {
	Round   int           `json:"round"`
	Scanned int64         `json:"scanned"` // bytes looked at
	Dirty   int64         `json:"dirty"`   // bytes found changed
	Wire    int64         `json:"wire"`    // bytes sent
	Took    time.Duration `json:"took_ns"`
	// Waited is how long after the round before it this one began: a standby
	// pauses between its rounds.
	Waited    time.Duration `json:"waited_ns,omitempty"`
	WriteRate int64         `json:"write_rate"` // first writes to a page, bytes per second
}

// MigrationPhase is where a migration stands, for progress displays. The books
// know only the lease's state.
type MigrationPhase string

// Phases of a migration in order.
const (
	PhaseOffered   MigrationPhase = "offered"
	PhaseCopying   MigrationPhase = "copying"
	PhaseStandby   MigrationPhase = "standby" // copied, and kept so until it is promoted
	PhaseHolding   MigrationPhase = "holding"
	PhaseFrozen    MigrationPhase = "frozen"
	PhasePrepared  MigrationPhase = "prepared"
	PhaseCommitted MigrationPhase = "committed"
	PhaseActivated MigrationPhase = "activated"
	PhaseDone      MigrationPhase = "done"
	PhaseAborted   MigrationPhase = "aborted"
)

// Progress is one migration as its source sees it.
type Progress struct {
	Lease       LeaseID        `json:"lease"`
	Workload    WorkloadID     `json:"workload"`
	Source      HostID         `json:"source"`
	Destination HostID         `json:"destination"`
	Type        MigrationType  `json:"type"`
	Phase       MigrationPhase `json:"phase"`
	Tracker     string         `json:"tracker"` // pagemap-scan | bitmap | compare
	Total       int64          `json:"total"`   // bytes of the workload's state
	Rounds      []Checkpoint   `json:"rounds"`  // of a standby the newest ones
	// Refresh is how often the copy of a standby is brought up to date.
	Refresh time.Duration `json:"refresh_ns,omitempty"`
	Wire    int64         `json:"wire"` // bytes sent so far
	// Downtime runs from the last request forwarded at the source to the
	// first answer of the destination, as the source's proxy saw both.
	Downtime time.Duration `json:"downtime_ns"`
	Started  time.Time     `json:"started"`
	Ended    time.Time     `json:"ended,omitzero"`
	Error    string        `json:"error,omitempty"`
	// Notes are what the driver did on the way: a limit raised, the guest told.
	Notes []string `json:"notes,omitempty"`
}
