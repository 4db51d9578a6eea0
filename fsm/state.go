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
	events    ring[*eventRecord]
	decisions ring[decisionRecord]
	outcomes  ring[MigrationOutcome]
	results   resultLog
	// released and aborted count how every migration ended, also those whose
	// leases have been forgotten.
	released, aborted uint64

	// level is the feature level; below levelHash what follows stays empty.
	level     uint64
	rules     map[string]*ruleRecord
	calendars map[string]*calendarRecord // by source
	models    map[string]*modelRecord
	// sources are the calendar as operators wrote it; from levelSources on.
	sources map[string]*sourceRecord
	// adjustments by workload and kind, thresholds by workload; from
	// levelInPlace on.
	adjustments map[adjustmentKey]*adjustmentRecord
	thresholds  map[fleet.WorkloadID]*thresholdsRecord
	// chain binds all results and events ever; marks are the hashes kept for
	// comparison, checked is the newest index that was compared.
	chain   Hash
	marks   ring[mark]
	checked uint64

	records multiset // of every record in the maps above
	scratch *coder   // for digests; belongs to whoever applies
	books            // indexes, rebuilt by Restore
}

type hostRecord struct {
	fleet.Host
	// reported is the generation in which the host last said what it runs.
	// Nothing is granted for a host that has not said so in this one.
	reported uint64
	// foreign is what the host saw in use beyond all reservations.
	foreign fleet.Vector
	// drainBy is the load time by which it is to be empty; zero: nobody said.
	drainBy time.Time
	// allocatable is the host's, which is asked for with every grant.
	allocatable fleet.Vector
	digest      digest
}

type workloadRecord struct {
	fleet.Workload
	// reported is the generation in which the owner last reported it.
	reported uint64
	// moves counts the moves of which each came within the policy's
	// CooldownReset of the one before; moved is the load time of the last.
	moves  uint64
	moved  time.Time
	digest digest
}

type leaseRecord struct {
	fleet.Lease
	// committed is the index of the commit, committedAt its load time.
	committed   uint64
	committedAt time.Time
	// What both ends reported since the lease became uncertain.
	source      sighting
	destination sighting
	digest      digest
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
		rules:     map[string]*ruleRecord{},
		calendars: map[string]*calendarRecord{},
		models:    map[string]*modelRecord{},
		sources:   map[string]*sourceRecord{},

		adjustments: map[adjustmentKey]*adjustmentRecord{},
		thresholds:  map[fleet.WorkloadID]*thresholdsRecord{},

		scratch: writer(),
		books:   newBooks(),
	}
}

// Result is what became of one entry.
type Result struct {
	Index uint64     `json:"index"`
	Ops   []OpResult `json:"ops"`
	// Replayed: the idempotency id was known; this is the first result.
	Replayed bool `json:"replayed,omitempty"`
	// Fatal: the process must stop, because it cannot read the entry (the state
	// is as before: ErrCorrupt, ErrUnknownCommand) or holds other books than
	// the leader (ErrDiverged).
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
// lease after an operation on one, also after a refused one that found it; inside
// the state and in the answers of a Replica it is the record itself, which nobody
// changes; the callers of Apply are given copies.
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
	events []*eventRecord
	// grants is the number of Grant operations in the entry, granted counts
	// those applied so far; together they name the leases.
	grants, granted int
	// tokens holds the workloads granted in this entry: a second token of
	// the same index would not be newer than the first.
	tokens map[fleet.WorkloadID]bool
	// together holds where the workloads of an all-or-none group go.
	together map[fleet.WorkloadID]fleet.HostID
	fatal    error // the process must stop
}

// Apply applies one entry of the log. Indexes must grow.
func (s *State) Apply(index uint64, data []byte) Result {
	return s.applyShared(index, data).own()
}

// applyShared is Apply with a result whose leases and refusals are the state's
// own: to be read, not to be changed.
func (s *State) applyShared(index uint64, data []byte) Result {
	if index <= s.index {
		return Result{Index: index, Fatal: fmt.Errorf("entry %d comes after entry %d was applied: %w", index, s.index, ErrCorrupt)}
	}
	d, err := decode(data)
	if err != nil {
		return Result{Index: index, Fatal: fmt.Errorf("entry %d: %w", index, err)}
	}
	results, err := s.commit(index, Stamp{}, d)
	if err != nil {
		return Result{Index: index, Fatal: fmt.Errorf("entry %d: %w", index, err)}
	}
	return results[0]
}

// commit applies what one entry of the log carries: the operations of one
// proposal, or of several that travel together (see Bundle). Each proposal has
// its own header and result; lease numbers and event numbers run through.
func (s *State) commit(index uint64, stamp Stamp, proposals ...decoded) ([]Result, error) {
	s.advance(index)
	e := &entry{State: s, index: index}
	for _, d := range proposals {
		e.grants += countGrants(d.ops)
	}
	results := make([]Result, len(proposals))
	for i, d := range proposals {
		stamp.hold(&d.header)
		s.wall, s.load = later(s.wall, d.header.At), later(s.load, d.header.LoadAt)
		s.results.forget(s.wall)
		if stored := s.results.byID[d.header.ID]; stored != nil {
			results[i] = stored.replay(d)
			continue
		}
		e.h = d.header
		said := len(e.events)
		ops := e.run(d.ops)
		if e.fatal != nil {
			return nil, e.fatal
		}
		result := &storedResult{id: d.header.ID, index: index, at: s.wall, content: d.content, ops: ops}
		s.results.remember(result)
		if s.level >= levelHash {
			s.link(result, e.events[said:])
		}
		results[i] = Result{Index: index, Ops: ops}
	}
	for _, ev := range e.events {
		s.events.push(ev, maxEvents, maxEvents, one[*eventRecord])
	}
	return results, nil
}

func countGrants(ops []Operation) (n int) {
	for _, op := range ops {
		if _, ok := op.(Grant); ok {
			n++
		}
	}
	return n
}

// passOver notes an entry of the log that carries no operations.
func (s *State) passOver(index uint64) {
	if index > s.index {
		s.advance(index)
	}
}

func (e *entry) run(ops []Operation) []OpResult {
	results := make([]OpResult, len(ops))
	done := e.grantTogether(ops, results)
	for i, op := range ops {
		if done != nil && done[i] {
			continue
		}
		results[i] = e.one(op)
	}
	return results
}

func (e *entry) one(op Operation) OpResult {
	if r := e.tooNew(op); r != nil {
		return OpResult{Err: r}
	}
	result := op.apply(e)
	e.settle()
	return result
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
	out.rules = maps.Clone(s.rules)
	out.calendars = maps.Clone(s.calendars)
	out.models = maps.Clone(s.models)
	out.sources = maps.Clone(s.sources)
	out.adjustments = maps.Clone(s.adjustments)
	out.thresholds = maps.Clone(s.thresholds)
	out.scratch = nil      // the writer's alone
	out.results.byID = nil // a capture writes the ordered list only
	out.books = books{}
	return &out
}
