package planner

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/placed-dev/placed/fleet"
)

// shelter answers for one zone what would become of its workloads if hosts
// failed: the room that policy.ReserveHosts keeps (N+1, N+2 …).
type shelter struct {
	sites []*site // open ones of the zone, by id
	fail  int
}

// shelterOf gathers the zone of a host; nil when no reserve is asked for.
func (p *pass) shelterOf(zone string) *shelter {
	if p.view.Policy.ReserveHosts == 0 {
		return nil
	}
	s := &shelter{fail: int(p.view.Policy.ReserveHosts)}
	for _, x := range p.books.sites {
		if x.Zone == zone && x.State == fleet.HostActive && x.Liveness == fleet.Alive {
			s.sites = append(s.sites, x)
		}
	}
	return s
}

// homeless is the memory, in bytes, of the workloads that would find no room if
// the host failed, with it those others of the zone that hold most. The workloads
// go to the survivors largest first, each to the host with the most room: a way
// that exists in practice, so what it finds no room for is a warning and not a
// proof. extra counts as being on the host at already.
func (s *shelter) homeless(failed *site, extra *load, at *site) int64 {
	down := map[*site]bool{failed: true}
	others := slices.Clone(s.sites)
	slices.SortStableFunc(others, func(a, b *site) int { return cmp.Compare(b.booked, a.booked) })
	for _, o := range others {
		if len(down) < s.fail {
			down[o] = true
		}
	}
	var room []fleet.Vector
	var lost []*load
	for _, x := range s.sites {
		if down[x] {
			lost = append(lost, x.members...)
			if x == at && extra != nil {
				lost = append(lost, extra)
			}
			continue
		}
		free := x.Free().Sub(x.incoming)
		if x == at && extra != nil {
			free = free.Sub(extra.Reservation)
		}
		room = append(room, free)
	}
	slices.SortStableFunc(lost, func(a, b *load) int {
		return cmp.Or(cmp.Compare(b.Reservation.Memory, a.Reservation.Memory), cmp.Compare(a.ID, b.ID))
	})
	bytes := int64(0)
	for _, l := range lost {
		best := -1
		for i, free := range room {
			if _, lacks := free.Lacks(l.Reservation); !lacks && (best < 0 || free.Memory > room[best].Memory) {
				best = i
			}
		}
		if best < 0 {
			bytes += int64(known(l.Reservation.Memory))
			continue
		}
		room[best] = room[best].Sub(l.Reservation)
	}
	return bytes
}

// unsheltered says why a workload may not go to a host: if some host of its zone
// failed, more than now would find no room. What is beyond help already does not
// forbid the moves that change nothing about it.
func (p *pass) unsheltered(l *load, to *site) string {
	s := p.shelterOf(to.Zone)
	if s == nil {
		return ""
	}
	for _, failed := range s.sites {
		with := s.homeless(failed, l, to)
		if with == 0 {
			continue
		}
		if before := s.homeless(failed, nil, nil); with > before {
			return fmt.Sprintf("if %s failed, %s more would find no room in zone %s (reserve_hosts %d)", failed.label(),
				fleet.FormatAmount(fleet.Memory, with-before), to.Zone, s.fail)
		}
	}
	return ""
}
