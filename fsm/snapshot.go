package fsm

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/placed-dev/placed/fleet"
)

// Versions of the snapshot, one per feature level: each appends what its level
// brought and is written from that level on, so that a version that does not know
// the level can still take over before.
const (
	snapshotMagic   = "plcdsnap"
	snapshotFirst   = 1
	snapshotHash    = 2
	snapshotSources = 3
	snapshotInPlace = 4
	// snapshotVersion appends nothing: the leases themselves say what is new.
	snapshotVersion = 5
	maxSnapshot     = 1 << 30 // bytes; a bound against a damaged or foreign file
)

// Snapshot is the state at one index. It never changes, so it can be written
// while entries are applied.
type Snapshot struct{ state *State }

// Capture is quick: it copies the maps, not the records.
func (s *State) Capture() Snapshot { return Snapshot{s.fork()} }

// Index of the last entry in the snapshot.
func (s Snapshot) Index() uint64 { return s.state.index }

// WriteTo writes the snapshot; the same state gives the same bytes.
func (s Snapshot) WriteTo(w io.Writer) (int64, error) {
	c := writer()
	version := byte(snapshotFirst)
	switch {
	case s.state.level >= levelStandby:
		version = snapshotVersion
	case s.state.level >= levelInPlace:
		version = snapshotInPlace
	case s.state.level >= levelSources:
		version = snapshotSources
	case s.state.level >= levelHash:
		version = snapshotHash
	}
	c.buf = append(append(c.buf, snapshotMagic...), version)
	c.state(s.state, version)
	if c.err != nil {
		return 0, fmt.Errorf("write snapshot at index %d: %w", s.state.index, c.err)
	}
	n, err := io.Copy(w, bytes.NewReader(c.seal()))
	if err != nil {
		return n, fmt.Errorf("write snapshot at index %d: %w", s.state.index, err)
	}
	return n, nil
}

// Restore reads what WriteTo wrote, into a new state. The error is ErrCorrupt
// when the bytes are damaged.
func Restore(r io.Reader) (*State, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxSnapshot+1))
	if err != nil {
		return nil, fmt.Errorf("read snapshot: %w", err)
	}
	if len(data) > maxSnapshot {
		return nil, fmt.Errorf("read snapshot: %w: more than %d bytes", ErrCorrupt, maxSnapshot)
	}
	c, version, err := unseal("snapshot", data, snapshotMagic, snapshotVersion)
	if err != nil {
		return nil, err
	}
	s := New()
	c.state(s, version)
	if c.err == nil && c.pos != c.limit {
		c.fail("%d bytes follow the state", c.limit-c.pos)
	}
	if c.err == nil {
		s.reindex(c)
	}
	if c.err != nil {
		return nil, fmt.Errorf("read snapshot: %w", c.err)
	}
	return s, nil
}

func (c *coder) state(s *State, version byte) {
	c.message(func() {
		str(c, &s.cluster)
		c.uint(&s.generation)
		c.uint(&s.index)
		c.time(&s.wall)
		c.time(&s.load)
		c.policy(&s.policy)
		table(c, s.hosts, c.hostRecord)
		table(c, s.workloads, c.workloadRecord)
		table(c, s.leases, c.leaseRecord)
		list(c, &s.ended.items, func(id *fleet.LeaseID) { str(c, id) })
		c.disputes(s)
		table(c, s.profiles, c.profile)
		list(c, &s.grants.items, c.time)
		list(c, &s.events.items, func(r **eventRecord) {
			if c.reading {
				*r = new(eventRecord)
			}
			c.eventRecord(*r)
		})
		list(c, &s.decisions.items, func(d *decisionRecord) { c.decision(&d.Decision) })
		list(c, &s.outcomes.items, c.outcome)
		list(c, &s.results.items, func(r **storedResult) {
			if c.reading {
				*r = new(storedResult)
			}
			c.result(*r)
		})
		c.uint(&s.released)
		c.uint(&s.aborted)
		if version >= snapshotHash {
			c.uint(&s.level)
			table(c, s.rules, func(r *ruleRecord) { c.rule(&r.Rule) })
			table(c, s.calendars, c.calendarRecord)
			table(c, s.models, func(m *modelRecord) { c.model(&m.Model) })
			c.marked(s)
		}
		if version >= snapshotSources {
			table(c, s.sources, func(r *sourceRecord) { c.calendarSource(&r.CalendarSource) })
		}
		if version >= snapshotInPlace {
			table(c, s.adjustments, func(r *adjustmentRecord) { c.adjustment(&r.Adjustment) })
			table(c, s.thresholds, func(r *thresholdsRecord) { c.thresholds(&r.WorkloadThresholds) })
		}
	})
}

