package fleet

import "time"

// View is everything one pass decides from. The replicated state and the
// simulator build the same View, so a pass has one implementation. All lists
// are sorted by id; a pass must not depend on anything outside the View.
type View struct {
	Cluster string `json:"cluster"`
	Index   uint64 `json:"index"`
	// Now is load time. TimeScale is how many load seconds pass in a machine
	// second; predicted migration times are multiplied by it.
	Now       time.Time      `json:"now"`
	TimeScale float64        `json:"time_scale"`
	Policy    Policy         `json:"policy"`
	Hosts     []HostView     `json:"hosts"`
	Workloads []WorkloadView `json:"workloads"`
	Leases    []Lease        `json:"leases"` // active ones
	Requests  []Request      `json:"requests,omitempty"`
	// Grants are the load times of the grants in the last hour (churn).
	Grants []time.Time `json:"grants,omitempty"`
	// Breaches remembers, per host and resource, for how many consecutive
	// passes a breach has been predicted (hold).
	Breaches []BreachStreak `json:"breaches,omitempty"`
	// Rules, by id, and what is known of the ways between hosts and zones.
	Rules []Rule `json:"rules,omitempty"`
	Links []Link `json:"links,omitempty"`
	// Calendar is what is known of the days ahead, by source, then time.
	Calendar []CalendarEntry `json:"calendar,omitempty"`
	// Experiences, by host and category.
	Experiences []Experience `json:"experiences,omitempty"`
	// Adjustments in place, by workload and kind; Thresholds, by workload.
	Adjustments []Adjustment         `json:"adjustments,omitempty"`
	Thresholds  []WorkloadThresholds `json:"thresholds,omitempty"`
	// Standbys are what the sources of standbys say of them, by lease.
	Standbys []Standby `json:"standbys,omitempty"`
}

// Standby is a workload's copy at the destination of a standby lease, complete and
// kept up to date. Times are machine time.
type Standby struct {
	Lease LeaseID `json:"lease"`
	// Refresh is how often the copy is brought up to date, Took how long the last
	// refresh took: the move needs about one, and its cutover.
	Refresh time.Duration `json:"refresh_ns"`
	Took    time.Duration `json:"took_ns"`
}

// BreachStreak counts the consecutive passes that predicted a breach of a host, or
// found one workload squeezed in its own limits or above its threshold.
type BreachStreak struct {
	Host HostID `json:"host"`
	// Workload and What it is about, empty for a host.
	Workload WorkloadID `json:"workload,omitempty"`
	What     string     `json:"what,omitempty"`
	Resource Resource   `json:"resource"`
	Passes   int64      `json:"passes"`
	// Clear counts those of them, the newest, in a row, in which the shortage was
	// too large to be noise near the line.
	Clear int64 `json:"clear"`
}

// HostView is a host with what is observed of it.
type HostView struct {
	Host
	Liveness Liveness `json:"liveness"`
	// Held is what reservations and leases hold here; Overbooked says that
	// reality exceeds the books, so nothing may be granted toward it.
	Held       Vector `json:"held"`
	Overbooked bool   `json:"overbooked"`
	// Usage is the newest report, Reported its load time.
	Usage    Vector    `json:"usage"`
	Reported time.Time `json:"reported"`
	// Foreign is load that belongs to no workload in the books.
	Foreign Vector `json:"foreign"`
	// Bandwidth of the migration link in bytes per second, 0 when unmeasured.
	Bandwidth int64 `json:"bandwidth"`
	// Capabilities as reported, Price and Labels as an operator set them.
	Capabilities Capabilities      `json:"capabilities,omitzero"`
	Price        Price             `json:"price,omitzero"`
	Labels       map[string]string `json:"labels,omitempty"`
	// DrainBy is the load time by which an operator wants a host that is being
	// emptied to be empty; zero when nobody said.
	DrainBy time.Time `json:"drain_by,omitzero"`
}

// Free is what the books may still grant here; negative when overbooked.
func (h HostView) Free() Vector { return h.Allocatable().Sub(h.Held) }

// WorkloadView is a workload with what is observed of it.
type WorkloadView struct {
	Workload
	// Usage is the newest sample, Series what to forecast from.
	Usage  Vector   `json:"usage"`
	Series []Series `json:"series,omitempty"`
	// Size of its state in bytes, WriteRate and WorkingSet as last measured
	// (bytes per second, bytes); 0 when unmeasured.
	Size       int64 `json:"size"`
	WriteRate  int64 `json:"write_rate"`
	WorkingSet int64 `json:"working_set"`
	// CooldownUntil is load time; zero when the workload may move.
	CooldownUntil time.Time `json:"cooldown_until,omitzero"`
	// Requires is what a host must have to run it.
	Requires Capabilities `json:"requires,omitzero"`
	// Category of its load ("cpu-bound", …), empty while it is not known.
	Category string `json:"category,omitempty"`
	// Hours is its usual cpu demand per hour of the day (UTC), millicores, from
	// its profile; nil while that is not known.
	Hours []int64 `json:"hours,omitempty"`
	// Knobs are what its driver can change of it while it runs, by kind; Wait is
	// the cpu it wanted and did not get, millicores.
	Knobs []Knob `json:"knobs,omitempty"`
	Wait  int64  `json:"wait,omitempty"`
	// Copies says that its driver can keep a copy of it up to date at another host.
	Copies bool `json:"copies,omitempty"`
}
