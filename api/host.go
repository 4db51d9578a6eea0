package api

import "time"

// Host is one hypervisor: what the books hold of it and what is observed.
type Host struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Zone  string `json:"zone"`
	Class string `json:"class,omitempty"`
	// State is what an operator decided: active | draining | maintenance | left.
	State string `json:"state"`
	// Liveness is what is observed: alive | suspect | stale | dead.
	Liveness string `json:"liveness"`
	Voter    bool   `json:"voter"`
	Leader   bool   `json:"leader"`
	Address  string `json:"address"`       // mTLS port, "ip:port"
	API      string `json:"api,omitempty"` // HTTP API and UI, "ip:port"
	// Capacity is physical; Allocatable = (capacity − reserve) × overcommit;
	// Held is what reservations and leases take of it; Free may be negative
	// when the host is overbooked.
	Capacity    Vector `json:"capacity"`
	Allocatable Vector `json:"allocatable"`
	Held        Vector `json:"held"`
	Free        Vector `json:"free"`
	Overbooked  bool   `json:"overbooked"`
	// Usage is the newest report, Reported its load time.
	Usage    Vector    `json:"usage"`
	Reported time.Time `json:"reported,omitzero"`
	// ContendedS is how many machine seconds of its agent's present run the
	// host's demand exceeded what it can give.
	ContendedS float64 `json:"contended_s"`
	// Drain tells how a drain goes, empty when there is none:
	// draining | drained | drain-unknown.
	Drain string `json:"drain,omitempty"`
	// DrainBy is the load time by which it is to be empty, absent when nobody
	// said; DrainOverdue, that it is later and the host is not.
	DrainBy      time.Time `json:"drain_by,omitzero"`
	DrainOverdue bool      `json:"drain_overdue,omitempty"`
	// Workloads are the ids of what the host owns, sorted.
	Workloads []string `json:"workloads"`
}

// DrainRequest starts (Drain true) or ends the drain of a host.
type DrainRequest struct {
	Drain bool `json:"drain"`
	// Maintenance keeps the host out of use after the drain until it is
	// undrained.
	Maintenance bool   `json:"maintenance,omitempty"`
	Reason      string `json:"reason,omitempty"`
	// DeadlineS is the load time from now within which the host is to be empty,
	// 0 for none. What is left then is reported with the reasons; nothing is forced.
	DeadlineS float64 `json:"deadline_s,omitempty"`
}

// Accepted says that a write is in the log.
type Accepted struct {
	Index   uint64 `json:"index"`
	Message string `json:"message"`
}