// table codes a map of records as a list in the order of the keys.
func table[K ~string, V any](c *coder, m map[K]*V, record func(*V)) {
	keys := slices.Sorted(maps.Keys(m))
	if !c.reading {
		list(c, &keys, func(k *K) {
			str(c, k)
			record(m[*k])
		})
		return
	}
	var previous K
	list(c, &keys, func(k *K) {
		str(c, k)
		v := new(V)
		record(v)
		if *k <= previous {
			c.fail("key %q does not follow %q", *k, previous)
		}
		previous = *k
		m[*k] = v
	})
}

func (c *coder) hostRecord(h *hostRecord) {
	c.message(func() {
		c.host(&h.Host)
		c.uint(&h.reported)
		c.late(!h.foreign.IsZero() || !h.drainBy.IsZero(), func() { c.vector(&h.foreign) })
		c.late(!h.drainBy.IsZero(), func() { c.time(&h.drainBy) })
	})
}

func (c *coder) workloadRecord(w *workloadRecord) {
	c.message(func() {
		c.workload(&w.Workload)
		c.uint(&w.reported)
		c.uint(&w.moves)
		c.time(&w.moved)
	})
}

func (c *coder) leaseRecord(l *leaseRecord) {
	c.message(func() {
		c.lease(&l.Lease)
		c.uint(&l.committed)
		c.time(&l.committedAt)
		for _, s := range []*sighting{&l.source, &l.destination} {
			str(c, &s.Seen)
			str(c, &s.Digest)
		}
	})
}

// eventRecord writes the event with its data, which is the same whether it is
// made now or was made before an earlier snapshot.
func (c *coder) eventRecord(r *eventRecord) {
	if c.reading {
		c.event(&r.Event)
		return
	}
	full := r.full()
	c.event(&full)
}

func (c *coder) disputes(s *State) {
	keys := slices.SortedFunc(maps.Keys(s.disputes), func(a, b dispute) int {
		return cmp.Or(cmp.Compare(a.Workload, b.Workload), cmp.Compare(a.Host, b.Host))
	})
	list(c, &keys, func(d *dispute) {
		index := s.disputes[*d]
		c.dispute(d, &index)
		if c.reading {
			s.disputes[*d] = index
		}
	})
}

func (c *coder) dispute(d *dispute, index *uint64) {
	str(c, &d.Workload)
	str(c, &d.Host)
	c.uint(index)
}

// reindex rebuilds what a snapshot does not contain, and refuses records that
// could not have been written: the books must be whole or not be used.
func (s *State) reindex(c *coder) {
	s.owned = s.index
	for id, h := range s.hosts {
		if h.ID != id {
			c.fail("host %q is filed under %q", h.ID, id)
		}
		s.restoreHost(h)
	}
	for id, w := range s.workloads {
		if w.ID != id || s.hosts[w.Owner] == nil {
			c.fail("workload %q is filed under %q, of unknown host %q", w.ID, id, w.Owner)
		}
		s.restoreWorkload(w)
	}
	for d, index := range s.disputes {
		if s.hosts[d.Host] == nil || s.workloads[d.Workload] == nil {
			c.fail("host %q disputes workload %q, and one of them is not in the books", d.Host, d.Workload)
		}
		s.records.add(s.digestOfDispute(d, index))
	}
	for id, l := range s.leases {
		switch {
		case l.ID != id:
			c.fail("lease %q is filed under %q", l.ID, id)
		case l.Active() && s.leaseOf[l.Workload] != "":
			c.fail("workload %q has two active leases", l.Workload)
		case l.Active() && l.Kind == fleet.LeaseMigration && s.workloads[l.Workload] == nil:
			c.fail("active lease %q moves no workload of the books", id)
		}
		s.restoreLease(l)
	}
	s.restoreRest(c)
	for _, id := range s.ended.items {
		if l := s.leases[id]; l == nil || l.Active() {
			c.fail("lease %q is listed as ended, but has not", id)
		}
	}
	for _, r := range s.results.items {
		s.results.byID[r.id] = r
		s.results.weight += r.weigh()
	}
	for i := range s.decisions.items {
		d := &s.decisions.items[i]
		size := writer()
		size.decision(&d.Decision)
		d.size = len(size.buf)
		s.decisions.weight += d.size
	}
	s.events.weight, s.outcomes.weight, s.grants.weight = len(s.events.items), len(s.outcomes.items), len(s.grants.items)
	if c.err != nil {
		return
	}
	for _, at := range s.dirty {
		at.overbooked, at.dirty = s.excess(at), false
	}
	s.dirty = nil
}

