package fleet

import "time"

// Experience is how workloads of one category have fared on one host: a mean of
// what was observed there, in which older observations count less and less. It
// is a value that the leader keeps and hands on.
type Experience struct {
	Host     HostID `json:"host"`
	Category string `json:"category"`
	// Suffering is the decayed mean, 0 (nothing was felt) to 1 (all of the
	// time was lost), of the share of time that workloads waited for the host:
	// vcpu delay, pressure stall, or how far a service level was missed.
	Suffering float64 `json:"suffering"`
	// Weight is how many observations the mean stands for, decayed to At.
	Weight float64   `json:"weight"`
	At     time.Time `json:"at"` // load time of the newest observation
}
