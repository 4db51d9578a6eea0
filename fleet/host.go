package fleet

import "fmt"

// HostState is what an operator decided about a host. Whether it is alive is
// observed, never replicated, and frees nothing.
type HostState uint8

// States of a host. Numbers are part of the replicated log.
const (
	HostActive HostState = iota
	HostDraining
	HostMaintenance
	HostLeft
)

var hostStates = []string{"active", "draining", "maintenance", "left"}

func (s HostState) String() string { return enumText(hostStates, s) }

// MarshalText writes the word for the state.
func (s HostState) MarshalText() ([]byte, error) { return marshalEnum("host state", hostStates, s) }

// UnmarshalText reads the word for a state.
func (s *HostState) UnmarshalText(b []byte) error {
	return unmarshalEnum("host state", hostStates, b, s)
}

// Host is one hypervisor in the books.
type Host struct {
	ID   HostID `json:"id"`
	Name string `json:"name"`
	Zone string `json:"zone"`
	// Class groups hosts of the same make, for affinity profiles.
	Class string `json:"class,omitempty"`
	// Address is where the host's one mTLS port listens, "ip:port".
	Address string `json:"address"`
	// Traffic is where the host's proxy takes what other proxies forward,
	// "ip:port"; clients reach workloads on the same IP, at their own ports.
	Traffic string `json:"traffic,omitempty"`
	// API is where the host's HTTP API listens, "ip:port", for operators.
	API string `json:"api,omitempty"`
	// Voter says that the host holds a copy of the log.
	Voter bool `json:"voter"`
	// Capacity is the physical amount, Reserve what the host keeps for itself.
	Capacity Vector `json:"capacity"`
	Reserve  Vector `json:"reserve"`
	// Overcommit is in thousandths per resource; zero means 1000 (none).
	Overcommit Vector    `json:"overcommit"`
	State      HostState `json:"state"`
	// Registered is the index at which the host last registered: with an
	// empty token store it admits nothing below it.
	Registered uint64 `json:"registered"`
}

// Allocatable is floor((capacity − reserve) × overcommit).
func (h Host) Allocatable() Vector {
	return h.Capacity.Sub(h.Reserve).ScaleMilli(h.Overcommit)
}

// OfUse returns the host with the lines that use, not reservations, is held against
// as its allocatable amounts: of memory more may be booked than there is, but not
// used.
func (h Host) OfUse() Host {
	h.Overcommit.Memory = min(h.Overcommit.Memory, 1000)
	return h
}

// Validate checks a host that comes from outside.
func (h Host) Validate() error {
	if err := h.ID.Validate(); err != nil {
		return err
	}
	if err := validateName("host name", h.Name); err != nil {
		return fmt.Errorf("host %s: %w", h.ID, err)
	}
	if err := validateName("zone", h.Zone); err != nil {
		return fmt.Errorf("host %s: %w", h.Name, err)
	}
	for _, part := range []struct {
		name string
		v    Vector
	}{{"capacity", h.Capacity}, {"reserve", h.Reserve}, {"overcommit", h.Overcommit}} {
		if err := part.v.Validate(); err != nil {
			return fmt.Errorf("host %s: %s: %w", h.Name, part.name, err)
		}
	}
	return nil
}

// Liveness is what gossip and reports say about a host right now.
type Liveness uint8

// Liveness values, from best to worst.
const (
	Alive Liveness = iota
	Suspect
	Stale // a member, but its reports have stopped
	Dead
)

var livenesses = []string{"alive", "suspect", "stale", "dead"}

func (l Liveness) String() string { return enumText(livenesses, l) }

// MarshalText writes the word for the liveness.
func (l Liveness) MarshalText() ([]byte, error) { return marshalEnum("liveness", livenesses, l) }

// UnmarshalText reads the word for a liveness.
func (l *Liveness) UnmarshalText(b []byte) error { return unmarshalEnum("liveness", livenesses, b, l) }