func (s *State) restoreHost(h *hostRecord) {
	h.digest = s.digestOf(hostKind, func(c *coder) { c.hostRecord(h) })
	h.allocatable = h.Allocatable()
	s.records.add(h.digest)
	s.books.host(h.ID).putRecord(h)
}

func (s *State) restoreWorkload(w *workloadRecord) {
	w.digest = s.digestOf(workloadKind, func(c *coder) { c.workloadRecord(w) })
	s.records.add(w.digest)
	s.books.host(w.Owner).putWorkload(w)
}

func (s *State) restoreLease(l *leaseRecord) {
	l.digest = s.digestOfLease(l)
	s.records.add(l.digest)
	s.indexLease(l)
}

// restoreRest indexes what an operator or a leader told the books.
func (s *State) restoreRest(c *coder) {
	for id, r := range s.rules {
		if r.ID != id || len(id) > 128 {
			c.fail("rule %q is filed under %q", r.ID, id)
		}
		r.digest = s.digestOf(ruleKind, func(c *coder) { c.rule(&r.Rule) })
		s.records.add(r.digest)
	}
	for source, r := range s.calendars {
		if r.Source != source {
			c.fail("calendar %q is filed under %q", r.Source, source)
		}
		r.digest = s.digestOf(calendarKind, func(c *coder) { c.calendarRecord(r) })
		s.records.add(r.digest)
	}
	for name, m := range s.models {
		if m.Name != name {
			c.fail("model %q is filed under %q", m.Name, name)
		}
		m.digest = s.digestOf(modelKind, func(c *coder) { c.model(&m.Model) })
		s.records.add(m.digest)
	}
	for id, r := range s.sources {
		if r.Entry.ID != id {
			c.fail("calendar source %q is filed under %q", r.Entry.ID, id)
		}
		r.digest = s.digestOf(sourceKind, func(c *coder) { c.calendarSource(&r.CalendarSource) })
		s.records.add(r.digest)
	}
	for key, r := range s.adjustments {
		if keyOf(r.Workload, r.Kind) != key || s.workloads[r.Workload] == nil {
			c.fail("the adjustment of workload %q is filed under %q", r.Workload, key)
		}
		r.digest = s.digestOfAdjustment(r)
		s.records.add(r.digest)
	}
	for id, r := range s.thresholds {
		if r.Workload != id || s.workloads[id] == nil {
			c.fail("the thresholds of workload %q are filed under %q", r.Workload, id)
		}
		r.digest = s.digestOf(thresholdsKind, func(c *coder) { c.thresholds(&r.WorkloadThresholds) })
		s.records.add(r.digest)
	}
	for id, p := range s.profiles {
		if p.Workload != id || s.workloads[id] == nil {
			c.fail("the profile of workload %q is filed under %q", p.Workload, id)
		}
		s.records.add(s.digestOfProfile(p))
	}
	for i := range s.outcomes.items {
		s.records.add(s.digestOfOutcome(&s.outcomes.items[i]))
	}
	for i, m := range s.marks.items {
		if m.index%HashEvery != 0 || i > 0 && m.index <= s.marks.items[i-1].index {
			c.fail("hash of index %d is out of place", m.index)
		}
	}
	s.marks.weight = len(s.marks.items)
	if s.level > FeatureLevel {
		c.fail("feature level %d, this build knows up to %d: run the version that wrote it", s.level, FeatureLevel)
	}
	if s.cluster != "" {
		s.level = max(s.level, levelFirst)
	}
	s.indexRules()
	s.indexCalendar()
}
