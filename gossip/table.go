package gossip

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// Member is what this host knows of another (or of itself).
type Member struct {
	ID   fleet.HostID
	Name string
	// Addr is where it gossips, "ip:port".
	Addr string
	Meta Meta
	// State is alive, suspect (did not answer us; not yet believed dead) or
	// dead.
	State fleet.Liveness
	// Left says of a dead member that it ended on purpose.
	Left bool
	Load Load
	// Since is when it entered State, as seen from here.
	Since time.Time
	// RTT is the smoothed round-trip time of probes, MinRTT the lowest of late:
	// how far away it is. 0 when never probed.
	RTT    time.Duration
	MinRTT time.Duration

	trips floor
}

// deadTime is how long a dead member stays in the list.
const deadTime = 5 * time.Minute

// table is this host's view of all members. memberlist calls into it while it
// holds its own locks: nothing here blocks or calls memberlist.
type table struct {
	self fleet.HostID
	now  func() time.Time
	// changed holds at most one token: something in members changed.
	changed chan struct{}
	// overtaken holds at most one token: others remember a newer load of this
	// host than it has sent.
	overtaken chan struct{}

	mu      sync.Mutex
	members map[fleet.HostID]*Member    // guarded by mu
	loads   map[fleet.HostID]heardLoad  // guarded by mu
	gone    map[fleet.HostID]goneMember // guarded by mu
	alive   int                         // members not dead, guarded by mu
	dropped uint64                      // loads refused because the table is full, guarded by mu
}

// goneMember is a member that died without leaving and is listed no longer. Its
// address is kept, because a partition may last for days, and after it nobody
// else knows where the other side is.
type goneMember struct {
	addr  string
	since time.Time
}

// lostTime is how long a lost member is looked for; longer than a long weekend.
const lostTime = 100 * time.Hour

// heardLoad is kept apart from the member: loads may arrive before the member.
type heardLoad struct {
	load Load
	at   time.Time
}

func newTable(self fleet.HostID, now func() time.Time) *table {
	return &table{
		self: self, now: now,
		changed: make(chan struct{}, 1), overtaken: make(chan struct{}, 1),
		members: map[fleet.HostID]*Member{}, loads: map[fleet.HostID]heardLoad{}, gone: map[fleet.HostID]goneMember{},
	}
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// join records that a member is there, anew or again.
func (t *table) join(id fleet.HostID, addr, name string, meta Meta) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.members[id]
	if m == nil {
		m = &Member{ID: id, State: fleet.Dead}
		t.members[id] = m
	}
	if m.State != fleet.Alive {
		m.State, m.Since = fleet.Alive, t.now()
	}
	m.Addr, m.Name, m.Meta, m.Left = addr, name, meta, false
	delete(t.gone, id)
	t.count()
	notify(t.changed)
}

// leave records that a member is dead. Whether it left on purpose is known from
// its last load: memberlist does not tell.
func (t *table) leave(id fleet.HostID) (left bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.members[id]
	if m == nil || m.State == fleet.Dead {
		return false
	}
	m.State, m.Since, m.Left = fleet.Dead, t.now(), t.loads[id].load.Leaving
	t.count()
	notify(t.changed)
	return m.Left
}

// suspect records that a member did not answer.
func (t *table) suspect(id fleet.HostID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if m := t.members[id]; m != nil && m.State == fleet.Alive {
		m.State, m.Since = fleet.Suspect, t.now()
		notify(t.changed)
	}
}

// answered records a successful probe.
func (t *table) answered(id fleet.HostID, rtt time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.members[id]
	if m == nil {
		return
	}
	m.RTT = smooth(m.RTT, rtt)
	m.trips.add(t.now(), rtt)
	m.MinRTT = m.trips.lowest()
	if m.State == fleet.Suspect {
		m.State, m.Since = fleet.Alive, t.now()
		notify(t.changed)
	}
}

// smooth weighs a new round-trip time with an eighth, as RFC 6298 does: one probe
// that waited for a busy cpu is not the distance.
func smooth(old, sample time.Duration) time.Duration {
	if old == 0 {
		return sample
	}
	return old + (sample-old)/8
}

