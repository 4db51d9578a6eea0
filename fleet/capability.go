package fleet

import "slices"

// Capabilities of a host that a workload may require, as its agent reports them.
type Capabilities struct {
	// CPUModel and CPUFeatures as the hypervisor names them. A workload that
	// has started with a feature cannot go on without it.
	CPUModel    string   `json:"cpu_model,omitempty"`
	CPUFeatures []string `json:"cpu_features,omitempty"`
	// Devices that can be passed through ("gpu-a100"), Storage and Networks
	// that the host reaches.
	Devices  []string `json:"devices,omitempty"`
	Storage  []string `json:"storage,omitempty"`
	Networks []string `json:"networks,omitempty"`
	// Abilities, sorted by class, as the drivers of the host find them out.
	Abilities []Ability `json:"abilities,omitempty"`
}

// IsZero reports whether nothing is declared.
func (c Capabilities) IsZero() bool {
	return c.CPUModel == "" && len(c.CPUFeatures) == 0 && len(c.Devices) == 0 && len(c.Storage) == 0 && len(c.Networks) == 0 && len(c.Abilities) == 0
}

// Lacks names the first requirement that the capabilities do not meet, as
// "storage ceph-2", and whether there is one.
func (c Capabilities) Lacks(want Capabilities) (string, bool) {
	if want.CPUModel != "" && want.CPUModel != c.CPUModel {
		return "cpu model " + want.CPUModel, true
	}
	for _, kind := range []struct {
		name       string
		have, want []string
	}{
		{"cpu feature", c.CPUFeatures, want.CPUFeatures}, {"device", c.Devices, want.Devices},
		{"storage", c.Storage, want.Storage}, {"network", c.Networks, want.Networks},
	} {
		for _, w := range kind.want {
			if !slices.Contains(kind.have, w) {
				return kind.name + " " + w, true
			}
		}
	}
	if missing := Lacking(c.Abilities, want.Abilities); len(missing) > 0 {
		return missing[0], true
	}
	return "", false
}

// Price of a host's resources per hour, in any one currency.
type Price struct {
	CPUHour float64 `json:"cpu_hour"`
	GiBHour float64 `json:"gib_hour"`
}

// Link is what is known of the way from one host, or one zone, to another. It is
// directional: a guest may be able to move to a newer host and not back.
type Link struct {
	From string `json:"from"` // host id or zone
	To   string `json:"to"`
	// LatencyMS is the measured round trip in milliseconds, Bandwidth what a
	// migration gets in bytes per second; 0 when unmeasured.
	LatencyMS  float64 `json:"latency_ms,omitempty"`
	Bandwidth  int64   `json:"bandwidth,omitempty"`
	CostPerGiB float64 `json:"cost_per_gib,omitempty"`
	// Barred, if not empty, says why nothing can move this way.
	Barred string `json:"barred,omitempty"`
}
