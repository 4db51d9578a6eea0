package api

import "time"

// HostRef names a host in another object.
type HostRef struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// Address is the host's mTLS port, API its HTTP address; both "ip:port".
	Address string `json:"address,omitempty"`
	API     string `json:"api,omitempty"`
}

// Problem is something an operator should look at: what, where and what to do.
type Problem struct {
	Code    string `json:"code"` // stable word, e.g. "no_leader", "overbooked", "host_stale"
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	Host    string `json:"host,omitempty"`
	// Workload is the workload concerned, if there is one.
	Workload string `json:"workload,omitempty"`
}

// Status is one agent's picture of the cluster.
type Status struct {
	Cluster string  `json:"cluster"`
	Host    HostRef `json:"host"` // the agent that answers
	// Leader is null while the agent knows of none.
	Leader *HostRef `json:"leader"`
	Term   uint64   `json:"term"`
	Index  uint64   `json:"index"` // last applied index of the log
	// Time is the agent's wall time, LoadTime the load clock, TimeScale how
	// many load seconds pass in a machine second.
	Time       time.Time `json:"time"`
	LoadTime   time.Time `json:"load_time"`
	TimeScale  float64   `json:"time_scale"`
	Automation string    `json:"automation"` // observe | recommend | auto
	Paused     bool      `json:"paused"`
	// Counts over the books.
	Hosts      int `json:"hosts"`
	HostsAlive int `json:"hosts_alive"`
	// HostsOverbooked hold more than they can give: nothing is granted toward them.
	HostsOverbooked int `json:"hosts_overbooked"`
	Voters          int `json:"voters"`
	VotersAlive     int `json:"voters_alive"`
	Workloads       int `json:"workloads"`
	Contentions     int `json:"contentions"` // predicted now
	// Rules in force, and how many of the hard ones are broken as the books
	// stand.
	Rules       int `json:"rules"`
	RulesBroken int `json:"rules_broken"`
	// Adjustments of workloads in place that stand, AdjustmentsFailed those that a
	// host could not make; DrainsOverdue are hosts that missed their deadline.
	Adjustments       int `json:"adjustments"`
	AdjustmentsFailed int `json:"adjustments_failed"`
	DrainsOverdue     int `json:"drains_overdue"`
	// CalendarSources are written; CalendarNow says in words what of them holds
	// now.
	CalendarSources int      `json:"calendar_sources"`
	CalendarNow     []string `json:"calendar_now"`
	// MigrationsActive are under way, MigrationsTotal have committed since
	// the cluster began, MigrationsFailed ended without a commit.
	MigrationsActive int    `json:"migrations_active"`
	StandbysActive   int    `json:"standbys_active"` // workloads kept copied elsewhere
	MigrationsTotal  uint64 `json:"migrations_total"`
	MigrationsFailed uint64 `json:"migrations_failed"`
	Version          string `json:"version"`
	Healthy          bool   `json:"healthy"`
	// Problems is never null; healthy means it is empty.
	Problems []Problem `json:"problems"`
}

// Health is the answer of an agent about itself. It needs no leader.
type Health struct {
	// Alive: the agent's own loops run. Ready: it may be sent traffic, because
	// it knows a leader and has applied the log.
	Alive    bool      `json:"alive"`
	Ready    bool      `json:"ready"`
	Host     HostRef   `json:"host"`
	Version  string    `json:"version"`
	Problems []Problem `json:"problems"`
}
