package controller

import (
	"cmp"
	"hash/fnv"
	"slices"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// ZoneTrip is how far the hosts of a zone are from the host that reports it.
type ZoneTrip struct {
	Zone string `json:"zone"`
	// Micros is the median of the lowest round-trip times to Hosts hosts of the
	// zone, in microseconds.
	Micros int64 `json:"us"`
	Hosts  int   `json:"hosts"`
}

// maxTrips bounds what a report says of zones.
const maxTrips = 64

// ZoneTrips sums up the round-trip times that a host has measured to others, by
// their zones, sorted by zone. Of more than 64 zones each host samples its own
// choice, so that a fleet covers all pairs.
func ZoneTrips(self fleet.HostID, zones map[fleet.HostID]string, measured map[fleet.HostID]time.Duration) []ZoneTrip {
	byZone := map[string][]int64{}
	for id, trip := range measured {
		if zone := zones[id]; id != self && zone != "" && trip > 0 {
			byZone[zone] = append(byZone[zone], max(1, trip.Microseconds()))
		}
	}
	trips := make([]ZoneTrip, 0, len(byZone))
	for zone, all := range byZone {
		trips = append(trips, ZoneTrip{Zone: zone, Micros: median(all), Hosts: len(all)})
	}
	if len(trips) > maxTrips {
		slices.SortFunc(trips, func(a, b ZoneTrip) int {
			return cmp.Or(cmp.Compare(draw(self, a.Zone), draw(self, b.Zone)), cmp.Compare(a.Zone, b.Zone))
		})
		trips = trips[:maxTrips]
	}
	slices.SortFunc(trips, func(a, b ZoneTrip) int { return cmp.Compare(a.Zone, b.Zone) })
	return trips
}

// draw orders zones differently for every host.
func draw(self fleet.HostID, zone string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(string(self) + "\x00" + zone))
	return h.Sum64()
}

// median of a list that is not empty; it sorts the list.
func median(list []int64) int64 {
	slices.Sort(list)
	return list[len(list)/2]
}

// Below leastTrip a distance matters to nobody, and between two measurements of
// one it is noise.
const leastTrip = 250 * time.Microsecond

type zonePair [2]string // ascending

// trips writes the measured round-trip times into the links between zones. What
// is known of a way beside its length stays; a length that somebody has declared
// counts more than a measured one. It needs mu.
func (r *Reports) trips(view *fleet.View, now time.Time, staleAfter time.Duration) {
	r.measure(view, now, staleAfter)
	if len(r.distances) == 0 {
		return
	}
	links := slices.Clone(view.Links) // the books may share theirs
	at := make(map[[2]string]int, len(links))
	for i, l := range links {
		at[[2]string{l.From, l.To}] = i
	}
	set := func(from, to string, trip time.Duration) {
		ms := float64(trip.Microseconds()) / 1000
		if i, ok := at[[2]string{from, to}]; !ok {
			links = append(links, fleet.Link{From: from, To: to, LatencyMS: ms})
		} else if links[i].LatencyMS == 0 {
			links[i].LatencyMS = ms
		}
	}
	for pair, trip := range r.distances {
		if trip < leastTrip {
			continue
		}
		set(pair[0], pair[1], trip)
		if pair[0] != pair[1] {
			set(pair[1], pair[0], trip)
		}
	}
	slices.SortFunc(links, func(a, b fleet.Link) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To)) })
	view.Links = links
}

// measure brings the distances between zones up to date: the median of what the
// hosts of both zones say. A way is as long in one direction as in the other, as
// far as round trips can tell. It needs mu.
func (r *Reports) measure(view *fleet.View, now time.Time, staleAfter time.Duration) {
	zones := map[string]bool{}
	said := map[zonePair][]int64{}
	for _, h := range view.Hosts {
		zones[h.Zone] = true
		have := r.hosts[h.ID]
		if have == nil || now.Sub(have.received) > staleAfter || h.Zone == "" {
			continue
		}
		for _, t := range have.report.Trips[:min(len(have.report.Trips), maxTrips)] {
			if t.Zone == "" || t.Micros <= 0 {
				continue
			}
			pair := zonePair{min(h.Zone, t.Zone), max(h.Zone, t.Zone)}
			said[pair] = append(said[pair], t.Micros)
		}
	}
	for pair := range r.distances {
		if !zones[pair[0]] || !zones[pair[1]] {
			delete(r.distances, pair)
		}
	}
	for pair, all := range said {
		if !zones[pair[0]] || !zones[pair[1]] {
			continue
		}
		trip := time.Duration(median(all)) * time.Microsecond
		// A plan must not change because a distance was measured anew.
		if old, ok := r.distances[pair]; !ok || (trip-old).Abs() >= max(leastTrip, old/5) {
			r.distances[pair] = trip
		}
	}
}
