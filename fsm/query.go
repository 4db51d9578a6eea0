package fsm

import (
	"cmp"
	"maps"
	"slices"
	"sort"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// Cluster returns the cluster's id, empty before InitCluster.
func (s *State) Cluster() string { return s.cluster }

// Generation counts how often history may have been lost; the first is 1.
func (s *State) Generation() uint64 { return s.generation }

// Index is that of the last entry applied.
func (s *State) Index() uint64 { return s.index }

// Time returns the newest wall time and load time of any proposer.
func (s *State) Time() (wall, load time.Time) { return s.wall, s.load }

// Policy returns the policy in force.
func (s *State) Policy() fleet.Policy { return s.policy }

// Hosts returns every host by id.
func (s *State) Hosts() []fleet.Host {
	out := make([]fleet.Host, 0, len(s.hosts))
	for _, id := range slices.Sorted(maps.Keys(s.hosts)) {
		out = append(out, s.hosts[id].Host)
	}
	return out
}

// Host returns one host.
func (s *State) Host(id fleet.HostID) (fleet.Host, bool) {
	if h := s.hosts[id]; h != nil {
		return h.Host, true
	}
	return fleet.Host{}, false
}

// Verified says whether the host has reported what it runs since the generation
// began; nothing is granted for one that has not.
func (s *State) Verified(id fleet.HostID) bool {
	h := s.hosts[id]
	return h != nil && (s.generation <= 1 || h.reported >= s.generation)
}

// OwnersChanged is the index at which a host or a workload last changed, at most
// Index: who follows them need not look at all of them after every entry. After a
// Restore it is the snapshot's index.
func (s *State) OwnersChanged() uint64 { return s.owned }

// Workloads returns every workload by id.
func (s *State) Workloads() []fleet.Workload {
	out := make([]fleet.Workload, 0, len(s.workloads))
	for _, id := range slices.Sorted(maps.Keys(s.workloads)) {
		out = append(out, s.workloads[id].Workload)
	}
	return out
}

// Workload returns one workload.
func (s *State) Workload(id fleet.WorkloadID) (fleet.Workload, bool) {
	if w := s.workloads[id]; w != nil {
		return w.Workload, true
	}
	return fleet.Workload{}, false
}

// Disputed returns the hosts that run the workload although it belongs to
// another, by id.
func (s *State) Disputed(id fleet.WorkloadID) []fleet.HostID { return s.disputed(id) }

// Leases returns the active leases in the order of their grants.
func (s *State) Leases() []fleet.Lease {
	records := make([]*leaseRecord, 0, len(s.leaseOf))
	for _, id := range s.leaseOf {
		records = append(records, s.leases[id])
	}
	return inOrder(records)
}

// Migrations returns the active leases of kind migration, and the standbys that
// may become some, in the order of their grants.
func (s *State) Migrations() []fleet.Lease {
	return inOrder(slices.Collect(maps.Values(s.migrations)))
}

// AllLeases returns the active leases and the last 256 ended ones.
func (s *State) AllLeases() []fleet.Lease {
	return inOrder(slices.Collect(maps.Values(s.leases)))
}

// inOrder sorts by the index of the grant, which tokens and ids both name.
func inOrder(records []*leaseRecord) []fleet.Lease {
	slices.SortFunc(records, func(a, b *leaseRecord) int {
		if n := cmp.Compare(a.Token.Index, b.Token.Index); n != 0 {
			return n
		}
		return compareLeaseIDs(a.ID, b.ID)
	})
	out := make([]fleet.Lease, len(records))
	for i, l := range records {
		out[i] = l.Lease
	}
	return out
}

// Ended counts the migrations since the cluster began: carried through, and
// ended without a commit.
func (s *State) Ended() (released, aborted uint64) { return s.released, s.aborted }

// Lease returns one lease, active or recently ended.
func (s *State) Lease(id fleet.LeaseID) (fleet.Lease, bool) {
	if l := s.leases[id]; l != nil {
		return l.Lease, true
	}
	return fleet.Lease{}, false
}

// LeaseOf returns the active lease of a workload.
func (s *State) LeaseOf(id fleet.WorkloadID) (fleet.Lease, bool) { return s.Lease(s.leaseOf[id]) }

// DrainBy is the load time by which a host is to be empty; zero when nobody said.
func (s *State) DrainBy(id fleet.HostID) time.Time {
	if h := s.hosts[id]; h != nil {
		return h.drainBy
	}
	return time.Time{}
}

// Foreign is what a host saw in use beyond its reservations.
func (s *State) Foreign(id fleet.HostID) fleet.Vector {
	if h := s.hosts[id]; h != nil {
		return h.foreign
	}
	return fleet.Vector{}
}

// Held is what owned workloads, leases and foreign use hold of a host.
func (s *State) Held(id fleet.HostID) fleet.Vector {
	if at := s.at[id]; at != nil {
		return at.held
	}
	return fleet.Vector{}
}

// Overbooked says whether reality exceeds the books of a host, and how.
func (s *State) Overbooked(id fleet.HostID) (bool, string) {
	if at := s.at[id]; at != nil {
		return at.overbooked != "", at.overbooked
	}
	return false, ""
}

// Decisions returns the newest decisions, newest first; limit ≤ 0 means all.
func (s *State) Decisions(limit int) []fleet.Decision {
	items := s.decisions.items
	if limit <= 0 || limit > len(items) {
		limit = len(items)
	}
	out := make([]fleet.Decision, 0, limit)
	for i := len(items) - 1; i >= len(items)-limit; i-- {
		out = append(out, cloneDecision(items[i].Decision))
	}
	return out
}

// Decision returns one decision that is still remembered.
func (s *State) Decision(id string) (fleet.Decision, bool) {
	if d, ok := s.decisionOf(id); ok {
		return cloneDecision(*d), true
	}
	return fleet.Decision{}, false
}

func cloneDecision(d fleet.Decision) fleet.Decision {
	if d.Contention != nil {
		contention := *d.Contention
		d.Contention = &contention
	}
	d.CandidateScore = slices.Clone(d.CandidateScore)
	d.Exclusions = slices.Clone(d.Exclusions)
	d.Scores = slices.Clone(d.Scores)
	for i := range d.Scores {
		d.Scores[i].Parts = slices.Clone(d.Scores[i].Parts)
	}
	return d
}

// Outcomes returns the remembered outcomes, oldest first.
func (s *State) Outcomes() []MigrationOutcome {
	out := slices.Clone(s.outcomes.items)
	for i := range out {
		out[i].ContentionCame = cloneBool(out[i].ContentionCame)
	}
	return out
}

// Outcome returns what became of the move under a lease.
func (s *State) Outcome(id fleet.LeaseID) (MigrationOutcome, bool) {
	i := s.outcomeAt(id)
	if i < 0 {
		return MigrationOutcome{}, false
	}
	o := s.outcomes.items[i]
	o.ContentionCame = cloneBool(o.ContentionCame)
	return o, true
}

func cloneBool(b *bool) *bool {
	if b == nil {
		return nil
	}
	v := *b
	return &v
}

// EventsSince returns the events after (index, seq), oldest first, with their
// data. If OldestEvent lies after index, older ones have been forgotten.
func (s *State) EventsSince(index uint64, seq int) []fleet.Event {
	items := s.events.items
	from := sort.Search(len(items), func(i int) bool {
		return items[i].Index > index || items[i].Index == index && items[i].Seq > seq
	})
	out := make([]fleet.Event, 0, len(items)-from)
	for _, r := range items[from:] {
		ev := r.full()
		ev.Data = slices.Clone(ev.Data)
		out = append(out, ev)
	}
	return out
}

// OldestEvent is the index of the oldest event remembered, 0 without any.
func (s *State) OldestEvent() uint64 {
	if len(s.events.items) == 0 {
		return 0
	}
	return s.events.items[0].Index
}

// Cooldown is the load time before which no pass moves the workload; zero when
// it has not moved.
func (s *State) Cooldown(id fleet.WorkloadID) time.Time { return s.cooldown(s.workloads[id]) }

// Grants returns the load times of the migration grants after a load time.
func (s *State) Grants(sinceLoad time.Time) []time.Time {
	return slices.Clone(s.grantsSince(sinceLoad))
}

// Profile returns the profile of a workload.
func (s *State) Profile(id fleet.WorkloadID) (Profile, bool) {
	p := s.profiles[id]
	if p == nil {
		return Profile{}, false
	}
	out := *p
	out.Blob = slices.Clone(p.Blob)
	return out, true
}

// ProfilesMark tells whether profiles have changed: it is another one then.
type ProfilesMark struct {
	Count  int
	Newest uint64 // index of the entry that brought the newest
}

// ProfilesMark costs a walk through all profiles, and no copy of any.
func (s *State) ProfilesMark() ProfilesMark {
	mark := ProfilesMark{Count: len(s.profiles)}
	for _, p := range s.profiles {
		mark.Newest = max(mark.Newest, p.Index)
	}
	return mark
}

// Rules returns every rule by id.
func (s *State) Rules() []fleet.Rule {
	var out []fleet.Rule
	for _, id := range slices.Sorted(maps.Keys(s.rules)) {
		r := s.rules[id].Rule
		r.Workloads, r.Groups, r.Hosts = slices.Clone(r.Workloads), slices.Clone(r.Groups), slices.Clone(r.Hosts)
		out = append(out, r)
	}
	return out
}

// Calendar returns what all sources say, by source, then time.
func (s *State) Calendar() []fleet.CalendarEntry {
	var out []fleet.CalendarEntry
	for _, source := range slices.Sorted(maps.Keys(s.calendars)) {
		out = append(out, s.calendars[source].Entries...)
	}
	return out
}

// Calendars returns the sources, in order.
func (s *State) Calendars() []string { return slices.Sorted(maps.Keys(s.calendars)) }

// Models returns the models in force, by name.
func (s *State) Models() []fleet.Model {
	var out []fleet.Model
	for _, name := range slices.Sorted(maps.Keys(s.models)) {
		out = append(out, s.models[name].Model)
	}
	return out
}

// Model returns the model in force under a name.
func (s *State) Model(name string) (fleet.Model, bool) {
	if m := s.models[name]; m != nil {
		return m.Model, true
	}
	return fleet.Model{}, false
}

// View returns what the books say, as a pass reads it. What is observed (usage,
// liveness, series, bandwidth), the load time Now, TimeScale, requests and
// streaks are left to the caller.
func (s *State) View() fleet.View {
	v := fleet.View{
		Cluster: s.cluster, Index: s.index, Policy: s.policy, Leases: s.Leases(),
		Rules: s.Rules(), Calendar: s.Calendar(), Adjustments: s.Adjustments(), Thresholds: s.Thresholds(),
		Grants:    s.Grants(s.load.Add(-churnWindow)),
		Hosts:     make([]fleet.HostView, 0, len(s.hosts)),
		Workloads: make([]fleet.WorkloadView, 0, len(s.workloads)),
	}
	for _, id := range slices.Sorted(maps.Keys(s.hosts)) {
		over, _ := s.Overbooked(id)
		// A host that has not reported may hold more than the books know.
		v.Hosts = append(v.Hosts, fleet.HostView{Host: s.hosts[id].Host, Held: s.Held(id), Overbooked: over || !s.Verified(id), DrainBy: s.DrainBy(id)})
	}
	for _, id := range slices.Sorted(maps.Keys(s.workloads)) {
		v.Workloads = append(v.Workloads, fleet.WorkloadView{Workload: s.workloads[id].Workload, CooldownUntil: s.Cooldown(id)})
	}
	return v
}
