package fleet

import "fmt"

// Kind tells an instance (a whole VM) from a feature (a sub-workload of one).
type Kind uint8

// Kinds of workload. Numbers are part of the replicated log.
const (
	Instance Kind = iota
	Feature
)

var kinds = []string{"instance", "feature"}

func (k Kind) String() string { return enumText(kinds, k) }

// MarshalText writes the word for the kind.
func (k Kind) MarshalText() ([]byte, error) { return marshalEnum("kind", kinds, k) }

// UnmarshalText reads the word for a kind.
func (k *Kind) UnmarshalText(b []byte) error { return unmarshalEnum("kind", kinds, b, k) }

// Workload is an instance or a feature in the books: who owns it and what it
// may use. How it runs is the driver's business.
type Workload struct {
	ID   WorkloadID `json:"id"`
	Kind Kind       `json:"kind"`
	// Instance is the instance a feature belongs to, empty for an instance.
	Instance WorkloadID `json:"instance,omitempty"`
	// Driver names the driver that runs it ("region", "libvirt", …).
	Driver string `json:"driver"`
	Owner  HostID `json:"owner"`
	// Epoch counts changes of owner; it only grows.
	Epoch       uint64 `json:"epoch"`
	Reservation Vector `json:"reservation"`
	// Priority: higher is more important; the less important moves first.
	Priority int64 `json:"priority"`
	// Tolerance in thousandths: 1000 = an interruption does not matter,
	// 0 = it hurts. The more tolerant moves first.
	Tolerance int64 `json:"tolerance"`
	// Port is the stable TCP port of the workload on every host's traffic
	// address, 0 when clients reach it otherwise.
	Port int64 `json:"port,omitempty"`
	// Pinned workloads are never moved by a pass.
	Pinned bool `json:"pinned,omitempty"`
	// ManagedBy names another manager (Pacemaker, nova, …): never touched.
	// "external" marks what we only observe.
	ManagedBy string `json:"managed_by,omitempty"`
	// Group is the name under which rules speak about many workloads at once.
	Group string `json:"group,omitempty"`
}

// Movable says whether a pass may move the workload, and if not, why.
func (w Workload) Movable() (bool, string) {
	switch {
	case w.ManagedBy != "":
		return false, "managed by " + w.ManagedBy
	case w.Pinned:
		return false, "pinned by an operator"
	}
	return true, ""
}

// Validate checks a workload that comes from outside.
func (w Workload) Validate() error {
	if err := w.ID.Validate(); err != nil {
		return err
	}
	if w.Kind == Feature && w.Instance == "" {
		return fmt.Errorf("feature %s: instance is empty", w.ID)
	}
	if w.Tolerance < 0 || w.Tolerance > 1000 {
		return fmt.Errorf("workload %s: tolerance %d is outside 0..1000", w.ID, w.Tolerance)
	}
	if w.Port < 0 || w.Port > 65535 {
		return fmt.Errorf("workload %s: port %d is outside 0..65535", w.ID, w.Port)
	}
	if err := w.Reservation.Validate(); err != nil {
		return fmt.Errorf("workload %s: reservation: %w", w.ID, err)
	}
	return nil
}
