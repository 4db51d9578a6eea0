package fleet

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// CalendarKind says what an interval of the calendar does.
type CalendarKind uint8

// Kinds of calendar entry. Numbers are part of the replicated log.
const (
	CapacityFalls CalendarKind = iota // maintenance: hosts have less for a while
	LoadChanges                       // a known event: workloads want more, or less
	NoMoves                           // nothing moves but what an operator requests
	LoadGrows                         // load grows, beyond what the history shows
)

// Month is what the growth of LoadGrows is counted in.
const Month = 30 * 24 * time.Hour

var calendarKinds = []string{"capacity-falls", "load-changes", "no-moves", "load-grows"}

func (k CalendarKind) String() string { return enumText(calendarKinds, k) }

// MarshalText writes the word for the kind.
func (k CalendarKind) MarshalText() ([]byte, error) {
	return marshalEnum("calendar kind", calendarKinds, k)
}

// UnmarshalText reads the word for a kind.
func (k *CalendarKind) UnmarshalText(b []byte) error {
	return unmarshalEnum("calendar kind", calendarKinds, b, k)
}

// CalendarEntry is one interval of load time, [From, Until), in which something
// known beforehand holds. Recurring rules are expanded into intervals by the
// shell.
type CalendarEntry struct {
	// ID is unique within the source that the entry came from.
	ID    string       `json:"id"`
	Kind  CalendarKind `json:"kind"`
	Label string       `json:"label,omitempty"`
	From  time.Time    `json:"from"`
	Until time.Time    `json:"until"`
	// Whom it is about; all four empty means everything. A workload is meant
	// by its own name, its group, or the host or zone of its owner.
	Hosts     []HostID     `json:"hosts,omitempty"`
	Zones     []string     `json:"zones,omitempty"`
	Workloads []WorkloadID `json:"workloads,omitempty"`
	Groups    []string     `json:"groups,omitempty"`
	// Change is by how many thousandths capacity or load changes, per
	// resource: -1000 takes all of it away, 500 makes it half as much again,
	// 0 leaves it. Of LoadGrows it is the change in each Month, compounded.
	Change Vector `json:"change,omitzero"`
}

// At says whether the entry holds at a load time.
func (e CalendarEntry) At(load time.Time) bool { return !load.Before(e.From) && load.Before(e.Until) }

// everything: the entry names nobody.
func (e CalendarEntry) everything() bool {
	return len(e.Hosts)+len(e.Zones)+len(e.Workloads)+len(e.Groups) == 0
}

// OnHost says whether the entry is about the host.
func (e CalendarEntry) OnHost(h Host) bool {
	return e.everything() || slices.Contains(e.Hosts, h.ID) || slices.Contains(e.Zones, h.Zone)
}

// OnWorkload says whether the entry is about a workload that runs on owner.
func (e CalendarEntry) OnWorkload(w Workload, owner Host) bool {
	return e.OnHost(owner) || slices.Contains(e.Workloads, w.ID) || w.Group != "" && slices.Contains(e.Groups, w.Group)
}

// Growth is by how much an entry of LoadGrows multiplies the load of a resource from
// one time to a later one: only what of the time between lies in the entry counts.
func (e CalendarEntry) Growth(r Resource, from, until time.Time) float64 {
	rate := e.Change.Get(r)
	if from.Before(e.From) {
		from = e.From
	}
	if until.After(e.Until) {
		until = e.Until
	}
	if e.Kind != LoadGrows || rate == Unknown || !until.After(from) {
		return 1
	}
	return math.Pow(1+float64(max(rate, leastGrowth))/1000, float64(until.Sub(from))/float64(Month))
}

// Bounds of a growth in thousandths a month: what is gone cannot grow again.
const (
	leastGrowth = -999
	mostGrowth  = 10_000
)

// String is how decisions name an entry: "no-moves Black Friday".
func (e CalendarEntry) String() string {
	if e.Label == "" {
		return e.Kind.String() + " " + e.ID
	}
	return e.Kind.String() + " " + e.Label
}

// Validate checks an entry that comes from outside.
func (e CalendarEntry) Validate() error {
	if err := validateName("calendar id", e.ID); err != nil {
		return err
	}
	switch {
	case int(e.Kind) >= len(calendarKinds):
		return fmt.Errorf("calendar entry %s: kind %d has no name", e.ID, e.Kind)
	case len(e.Label) > maxNameLength:
		return fmt.Errorf("calendar entry %s: the label has %d characters: at most %d are allowed", e.ID, len(e.Label), maxNameLength)
	case !e.Until.After(e.From):
		return fmt.Errorf("calendar entry %s: it ends at %s, not after it begins at %s", e.ID, e.Until.Format(time.RFC3339), e.From.Format(time.RFC3339))
	case e.Kind == NoMoves && !e.Change.IsZero():
		return fmt.Errorf("calendar entry %s: no-moves changes no amount", e.ID)
	case e.Kind != NoMoves && e.Change.IsZero():
		return fmt.Errorf("calendar entry %s: %s says by how many thousandths of which resource", e.ID, e.Kind)
	}
	return e.validateChange()
}

func (e CalendarEntry) validateChange() (bad error) {
	// An amount of -1000 is not one that comes from outside elsewhere, so the
	// names are checked with amounts that are.
	names := Vector{Named: slices.Clone(e.Change.Named)}
	for i := range names.Named {
		names.Named[i].Amount = 1
	}
	if err := names.Validate(); err != nil {
		return fmt.Errorf("calendar entry %s: %w", e.ID, err)
	}
	least, limit := int64(-1000), int64(100_000) // a hundred times as much
	switch e.Kind {
	case CapacityFalls:
		limit = 0
	case LoadGrows:
		least, limit = leastGrowth, mostGrowth
	}
	e.Change.Each(func(r Resource, n int64) {
		if bad == nil && (n < least || n > limit) {
			bad = fmt.Errorf("calendar entry %s: %s changes by %d thousandths: %d to %d are allowed", e.ID, r, n, least, limit)
		}
	})
	return bad
}
