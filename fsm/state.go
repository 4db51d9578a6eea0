package fsm

import (
	"fmt"
	"maps"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// Bounds of what the state remembers beyond the books themselves.
const (
	maxEvents        = 4096
	maxDecisions     = 1024
	maxDecisionBytes = 8 << 20
	maxOutcomes      = 256
	maxEnded         = 256  // ended leases
	maxResults       = 4096 // entries whose results are remembered
	maxResultWeight  = 16384
	maxResultAge     = 15 * time.Minute // proposers' wall time
	maxGrantTimes    = 4096
	churnWindow      = time.Hour // load time
)

// State is the replicated state. It is not safe for concurrent use; Replica
// guards it. Records behind its pointers are never changed in place: a change
// stores a new record, so that a capture and a copy handed out stay as they are.
type State struct {
	cluster    string
	generation uint64
	index      uint64
	wall       time.Time // newest wall time of any proposer
	load       time.Time // newest load time of any proposer

	policy    fleet.Policy
	hosts     map[fleet.HostID]*hostRecord
	workloads map[fleet.WorkloadID]*workloadRecord
	leases    map[fleet.LeaseID]*leaseRecord // active and the last ended
	ended     ring[fleet.LeaseID]
	// disputes are workloads that a host runs although the books give them
	// to another one; normally empty.
	disputes  map[dispute]uint64 // index of the newest report
	profiles  map[fleet.WorkloadID]*Profile
	grants    ring[time.Time] // load times of migration grants
	events    ring[eventRecord]
	decisions ring[decisionRecord]
	outcomes  ring[MigrationOutcome]
	results   resultLog
	// released and aborted count how every migration ended, also those whose
	// leases have been forgotten.
	released, aborted uint64

	books // indexes, rebuilt by Restore
}

type hostRecord struct {
	fleet.Host
	// reported is the generation in which the host last said what it runs.
	// Nothing is granted for a host that has not said so in this one.
	reported uint64
}

type workloadRecord struct {
	fleet.Workload
	// reported is the generation in which the owner last reported it.
	reported uint64
	// moves counts the moves of which each came within the policy's
	// CooldownReset of the one before; moved is the load time of the last.
	moves uint64
	moved time.Time
}

type leaseRecord struct {
	fleet.Lease
	// committed is the index of the commit, committedAt its load time.
	committed   uint64
	committedAt time.Time
	// What both ends reported since the lease became uncertain.
	source      sighting
	destination sighting
}

type sighting struct {
	Seen   Seen
	Digest string
}

type dispute struct {
	Workload fleet.WorkloadID
	Host     fleet.HostID
}

// New returns the state before the first entry.
func New() *State {
	return &State{
		policy:    fleet.DefaultPolicy(),
		hosts:     map[fleet.HostID]*hostRecord{},
		workloads: map[fleet.WorkloadID]*workloadRecord{},
		leases:    map[fleet.LeaseID]*leaseRecord{},
		disputes:  map[dispute]uint64{},
		profiles:  map[fleet.WorkloadID]*Profile{},
		results:   resultLog{byID: map[string]*storedResult{}},
		books:     newBooks(),
	}
}

// Result is what became of one entry.
type Result struct {
	Index uint64     `json:"index"`
	Ops   []OpResult `json:"ops"`
	// Replayed: the idempotency id was known; this is the first result.
	Replayed bool `json:"replayed,omitempty"`
	// Fatal: the entry could not be read. The state is as before, and the
	// process must stop (ErrCorrupt, ErrUnknownCommand).
	Fatal error `json:"-"`
}

// Refused returns Fatal or the first refusal, nil if everything was accepted.
func (r Result) Refused() error {
	if r.Fatal != nil {
		return r.Fatal
	}
	for _, op := range r.Ops {
		if op.Err != nil {
			return op.Err
		}
	}
	return nil
}

// OpResult is what became of one operation. Err is nil when it was accepted;
// compare it before it becomes an error, or use Result.Refused. Lease is the
// lease after an operation on one, also after a refused one that found it.
type OpResult struct {
	Err     *Refusal     `json:"error,omitempty"`
	Lease   *fleet.Lease `json:"lease,omitempty"`
	Skipped bool         `json:"skipped,omitempty"`
}

// entry is the application of one log entry.
type entry struct {
	*State
	h      Header
	index  uint64
	events []eventRecord
	// grants is the number of Grant operations in the entry, granted counts
	// those applied so far; together they name the leases.
	grants, granted int
	// tokens holds the workloads granted in this entry: a second token of
	// the same index would not be newer than the first.
	tokens map[fleet.WorkloadID]bool
}

// Apply applies one entry of the log. Indexes must grow.
func (s *State) Apply(index uint64, data []byte) Result {
	if index <= s.index {
		return Result{Index: index, Fatal: fmt.Errorf("entry %d comes after entry %d was applied: %w", index, s.index, ErrCorrupt)}
	}
	d, err := decode(data)
	if err != nil {
		return Result{Index: index, Fatal: fmt.Errorf("entry %d: %w", index, err)}
	}
	s.index = index
	s.wall, s.load = later(s.wall, d.header.At), later(s.load, d.header.LoadAt)
	s.results.forget(s.wall)
	if stored := s.results.byID[d.header.ID]; stored != nil {
		return stored.replay(d)
	}
	e := &entry{State: s, h: d.header, index: index}
	ops := e.run(d.ops)
	for _, ev := range e.events {
		s.events.push(ev, maxEvents, maxEvents, one[eventRecord])
	}
	s.results.remember(&storedResult{id: d.header.ID, index: index, at: s.wall, content: d.content, ops: ops})
	return Result{Index: index, Ops: cloneResults(ops)}
}

// passOver notes an entry of the log that carries no operations.
func (s *State) passOver(index uint64) { s.index = max(s.index, index) }

func (e *entry) run(ops []Operation) []OpResult {
	for _, op := range ops {
		if _, ok := op.(Grant); ok {
			e.grants++
		}
	}
	results := make([]OpResult, len(ops))
	done := e.placeTogether(ops, results)
	for i, op := range ops {
		if done[i] {
			continue
		}
		results[i] = op.apply(e)
		e.settle()
	}
	return results
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// fork returns a state that shares the immutable records and nothing else.
func (s *State) fork() *State {
	out := *s
	out.hosts = maps.Clone(s.hosts)
	out.workloads = maps.Clone(s.workloads)
	out.leases = maps.Clone(s.leases)
	out.disputes = maps.Clone(s.disputes)
	out.profiles = maps.Clone(s.profiles)
	out.results.byID = nil // a capture writes the ordered list only
	out.books = books{}
	return &out
}
