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

const (
	snapshotMagic   = "plcdsnap"
	snapshotVersion = 1
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
	c.buf = append(append(c.buf, snapshotMagic...), snapshotVersion)
	c.state(s.state)
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
	c, _, err := unseal("snapshot", data, snapshotMagic, snapshotVersion)
	if err != nil {
		return nil, err
	}
	s := New()
	c.state(s)
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

func (c *coder) state(s *State) {
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
		list(c, &s.events.items, c.eventRecord)
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
		str(c, &d.Workload)
		str(c, &d.Host)
		c.uint(&index)
		if c.reading {
			s.disputes[*d] = index
		}
	})
}

// reindex rebuilds what a snapshot does not contain, and refuses records that
// could not have been written: the books must be whole or not be used.
func (s *State) reindex(c *coder) {
	for id, h := range s.hosts {
		if h.ID != id {
			c.fail("host %q is filed under %q", h.ID, id)
		}
		s.putHost(h)
	}
	for id, w := range s.workloads {
		if w.ID != id || s.hosts[w.Owner] == nil {
			c.fail("workload %q is filed under %q, of unknown host %q", w.ID, id, w.Owner)
		}
		s.putWorkload(w)
	}
	for d := range s.disputes {
		if s.hosts[d.Host] == nil || s.workloads[d.Workload] == nil {
			c.fail("host %q disputes workload %q, and one of them is not in the books", d.Host, d.Workload)
		}
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
		s.indexLease(l)
	}
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
	for id := range s.dirty {
		s.sum(id)
	}
	clear(s.dirty)
}
