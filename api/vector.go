package api

// Vector is an amount per resource as operators think of it: CPU in cores,
// memory in bytes, net and disk in bytes per second, custom resources in whole
// units. A null amount is unknown, which is not the same as zero.
type Vector struct {
	CPU    *float64           `json:"cpu"`
	Memory *int64             `json:"memory"`
	Net    *int64             `json:"net"`
	Disk   *int64             `json:"disk"`
	Custom map[string]float64 `json:"custom,omitempty"`
}

// Get returns the amount of a resource and whether it is known. A custom
// resource that the vector does not mention is a known zero.
func (v Vector) Get(resource string) (float64, bool) {
	whole := func(n *int64) (float64, bool) {
		if n == nil {
			return 0, false
		}
		return float64(*n), true
	}
	switch resource {
	case "cpu":
		if v.CPU == nil {
			return 0, false
		}
		return *v.CPU, true
	case "memory":
		return whole(v.Memory)
	case "net":
		return whole(v.Net)
	case "disk":
		return whole(v.Disk)
	}
	return v.Custom[resource], true
}
