package api

import "time"

// Token proves the right to run or admit a workload.
type Token struct {
	Cluster    string `json:"cluster"`
	Generation uint64 `json:"generation"`
	Index      uint64 `json:"index"`
}

// ResolveRequest is an operator's word on a lease that cannot settle by itself.
type ResolveRequest struct {
	Lease string `json:"lease"`
	// Commit: the destination owns the workload; else its source does.
	Commit bool   `json:"commit"`
	Reason string `json:"reason"`
}

// Lease reserves capacity at a destination for one workload.
type Lease struct {
	ID          string `json:"id"`
	Kind        string `json:"kind"` // migration | placement | standby
	Workload    string `json:"workload"`
	Source      string `json:"source"`      // host id
	Destination string `json:"destination"` // host id
	Type        string `json:"type"`        // preemptive | threshold | …
	// State is granted | transferring | prepared | committed | activated |
	// released | aborted | uncertain.
	State       string    `json:"state"`
	Active      bool      `json:"active"` // it still holds capacity or may change the owner
	Token       Token     `json:"token"`
	Reservation Vector    `json:"reservation"`
	Digest      string    `json:"digest,omitempty"`
	Decision    string    `json:"decision,omitempty"`
	Reason      string    `json:"reason,omitempty"`
	Changed     uint64    `json:"changed"` // index of the last change
	GrantedAt   time.Time `json:"granted_at"`
}
