package predictor

import (
	"github.com/placed-dev/placed/fleet"
)

// Contention tells whether the demand on a host is going to cross what it can
// give of a resource. nowTick is the tick that runs now, current the demand
// measured now in base units.
//
// The breach is the first tick, from the running one to the policy's horizon,
// whose quantile (policy.Quantile) lies above allocatable; Steps counts from the
// running tick (0 = it is in it). Probability and Demand belong to the worst
// tick within the horizon. Now is set when current lies above allocatable; it is
// reported even if the forecast sees no breach, with Steps 0. An allocatable
// amount that is Unknown is never crossed.
func Contention(host fleet.Host, r fleet.Resource, d Demand, nowTick int64, current float64, policy fleet.Policy) (fleet.Contention, bool) {
	allocatable := host.Allocatable().Get(r)
	return contentionOf(host, r, d, nowTick, current, policy, func(int64) int64 { return allocatable })
}

// contentionOf is Contention with an allocatable amount for each tick.
func contentionOf(host fleet.Host, r fleet.Resource, d Demand, nowTick int64, current float64, policy fleet.Policy, allocatable func(tick int64) int64) (fleet.Contention, bool) {
	level := float64(policy.Quantile) / 1000
	present := allocatable(nowTick)
	out := fleet.Contention{
		Host: host.ID, Zone: host.Zone, Resource: r,
		Allocatable: present, Now: present != fleet.Unknown && current > float64(present),
	}
	breach, worst := 0, 0
	for step := 1; step <= Steps; step++ {
		lead := d.Tick() + int64(step) - nowTick
		if lead < 0 || lead*int64(fleet.Tick) > int64(policy.Horizon) {
			continue
		}
		line := allocatable(d.Tick() + int64(step))
		if line == fleet.Unknown {
			continue
		}
		limit := float64(line)
		p := d.Exceeds(step, limit)
		if worst == 0 || p > out.Probability {
			worst, out.Probability = step, p
			if !out.Now {
				out.Allocatable = line
			}
		}
		if breach == 0 && p > 1-level && d.Quantile(step, level) > limit {
			breach = step
		}
	}
	if breach == 0 && !out.Now {
		return fleet.Contention{}, false
	}
	if worst != 0 {
		out.Demand = d.Quantile(worst, level)
	}
	tick := nowTick
	if out.Now {
		out.Demand = max(out.Demand, current)
	} else {
		tick = d.Tick() + int64(breach)
	}
	out.Breach, out.Steps = fleet.TickStart(tick), int(tick-nowTick)
	return out, true
}
