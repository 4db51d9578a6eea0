package scorer

import "github.com/placed-dev/placed/fleet"

// weights of what is free on a host, by resource: a workload gains most from room
// in what it uses most. Each row sums to the same, so that scores of workloads of
// different categories compare.
type weights struct{ cpu, books, net, disk float64 }

// weightFree (cpu at the quantile) and weightBooks (reservations, of which memory
// is nearly always the tightest) are for workloads of which nothing is known, and
// for categories that favour no resource.
var usual = weights{cpu: weightFree, books: weightBooks}

// byCategory has the categories that do; their names are predictor's.
var byCategory = map[string]weights{
	"cpu-bound":        {cpu: 0.6, books: 0.05},
	"memory-intensive": {cpu: 0.25, books: 0.4},
	"io-heavy":         {cpu: 0.25, books: 0.1, disk: 0.3},
	"network-heavy":    {cpu: 0.25, books: 0.1, net: 0.3},
}

func weightsOf(category string) weights {
	if w, ok := byCategory[category]; ok {
		return w
	}
	return usual
}

// deviceParts are the free shares of disk and network with the workload there,
// where the category asks for them and the host has declared what it has.
func deviceParts(w fleet.WorkloadView, c Candidate, share weights) (parts []fleet.ScorePart) {
	for _, device := range []struct {
		name     string
		resource fleet.Resource
		weight   float64
	}{{"free disk", fleet.Disk, share.disk}, {"free network", fleet.Net, share.net}} {
		allocatable := c.Host.Allocatable().Get(device.resource)
		if device.weight == 0 || allocatable == fleet.Unknown || allocatable <= 0 {
			continue
		}
		used := max(c.Host.Usage.Get(device.resource), 0) + max(w.Usage.Get(device.resource), 0)
		parts = append(parts, fleet.ScorePart{Name: device.name, Value: device.weight * clamp(1-float64(used)/float64(allocatable))})
	}
	return parts
}

// dayPart counts against a host how high its usual day would peak with the
// workload: of two hosts with the same room now, the one whose workloads are busy
// when this one sleeps is the better place. More load never raises it.
func dayPart(w fleet.WorkloadView, c Candidate) (fleet.ScorePart, bool) {
	allocatable := c.Host.Allocatable().CPU
	if len(w.Hours) == 0 || len(c.Hours) != len(w.Hours) || allocatable == fleet.Unknown || allocatable <= 0 {
		return fleet.ScorePart{}, false
	}
	peak := int64(0)
	for h, v := range w.Hours {
		peak = max(peak, max(v, 0)+max(c.Hours[h], 0))
	}
	return fleet.ScorePart{Name: "peak of the day", Value: -weightDay * clamp(float64(peak)/float64(allocatable))}, true
}
