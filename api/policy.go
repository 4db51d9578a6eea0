package api

// Policy is what the passes of every leader obey. Horizon, margin and cool-down
// are load time.
type Policy struct {
	Automation     string  `json:"automation"` // observe | recommend | auto
	Paused         bool    `json:"paused"`
	Quantile       float64 `json:"quantile"` // of demand, that must stay below allocatable
	HorizonS       float64 `json:"horizon_s"`
	HoldPasses     int64   `json:"hold_passes"`
	MarginS        float64 `json:"margin_s"`
	Headroom       float64 `json:"headroom"` // fraction of allocatable a destination keeps free
	CooldownS      float64 `json:"cooldown_s"`
	CooldownResetS float64 `json:"cooldown_reset_s"`
	MovesPerPass   int64   `json:"moves_per_pass"`
	MovesInFlight  int64   `json:"moves_in_flight"`
	ChurnPerHour   int64   `json:"churn_per_hour"`
	// Off at zero: room for so many failed hosts per zone, bounds of the moves
	// under way per host and of their bandwidth (bytes per second), consolidation.
	ReserveHosts      int64 `json:"reserve_hosts"`
	MovesPerHost      int64 `json:"moves_per_host"`
	BandwidthInFlight int64 `json:"bandwidth_in_flight"`
	Consolidate       bool  `json:"consolidate"`
	// The same between any two zones and within each.
	MovesPerLink     int64 `json:"moves_per_link"`
	BandwidthPerLink int64 `json:"bandwidth_per_link"`
	// What a pass may change of a workload where it is, before it moves one.
	InPlaceCPUWeight bool `json:"in_place_cpu_weight"`
	InPlaceCPUQuota  bool `json:"in_place_cpu_quota"`
	InPlaceVCPUs     bool `json:"in_place_vcpus"`
	InPlaceBalloon   bool `json:"in_place_balloon"`
	// How many workloads may be kept copied at the destination of a move that may
	// still wait; off at zero.
	Standbys int64 `json:"standbys"`
}
