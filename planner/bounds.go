package planner

import (
	"fmt"
	"time"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/precopy"
	"github.com/placed-dev/placed/scorer"
)

// bounds keep a pass from doing too much at once. What an operator asked for
// obeys the number of moves in flight, because links and hosts have limits, but
// neither the churn budget nor, for single moves, the moves per pass: those bound
// the automation.
type bounds struct {
	policy   fleet.Policy
	inFlight int64
	churn    int64 // grants in the last hour of load time, planned ones included
	planned  int64
	pairs    map[[2]fleet.HostID]bool
	onHost   map[fleet.HostID]int64 // moves in flight that a host takes part in
	sending  int64                  // bytes per second, of all moves in flight
	links    map[fleet.HostID]int64
	hosts    map[fleet.HostID]fleet.Host
	ways     scorer.Ways
	onLink   map[zonePair]linkUse
	standbys int64
}

// zonePair are two zones, or one twice, in their order: moves in either direction use
// the same link.
type zonePair [2]string

// linkUse is what the moves under way use of the link between two zones.
type linkUse struct {
	moves   int64
	sending int64 // bytes per second
}

func newBounds(view fleet.View) bounds {
	b := bounds{policy: view.Policy, pairs: map[[2]fleet.HostID]bool{}, onHost: map[fleet.HostID]int64{}, links: map[fleet.HostID]int64{},
		hosts: make(map[fleet.HostID]fleet.Host, len(view.Hosts)), ways: scorer.NewWays(view.Links), onLink: map[zonePair]linkUse{}}
	for _, h := range view.Hosts {
		b.links[h.ID], b.hosts[h.ID] = h.Bandwidth, h.Host
	}
	for _, l := range view.Leases {
		if l.Kind == fleet.LeaseStandby && l.State <= fleet.Activated {
			b.standbys++
			if copyOf(view, l.ID) != nil {
				continue // it is complete, and refreshing it leaves the link to others
			}
		}
		switch l.State {
		// An uncertain or aborted lease holds capacity, but nothing moves:
		// counting it would let one stuck host stop the whole fleet.
		case fleet.Granted, fleet.Transferring, fleet.Prepared, fleet.Committed, fleet.Activated:
			b.count(l.Source, l.Destination, 1)
		}
	}
	for _, at := range view.Grants {
		if view.Now.Sub(at) < time.Hour {
			b.churn++
		}
	}
	return b
}

// spent says why no further move of this type may be planned, wherever it goes.
func (b *bounds) spent(t fleet.MigrationType) string {
	switch {
	case b.inFlight >= b.policy.MovesInFlight:
		return fmt.Sprintf("%d of %d moves are in flight (moves_in_flight): it waits for one to end", b.inFlight, b.policy.MovesInFlight)
	case t != fleet.Requested && b.planned >= b.policy.MovesPerPass:
		return fmt.Sprintf("this pass has planned its %d moves (moves_per_pass): it waits for the next", b.policy.MovesPerPass)
	case automatic(t) && b.churn >= b.policy.ChurnPerHour:
		return fmt.Sprintf("the churn budget is spent: %d grants in the last hour (churn_per_hour %d)", b.churn, b.policy.ChurnPerHour)
	}
	return ""
}

// take counts one move.
func (b *bounds) take(from, to fleet.HostID) {
	b.churn++
	b.planned++
	b.pairs[[2]fleet.HostID{from, to}] = true
	b.count(from, to, 1)
}

// keep counts one standby that this pass begins: it is copied whole at first.
func (b *bounds) keep(from, to fleet.HostID) {
	b.standbys++
	b.planned++
	b.pairs[[2]fleet.HostID{from, to}] = true
	b.count(from, to, 1)
}

// count adds n moves between two hosts to those in flight, and what they send.
func (b *bounds) count(from, to fleet.HostID, n int64) {
	rate := b.link(from, to)
	b.inFlight += n
	b.onHost[from] += n
	b.onHost[to] += n
	b.sending += n * rate
	pair := b.pair(from, to)
	used := b.onLink[pair]
	b.onLink[pair] = linkUse{used.moves + n, used.sending + n*rate}
}

func (b *bounds) pair(from, to fleet.HostID) zonePair {
	x, y := b.hosts[from].Zone, b.hosts[to].Zone
	return zonePair{min(x, y), max(x, y)}
}

// link is what one move between two hosts sends per second: what the slower end
// or the way between them can. What was never measured is as fast as precopy takes it
// to be.
func (b *bounds) link(from, to fleet.HostID) int64 {
	rate := int64(0)
	for _, h := range []fleet.HostID{from, to} {
		if r := b.links[h]; r > 0 && (rate == 0 || r < rate) {
			rate = r
		}
	}
	if way, ok := b.ways.Between(b.hosts[from], b.hosts[to]); ok && way.Bandwidth > 0 && (rate == 0 || way.Bandwidth < rate) {
		rate = way.Bandwidth
	}
	if rate == 0 {
		rate = int64(precopy.DefaultBandwidth)
	}
	return rate
}

// full says why no further move between the two hosts may begin now. The first
// move may exceed the bandwidth alone: it would never be made otherwise.
func (b *bounds) full(from, to fleet.HostID) string {
	if b.used(from, to) {
		return "this pass already moves something between the two hosts"
	}
	if most := b.policy.MovesPerHost; most > 0 {
		for _, h := range []fleet.HostID{from, to} {
			if b.onHost[h] >= most {
				return fmt.Sprintf("host %s takes part in %d of %d moves (moves_per_host): it waits for one to end", h, b.onHost[h], most)
			}
		}
	}
	if why := b.linkFull(from, to); why != "" {
		return why
	}
	if most := b.policy.BandwidthInFlight; most > 0 && b.sending > 0 && b.sending+b.link(from, to) > most {
		return fmt.Sprintf("the moves under way send %s/s of %s/s (bandwidth_in_flight): it waits for one to end",
			fleet.FormatAmount(fleet.Memory, b.sending), fleet.FormatAmount(fleet.Memory, most))
	}
	return ""
}

// linkFull says why the link between the zones of two hosts takes no further move.
func (b *bounds) linkFull(from, to fleet.HostID) string {
	pair := b.pair(from, to)
	used := b.onLink[pair]
	link := fmt.Sprintf("the link between the zones %s and %s", pair[0], pair[1])
	if pair[0] == pair[1] {
		link = fmt.Sprintf("the network of zone %s", pair[0])
	}
	if most := b.policy.MovesPerLink; most > 0 && used.moves >= most {
		return fmt.Sprintf("%s carries %d of %d moves (moves_per_link): it waits for one to end", link, used.moves, most)
	}
	if most := b.policy.BandwidthPerLink; most > 0 && used.sending > 0 && used.sending+b.link(from, to) > most {
		return fmt.Sprintf("the moves on %s send %s/s of %s/s (bandwidth_per_link): it waits for one to end", link,
			fleet.FormatAmount(fleet.Memory, used.sending), fleet.FormatAmount(fleet.Memory, most))
	}
	return ""
}

// used says whether this pass already moves something between the two hosts, in
// either direction: two moves on one link slow each other down, and a move each
// way would be a swap that one better move replaces.
func (b *bounds) used(from, to fleet.HostID) bool {
	return b.pairs[[2]fleet.HostID{from, to}] || b.pairs[[2]fleet.HostID{to, from}]
}

// automatic moves are the planner's own idea; the others an operator's.
func automatic(t fleet.MigrationType) bool {
	switch t {
	case fleet.Requested, fleet.Drain, fleet.Maintenance:
		return false
	}
	return true
}
