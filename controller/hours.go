package controller

import (
	"math"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/predictor"
)

// usualDay reads the median cpu of each hour of the day (UTC, millicores) from a
// profile in the books; nil when it has none or is of another version.
func usualDay(blob []byte) []int64 {
	var p predictor.Profile
	if len(blob) == 0 || p.UnmarshalBinary(blob) != nil || p.Days == 0 {
		return nil
	}
	for _, r := range p.Resources {
		if r.Resource != fleet.CPU {
			continue
		}
		out := make([]int64, len(r.Q50))
		for h, v := range r.Q50 {
			out[h] = int64(math.Round(v))
		}
		return out
	}
	return nil
}
