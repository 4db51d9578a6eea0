package scorer

import (
	"math"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// HalfLife is the load time after which an observation counts half.
const HalfLife = 7 * 24 * time.Hour

// Weights of the parts that need something measured or declared. Each is the
// weight times a share between 0 and 1.
const (
	// weightExperience: what was felt on a host is better evidence than what
	// its figures promise, so it can outweigh all of its free cpu.
	weightExperience = 0.6
	weightSoftRule   = 0.25
	weightLatency    = 0.1
	weightPrice      = 0.1
	// confident is the number of observations at which an experience counts
	// half: one bad hour condemns no host.
	confident = 6.0
	// halfLatency and halfCost are where the parts are half their weight.
	halfLatencyMS = 5.0
	halfCost      = 1.0 // of the currency, per move or per hour
)

// Observe adds one observation of suffering (0 to 1) at a load time. Values that
// are no share are taken as the nearest one; an observation from before the
// newest counts as much as it would have by now.
func Observe(e fleet.Experience, at time.Time, suffering float64) fleet.Experience {
	if math.IsNaN(suffering) {
		return e
	}
	weight := 1.0
	if e.Weight == 0 || at.After(e.At) {
		e.Weight = decayed(e, at)
		e.At = at
	} else {
		weight = math.Exp2(-float64(e.At.Sub(at)) / float64(HalfLife))
	}
	e.Suffering = (e.Suffering*e.Weight + clamp(suffering)*weight) / (e.Weight + weight)
	e.Weight += weight
	return e
}

func decayed(e fleet.Experience, now time.Time) float64 {
	age := now.Sub(e.At)
	if e.Weight == 0 || age <= 0 {
		return e.Weight
	}
	return e.Weight * math.Exp2(-float64(age)/float64(HalfLife))
}

// Historical is the part of an affinity score that experience makes, at most 0:
// the suffering, as surely as it is known by now.
func Historical(e fleet.Experience, now time.Time) float64 {
	weight := decayed(e, now)
	return -weightExperience * clamp(e.Suffering) * weight / (weight + confident)
}

// affinityParts are the parts of a score for which something is known: nobody's
// score changes because a fleet declares no prices.
func affinityParts(w fleet.WorkloadView, c Candidate, terms Terms) []fleet.ScorePart {
	var parts []fleet.ScorePart
	add := func(name string, value float64) {
		if value != 0 {
			parts = append(parts, fleet.ScorePart{Name: name, Value: value})
		}
	}
	add("historical performance", Historical(c.Experience, terms.Now))
	add("soft rules", -weightSoftRule*float64(c.SoftRules))
	add("latency", -weightLatency*half(c.Way.LatencyMS, halfLatencyMS))
	gib := float64(w.Size) / (1 << 30)
	add("transfer price", -weightPrice*half(c.Way.CostPerGiB*gib, halfCost))
	want := w.Reservation.Max(w.Usage)
	hourly := c.Host.Price.CPUHour*float64(max(want.CPU, 0))/1000 + c.Host.Price.GiBHour*float64(max(want.Memory, 0))/(1<<30)
	add("resource price", -weightPrice*half(hourly, halfCost))
	return parts
}

// half grows from 0 towards 1 and is a half at the given amount.
func half(amount, at float64) float64 {
	if !(amount > 0) {
		return 0
	}
	return amount / (amount + at)
}
