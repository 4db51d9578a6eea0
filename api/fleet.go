package api

// Fleet is the fleet file: what `placed plan --fleet` reads and GET /v1/fleet
// returns. An absent reservation is zero for cpu, net and disk and the usage for
// memory; an absent usage is the reservation.
type Fleet struct {
	Hosts     []FleetHost     `json:"hosts"`
	Instances []FleetInstance `json:"instances"`
	Rules     []FleetRule     `json:"rules"`
	Links     []FleetLink     `json:"links"`
}

// FleetHost is a host of a fleet file.
type FleetHost struct {
	ID    string `json:"id"`
	Zone  string `json:"zone,omitempty"`
	State string `json:"state,omitempty"`
	// Capacity is what may be given out before overcommit.
	Capacity Vector `json:"capacity"`
	// Overcommit is a factor per resource, 1 when absent.
	Overcommit   map[string]float64 `json:"overcommit,omitempty"`
	Price        *Price             `json:"price,omitempty"`
	Capabilities map[string]string  `json:"capabilities,omitempty"`
	Labels       map[string]string  `json:"labels,omitempty"`
}

// Price of a host's resources per hour, in any one currency.
type Price struct {
	CPUHour float64 `json:"cpu_hour"`
	GiBHour float64 `json:"gib_hour"`
}

// FleetInstance is a workload of a fleet file.
type FleetInstance struct {
	ID          string  `json:"id"`
	Host        string  `json:"host"`
	Reservation Vector  `json:"reservation"`
	Usage       Vector  `json:"usage"`
	Priority    int64   `json:"priority"`
	Tolerance   float64 `json:"tolerance"`
	Movable     bool    `json:"movable"`
	Group       string  `json:"group"`
	// Requires is what a host must have, as its capabilities name it.
	Requires map[string]string `json:"requires,omitempty"`
}

// FleetRule keeps instances together, apart, on or off hosts.
type FleetRule struct {
	ID        string   `json:"id,omitempty"`
	Kind      string   `json:"kind"` // affinity | anti-affinity | host-affinity | host-anti-affinity
	Hard      bool     `json:"hard"`
	Instances []string `json:"instances"`
	Groups    []string `json:"groups,omitempty"` // every instance of these groups
	Hosts     []string `json:"hosts"`
}

// FleetLink is the network between two hosts: Bandwidth in bytes per second.
type FleetLink struct {
	From       string  `json:"from"`
	To         string  `json:"to"`
	LatencyMS  float64 `json:"latency_ms"`
	Bandwidth  int64   `json:"bandwidth"`
	CostPerGiB float64 `json:"cost_per_gib"`
	// Barred, if not empty, says why nothing can move this way.
	Barred string `json:"barred,omitempty"`
}
