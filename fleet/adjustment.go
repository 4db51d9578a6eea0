package fleet

import (
	"fmt"
	"time"
)

// AdjustmentKind says what is changed of a workload while it runs where it is.
type AdjustmentKind uint8

// Kinds of adjustment. Numbers are part of the replicated log.
const (
	// CPUWeight is its share of a cpu that is short, on the scale of Linux's
	// cgroup v2: 1 to 10000, 100 where nobody has said anything.
	CPUWeight AdjustmentKind = iota
	// CPUQuota is what it may use at most, millicores.
	CPUQuota
	// VCPUs is the number of its virtual cpus.
	VCPUs
	// Balloon is the memory that its guest has, bytes.
	Balloon
)

var adjustmentKinds = []string{"cpu-weight", "cpu-quota", "vcpus", "balloon"}

func (k AdjustmentKind) String() string { return enumText(adjustmentKinds, k) }

// MarshalText writes the word for the kind.
func (k AdjustmentKind) MarshalText() ([]byte, error) {
	return marshalEnum("kind of adjustment", adjustmentKinds, k)
}

// UnmarshalText reads the word for a kind.
func (k *AdjustmentKind) UnmarshalText(b []byte) error {
	return unmarshalEnum("kind of adjustment", adjustmentKinds, b, k)
}

// Valid says whether the number has a name.
func (k AdjustmentKind) Valid() bool { return int(k) < len(adjustmentKinds) }

// Travels says whether what was changed goes along when the workload moves. A weight
// and a quota belong to the host and are taken back before the first byte is sent;
// cpus and memory belong to the guest.
func (k AdjustmentKind) Travels() bool { return k == VCPUs || k == Balloon }

// Amount prints an amount of the kind for people.
func (k AdjustmentKind) Amount(n int64) string {
	switch k {
	case CPUQuota:
		return FormatAmount(CPU, n)
	case Balloon:
		return FormatAmount(Memory, n)
	case VCPUs:
		return fmt.Sprintf("%d vCPUs", n)
	}
	return fmt.Sprint(n)
}

// Knob is one thing that a driver can change of a workload while it runs: what it
// is now, and between what it may be set.
type Knob struct {
	Kind  AdjustmentKind `json:"kind"`
	Now   int64          `json:"now"`
	Least int64          `json:"least"`
	Most  int64          `json:"most"`
}

// AdjustmentState is how far an adjustment has come.
type AdjustmentState uint8

// States of an adjustment. Numbers are part of the replicated log.
const (
	AdjustmentAsked   AdjustmentState = iota // in the books; the host may have done it
	AdjustmentApplied                        // the host has done it
	AdjustmentEnding                         // the host is to take it back
	AdjustmentFailed                         // the host could not do it and has left nothing of it
)

var adjustmentStates = []string{"asked", "applied", "ending", "failed"}

func (s AdjustmentState) String() string { return enumText(adjustmentStates, s) }

// MarshalText writes the word for the state.
func (s AdjustmentState) MarshalText() ([]byte, error) {
	return marshalEnum("state of adjustment", adjustmentStates, s)
}

// UnmarshalText reads the word for a state.
func (s *AdjustmentState) UnmarshalText(b []byte) error {
	return unmarshalEnum("state of adjustment", adjustmentStates, b, s)
}

// Valid says whether the number has a name.
func (s AdjustmentState) Valid() bool { return int(s) < len(adjustmentStates) }

// Adjustment is one change of a workload in place. The books know of it before its
// host does anything, so whoever takes over after a crash knows what to take back.
type Adjustment struct {
	Workload WorkloadID      `json:"workload"`
	Kind     AdjustmentKind  `json:"kind"`
	Host     HostID          `json:"host"` // on which it was decided
	State    AdjustmentState `json:"state"`
	// Before is what it was and will be again, Want what it is to be.
	Before int64 `json:"before"`
	Want   int64 `json:"want"`
	// Since is the load time at which it was decided.
	Since    time.Time `json:"since"`
	Decision string    `json:"decision,omitempty"`
	Reason   string    `json:"reason,omitempty"`
	// Change is by how much the workload's reservation differs from what its
	// host reports, as long as the adjustment stands: more for vCPUs that were
	// added, less for memory that its guest has given.
	Change Vector `json:"change,omitzero"`
}

// AdjustmentEnd asks for the end of an adjustment.
type AdjustmentEnd struct {
	Workload WorkloadID     `json:"workload"`
	Kind     AdjustmentKind `json:"kind"`
	Reason   string         `json:"reason"`
}

// InPlace says what a pass may change of a workload where it is, before it moves
// anything.
type InPlace struct {
	CPUWeight bool `json:"cpu_weight,omitempty"`
	CPUQuota  bool `json:"cpu_quota,omitempty"`
	VCPUs     bool `json:"vcpus,omitempty"`
	Balloon   bool `json:"balloon,omitempty"`
}

// Allows says whether the kind may be changed.
func (p InPlace) Allows(k AdjustmentKind) bool {
	switch k {
	case CPUWeight:
		return p.CPUWeight
	case CPUQuota:
		return p.CPUQuota
	case VCPUs:
		return p.VCPUs
	case Balloon:
		return p.Balloon
	}
	return false
}

// Any says whether anything may be changed.
func (p InPlace) Any() bool { return p != InPlace{} }
