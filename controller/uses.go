package controller

import (
	"time"

	"github.com/placed-dev/placed/fleet"
)

// useKey is a resource of a host beside cpu, whose demand per tick reports carry.
type useKey struct {
	host     fleet.HostID
	resource fleet.Resource
}

// useRing is what a host used per tick: the mean of what its reports said in it.
type useRing struct {
	ring
	tick  int64
	sum   float64
	count int
}

// addUses takes the memory, network and disk of a report into the mean of its tick;
// what a host never used has no ring. It needs mu.
func (r *Reports) addUses(report Report) {
	tick := fleet.TickOf(report.At.Add(-time.Nanosecond))
	for _, resource := range fleet.Resources() {
		key := useKey{report.Host, resource}
		used := report.Usage.Get(resource)
		have := r.uses[key]
		if resource == fleet.CPU || used == fleet.Unknown || used <= 0 && have == nil {
			continue
		}
		if have == nil {
			have = &useRing{tick: tick}
			r.uses[key] = have
		}
		if tick != have.tick {
			if have.count > 0 {
				have.put(have.tick, have.sum/float64(have.count))
			}
			have.tick, have.sum, have.count = tick, 0, 0
		}
		have.sum, have.count = have.sum+float64(max(used, 0)), have.count+1
	}
}

// HostUse returns what a host used of a resource beside cpu per tick, oldest first, in
// base units.
func (r *Reports) HostUse(id fleet.HostID, resource fleet.Resource) (ticks []int64, amounts []float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if have := r.uses[useKey{id, resource}]; have != nil {
		return have.values()
	}
	return nil, nil
}