// merge takes loads heard from others and returns those that were news.
func (t *table) merge(loads []hostLoad) (news []hostLoad) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, h := range loads {
		if t.mergeOne(h) {
			news = append(news, h)
		}
	}
	if len(news) > 0 {
		notify(t.changed)
	}
	return news
}

// mergeOne needs t.mu.
func (t *table) mergeOne(h hostLoad) bool {
	old, known := t.loads[h.host]
	if h.host == t.self {
		// From before a restart: step over it, or nobody would believe us.
		if h.load.Seq > old.load.Seq {
			old.load.Seq = h.load.Seq
			t.loads[h.host] = old
			notify(t.overtaken)
		}
		return false
	}
	if known && newer(old.load, h.load) == old.load {
		return false
	}
	if !known && len(t.loads) >= maxHosts {
		t.dropped++
		return false
	}
	t.loads[h.host] = heardLoad{load: h.load, at: t.now()}
	return true
}

// setOwn replaces this host's load, except for its sequence.
func (t *table) setOwn(l Load) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l.Seq = t.loads[t.self].load.Seq
	t.loads[t.self] = heardLoad{load: l, at: t.now()}
	notify(t.changed)
}

// own returns this host's load under a new sequence, to be sent.
func (t *table) own(leaving bool) hostLoad {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.loads[t.self]
	h.load.Seq++
	h.load.Leaving = leaving
	h.at = t.now()
	t.loads[t.self] = h
	return hostLoad{host: t.self, load: h.load}
}

// startSeq sets the first sequence of this run.
func (t *table) startSeq(seq uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.loads[t.self] = heardLoad{load: Load{Seq: seq, CPU: UnknownShare, Memory: UnknownShare, Net: UnknownShare, Disk: UnknownShare, Wait: UnknownShare}, at: t.now()}
}

// allLoads returns every load known, for a state exchange.
func (t *table) allLoads() []hostLoad {
	t.mu.Lock()
	defer t.mu.Unlock()
	loads := make([]hostLoad, 0, len(t.loads))
	for id, h := range t.loads {
		loads = append(loads, hostLoad{host: id, load: h.load})
	}
	slices.SortFunc(loads, func(a, b hostLoad) int { return cmp.Compare(a.host, b.host) })
	return loads
}

// list returns all members, sorted by id.
func (t *table) list() []Member {
	t.mu.Lock()
	defer t.mu.Unlock()
	members := make([]Member, 0, len(t.members))
	for id, m := range t.members {
		member := *m
		member.Load = t.loads[id].load
		members = append(members, member)
	}
	slices.SortFunc(members, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	return members
}

// lost returns the addresses of members that died without leaving: of those that
// are listed as dead, and of those that are listed no longer.
func (t *table) lost() (listed, longGone []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, m := range t.members {
		if m.State == fleet.Dead && !m.Left {
			listed = append(listed, m.Addr)
		}
	}
	for _, g := range t.gone {
		longGone = append(longGone, g.addr)
	}
	return listed, longGone
}

// aliveCount is how many members are not dead, this host included.
func (t *table) aliveCount() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.alive
}

// count needs t.mu.
func (t *table) count() {
	t.alive = 0
	for _, m := range t.members {
		if m.State != fleet.Dead {
			t.alive++
		}
	}
}

// expire forgets the long dead, loads of nobody, and suspicions that were
// refuted elsewhere: suspicion is longer than memberlist takes to decide.
func (t *table) expire(suspicion time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	for id, m := range t.members {
		switch {
		case m.State == fleet.Dead && now.Sub(m.Since) > deadTime:
			if !m.Left && len(t.gone) < maxHosts {
				t.gone[id] = goneMember{addr: m.Addr, since: now}
			}
			delete(t.members, id)
			delete(t.loads, id)
			notify(t.changed)
		case m.State == fleet.Suspect && now.Sub(m.Since) > suspicion:
			m.State, m.Since = fleet.Alive, now
			notify(t.changed)
		}
	}
	for id, g := range t.gone {
		if now.Sub(g.since) > lostTime {
			delete(t.gone, id)
		}
	}
	for id, h := range t.loads {
		if t.members[id] == nil && id != t.self && now.Sub(h.at) > deadTime {
			delete(t.loads, id)
		}
	}
}
