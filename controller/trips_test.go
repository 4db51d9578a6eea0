package controller

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/placed-dev/placed/fleet"
)

const ms = time.Millisecond

// TestZoneTrips: the median per zone, of what was measured and is known.
func TestZoneTrips(t *testing.T) {
	zones := map[fleet.HostID]string{"self": "a", "h1": "a", "h2": "b", "h3": "b", "h4": "b", "h5": ""}
	measured := map[fleet.HostID]time.Duration{"self": ms, "h1": 100 * time.Nanosecond, "h2": 9 * ms, "h3": 2 * ms, "h4": 3 * ms, "h5": ms, "stranger": ms, "h6": 0}
	want := []ZoneTrip{{"a", 1, 1}, {"b", 3000, 3}}
	if got := ZoneTrips("self", zones, measured); !slices.Equal(got, want) {
		t.Errorf("trips %v, want %v", got, want)
	}
}

// TestZoneTripsAreSampled: a report names 64 zones at most, and a few hosts cover
// all of them.
func TestZoneTripsAreSampled(t *testing.T) {
	zones, measured := map[fleet.HostID]string{}, map[fleet.HostID]time.Duration{}
	for i := range 200 {
		id := fleet.HostID(fmt.Sprintf("h%d", i))
		zones[id], measured[id] = fmt.Sprintf("z%03d", i), ms
	}
	seen := map[string]bool{}
	for i := range 40 {
		trips := ZoneTrips(fleet.HostID(fmt.Sprintf("self-%d", i)), zones, measured)
		if len(trips) != maxTrips || !slices.IsSortedFunc(trips, func(a, b ZoneTrip) int { return cmp.Compare(a.Zone, b.Zone) }) {
			t.Fatalf("%d trips: %v", len(trips), trips)
		}
		for _, trip := range trips {
			seen[trip.Zone] = true
		}
	}
	if len(seen) != 200 {
		t.Errorf("40 hosts speak of %d of 200 zones", len(seen))
	}
}

// zoned is a view of one host per zone, and reports of their distances.
func zoned(r *Reports, seq uint64, now time.Time, zones []string, trips map[string]map[string]time.Duration) fleet.View {
	var view fleet.View
	for _, z := range zones {
		id := fleet.HostID("h-" + z)
		view.Hosts = append(view.Hosts, fleet.HostView{Host: fleet.Host{ID: id, Zone: z}})
		said := Report{Host: id, Boot: "b", Seq: seq, At: now}
		for _, to := range zones {
			if trip := trips[z][to]; trip > 0 {
				said.Trips = append(said.Trips, ZoneTrip{Zone: to, Micros: trip.Microseconds(), Hosts: 1})
			}
		}
		r.Add(said, now)
	}
	return view
}

// TestDistancesReachTheView: what reports say of zones becomes links, in both
// directions; what is declared stands, and noise changes nothing.
func TestDistancesReachTheView(t *testing.T) {
	r := NewReports()
	zones := []string{"a", "b", "c"}
	fill := func(seq uint64, now time.Time, links []fleet.Link, trips map[string]map[string]time.Duration) []fleet.Link {
		view := zoned(r, seq, now, zones, trips)
		view.Links = links
		r.Fill(&view, now, 20*time.Second)
		return view.Links
	}
	want := func(what string, got []fleet.Link, want ...fleet.Link) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: links %+v, want %+v", what, got, want)
		}
	}
	near := map[string]map[string]time.Duration{"a": {"b": 4 * ms, "c": 100 * time.Microsecond, "gone": 7 * ms}, "b": {"a": 4 * ms}}
	ab, ba := fleet.Link{From: "a", To: "b", LatencyMS: 4}, fleet.Link{From: "b", To: "a", LatencyMS: 4}
	want("measured", fill(1, start, nil, near), ab, ba)

	noisy := map[string]map[string]time.Duration{"a": {"b": 4700 * time.Microsecond}, "b": {"a": 4700 * time.Microsecond}}
	want("noise", fill(2, start, nil, noisy), ab, ba)

	declared := []fleet.Link{{From: "a", To: "b", LatencyMS: 30}, {From: "b", To: "a", Barred: "older CPUs"}}
	want("declared", fill(3, start, declared, noisy), declared[0], fleet.Link{From: "b", To: "a", LatencyMS: 4, Barred: "older CPUs"})
	want("the books' own links", declared, fleet.Link{From: "a", To: "b", LatencyMS: 30}, fleet.Link{From: "b", To: "a", Barred: "older CPUs"})

	silent := start.Add(time.Minute)
	view := fleet.View{Hosts: []fleet.HostView{{Host: fleet.Host{ID: "h-a", Zone: "a"}}, {Host: fleet.Host{ID: "h-b", Zone: "b"}}}}
	r.Fill(&view, silent, 20*time.Second)
	want("without news a distance stands", view.Links, ab, ba)

	far := map[string]map[string]time.Duration{"a": {"b": 9 * ms}, "b": {"a": 9 * ms}}
	ab.LatencyMS, ba.LatencyMS = 9, 9
	want("a longer way", fill(4, silent, nil, far), ab, ba)

	zones = []string{"a", "c"}
	want("a zone that is gone", fill(5, silent, nil, far))
	if len(r.distances) != 0 {
		t.Errorf("distances are kept of zones that are gone: %v", r.distances)
	}
}

// TestDistancesAreStable: however the reports wander, a distance shown is within
// a fifth, or a quarter of a millisecond, of the newest median, and changes only
// when it is not.
func TestDistancesAreStable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := NewReports()
		shown := time.Duration(0)
		for seq := range uint64(rapid.IntRange(1, 30).Draw(t, "reports")) {
			trip := time.Duration(rapid.Int64Range(1, 50_000).Draw(t, "µs")) * time.Microsecond
			view := zoned(r, seq+1, start, []string{"a", "b"}, map[string]map[string]time.Duration{"a": {"b": trip}, "b": {"a": trip}})
			r.Fill(&view, start, time.Minute)
			now := r.distances[zonePair{"a", "b"}]
			bound := max(leastTrip, shown/5)
			if now != trip && (now != shown || (now-trip).Abs() >= bound) {
				t.Fatalf("%s is shown after %s, %s was measured", now, shown, trip)
			}
			if now == trip && shown != 0 && shown != trip && (trip-shown).Abs() < bound {
				t.Fatalf("%s became %s: that is noise", shown, now)
			}
			if (len(view.Links) == 2) != (now >= leastTrip) {
				t.Fatalf("distance %s, links %v", now, view.Links)
			}
			shown = now
		}
	})
}
