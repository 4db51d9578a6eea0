package fleet

import "time"

// LeaseKind says what a lease reserves its destination for.
type LeaseKind uint8

// Kinds of lease. Numbers are part of the replicated log.
const (
	LeaseMigration LeaseKind = iota
	LeasePlacement
	LeaseStandby
)

var leaseKinds = []string{"migration", "placement", "standby"}

func (k LeaseKind) String() string { return enumText(leaseKinds, k) }

// MarshalText writes the word for the kind.
func (k LeaseKind) MarshalText() ([]byte, error) { return marshalEnum("lease kind", leaseKinds, k) }

// UnmarshalText reads the word for a kind.
func (k *LeaseKind) UnmarshalText(b []byte) error {
	return unmarshalEnum("lease kind", leaseKinds, b, k)
}

// LeaseState is the state of a lease in the books (DESIGN §6).
type LeaseState uint8

// States of a lease. Numbers are part of the replicated log.
const (
	Granted      LeaseState = iota // capacity reserved at the destination, no byte moved
	Transferring                   // the source has begun
	Prepared                       // the destination holds everything, digest known
	Committed                      // the destination owns the workload
	Activated                      // the destination runs it
	Released                       // final: the source proved its memory released
	Aborted                        // final once Discarded: the source keeps the workload
	Uncertain                      // nobody knows; both ends stay reserved
)

var leaseStates = []string{"granted", "transferring", "prepared", "committed", "activated", "released", "aborted", "uncertain"}

func (s LeaseState) String() string { return enumText(leaseStates, s) }

// MarshalText writes the word for the state.
func (s LeaseState) MarshalText() ([]byte, error) { return marshalEnum("lease state", leaseStates, s) }

// UnmarshalText reads the word for a state.
func (s *LeaseState) UnmarshalText(b []byte) error {
	return unmarshalEnum("lease state", leaseStates, b, s)
}

// Lease reserves capacity at a destination for one workload. The books keep at
// most one active lease per workload.
type Lease struct {
	ID          LeaseID       `json:"id"`
	Kind        LeaseKind     `json:"kind"`
	Workload    WorkloadID    `json:"workload"`
	Source      HostID        `json:"source"`
	Destination HostID        `json:"destination"`
	Type        MigrationType `json:"type"`
	Token       Token         `json:"token"`
	State       LeaseState    `json:"state"`
	// Reservation is what the lease holds at the destination.
	Reservation Vector `json:"reservation"`
	// Digest of the prepared copy, as the destination reported it.
	Digest string `json:"digest,omitempty"`
	// Discarded: an aborted lease keeps its reservation at the destination
	// until the destination reports that it holds nothing any more.
	Discarded bool `json:"discarded,omitempty"`
	// Decision is the id of the decision that asked for the lease.
	Decision string `json:"decision,omitempty"`
	Reason   string `json:"reason,omitempty"`
	// Changed is the index of the last change, GrantedAt the proposer's wall
	// time of the grant.
	Changed   uint64    `json:"changed"`
	GrantedAt time.Time `json:"granted_at"`
	// Group of a workload that is being placed: the books do not know the
	// workload itself yet, and rules may speak about its group.
	Group string `json:"group,omitempty"`
}

// Active leases still hold capacity somewhere or may still change the owner.
func (l Lease) Active() bool {
	switch l.State {
	case Released:
		return false
	case Aborted:
		return !l.Discarded
	}
	return true
}

// HoldsDestination says whether the lease's reservation counts at the
// destination. From Committed on the workload itself counts there.
func (l Lease) HoldsDestination() bool {
	switch l.State {
	case Granted, Transferring, Prepared, Uncertain:
		return true
	case Aborted:
		return !l.Discarded
	}
	return false
}

// HoldsSource says whether the lease's reservation counts at the source: after
// the commit until the source has proved its memory released.
func (l Lease) HoldsSource() bool {
	return l.Kind == LeaseMigration && (l.State == Committed || l.State == Activated)
}
