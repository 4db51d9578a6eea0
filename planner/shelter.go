package planner

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/placed-dev/placed/fleet"
)

// shelter keeps, of a sequence of steps, those that leave every zone room for its
// reservations if so many of its hosts failed as the goal says. A step that would take
// that room is refused, and what it made room for with it; of a placement, which is all
// or nothing, nothing is left. A host that is to be emptied is emptied all the same, and
// the step says what it costs. The board is and stays in the state after the steps.
func (a *arranger) shelter(steps, stuck []hop) ([]hop, []hop) {
	if a.goal.ReserveHosts == 0 {
		return steps, stuck
	}
	for range len(a.order) + 1 {
		bad, why := a.exposing(steps)
		if bad < 0 {
			break
		}
		out := []int{steps[bad].w}
		if a.goal.Objective == Place {
			out = out[:0]
			for _, s := range steps {
				if !slices.Contains(out, s.w) {
					out = append(out, s.w)
				}
			}
		}
		end := slices.Clone(a.b.at)
		for _, w := range out {
			a.refuse(w, end[w], why)
		}
		var more []hop
		steps, more = a.b.without(out, end, a.order, a.goal.MaxMoves)
		stuck = append(stuck, slices.DeleteFunc(more, func(s hop) bool { return slices.Contains(out, s.w) })...)
		a.order = slices.DeleteFunc(a.order, func(w int) bool { return slices.Contains(out, w) })
	}
	return steps, stuck
}

// exposing finds the first step after which more reservations than before it would find
// no room if a host of its destination's zone failed; −1 when there is none.
func (a *arranger) exposing(steps []hop) (bad int, why string) {
	b := a.b
	for i := len(steps) - 1; i >= 0; i-- {
		b.put(steps[i].w, steps[i].from)
	}
	bad = -1
	for i, s := range steps {
		before := b.homeless(b.hosts[s.to].Zone, a.goal.ReserveHosts)
		b.put(s.w, s.to)
		if bad >= 0 {
			continue
		}
		for h, with := range b.homeless(b.hosts[s.to].Zone, a.goal.ReserveHosts) {
			if with <= before[h] {
				continue
			}
			text := fmt.Sprintf("if %s failed, %s more would find no room in zone %s (reserve_hosts %d)", b.hostName(h),
				fleet.FormatAmount(fleet.Memory, with-before[h]), b.hosts[h].Zone, a.goal.ReserveHosts)
			if s.from >= 0 && slices.Contains(a.leaving, s.from) {
				if _, said := a.exposed[s.w]; !said {
					a.exposed[s.w] = text
				}
				continue
			}
			bad, why = i, text
			break
		}
	}
	return bad, why
}

// homeless is, per host, the memory in bytes of the workloads that would find no room in
// the zone if that host failed, with it those others that hold most; 0 for hosts of other
// zones and closed ones. As in a pass, they go to the survivors largest first, each to
// the one with the most room.
func (b *board) homeless(zone string, fail int) []int64 {
	out := make([]int64, len(b.hosts))
	var open []int
	for h := range b.hosts {
		if b.hosts[h].Zone == zone && b.closed[h] == "" && !b.silent[h] {
			open = append(open, h)
		}
	}
	r := len(b.kinds)
	byHeld := slices.Clone(open)
	slices.SortStableFunc(byHeld, func(x, y int) int { return cmp.Compare(b.held[y*r+kindMemory], b.held[x*r+kindMemory]) })
	for _, failed := range open {
		down := []int{failed}
		for _, h := range byHeld {
			if len(down) < fail && h != failed {
				down = append(down, h)
			}
		}
		out[failed] = b.homelessWithout(open, down)
	}
	return out
}

func (b *board) homelessWithout(open, down []int) (bytes int64) {
	r := len(b.kinds)
	var lost []int
	for _, h := range down {
		lost = append(lost, b.on[h]...)
	}
	slices.SortFunc(lost, func(x, y int) int {
		return cmp.Or(cmp.Compare(b.want[y*r+kindMemory], b.want[x*r+kindMemory]), cmp.Compare(x, y))
	})
	held := map[int][]int64{}
	for _, h := range open {
		if !slices.Contains(down, h) {
			held[h] = slices.Clone(b.held[h*r : h*r+r])
		}
	}
	for _, w := range lost {
		want := b.want[w*r : w*r+r]
		best, most := -1, int64(0)
		for _, h := range open {
			have := held[h]
			if have == nil {
				continue
			}
			give := b.give[h*r : h*r+r]
			fits := true
			for k, n := range want {
				fits = fits && (n <= 0 || give[k] == fleet.Unknown || have[k]+n <= give[k])
			}
			if room := give[kindMemory] - have[kindMemory]; fits && (best < 0 || room > most) {
				best, most = h, room
			}
		}
		if best < 0 {
			bytes += want[kindMemory]
			continue
		}
		for k, n := range want {
			held[best][k] += n
		}
	}
	return bytes
}
