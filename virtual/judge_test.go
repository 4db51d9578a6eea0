package virtual

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
)

// Promises and properties that the judge watches; a verdict names one of them.
const (
	capacityPromise  = "G1 capacity"
	physicalPromise  = "G2 room on the host"
	tokenPromise     = "G2 tokens"
	ownerPromise     = "G3 one owner"
	durablePromise   = "G4 acknowledged writes"
	oncePromise      = "G5 exactly once"
	linearPromise    = "G5 Porcupine"
	clockPromise     = "G6 lease clocks"
	healPromise      = "G7 after a heal"
	byteEquality     = "byte equality"
	electionProperty = "byte equality of the logs"
	crashed          = "not started"
)

// judge sees every entry that any voter stores or applies. It keeps books of its
// own, from the results of the entries alone: how the product sums, indexes or
// snapshots them is not its source. Safe for concurrent use.
type judge struct {
	start time.Time
	stop  func() // ends the run early

	mu        sync.Mutex // guards everything below
	verdicts  []string
	entries   map[uint64]*entry
	newest    uint64 // of entries
	appended  map[[2]uint64]uint64
	bundles   map[uint64][][]byte
	first     map[string]uint64 // idempotency id -> index at which it took effect
	results   map[string]fsm.Result
	books     *reference
	renewed   map[fleet.LeaseID]renewal
	states    map[string]uint64 // what is compared -> its digest
	snapshots int
}

// entry is what the first voter made of one index.
type entry struct {
	data    []byte
	content uint64 // of the data
	outcome uint64 // of results and sums
	books   uint64 // sums alone, for stale reads
}

type renewal struct {
	sent time.Time // of the newest acknowledged one
	ttl  time.Duration
}

func newJudge(stop func()) *judge {
	return &judge{
		start: time.Now(), stop: stop, entries: map[uint64]*entry{}, appended: map[[2]uint64]uint64{}, bundles: map[uint64][][]byte{},
		first: map[string]uint64{}, results: map[string]fsm.Result{}, books: newReference(), renewed: map[fleet.LeaseID]renewal{},
		states: map[string]uint64{},
	}
}

// violated notes a broken promise and ends the run.
func (j *judge) violated(promise, format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.note(promise, format, args...)
}

// note needs mu.
func (j *judge) note(promise, format string, args ...any) {
	if len(j.verdicts) < 20 {
		j.verdicts = append(j.verdicts, promise+": "+fmt.Sprintf(format, args...)+fmt.Sprintf(" [%.3f s]", time.Since(j.start).Seconds()))
	}
	j.stop()
}

// bundle is consensus.Config.Bundle; the judge learns what travels together.
func (j *judge) bundle(proposals [][]byte) []byte {
	data := fsm.Bundle(proposals)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.bundles[digest(data)] = slices.Clone(proposals)
	return data
}

func digest(parts ...[]byte) uint64 {
	h := fnv.New64a()
	for _, p := range parts {
		_, _ = h.Write(p)
	}
	return h.Sum64()
}

// stored sees an entry that a voter writes: one leader per term, so one entry
// per index and term.
func (j *judge) stored(voter string, l *raft.Log) {
	sum := digest([]byte{byte(l.Type)}, l.Data, fmt.Appendf(nil, "%d", l.AppendedAt.UnixNano()))
	j.mu.Lock()
	defer j.mu.Unlock()
	key := [2]uint64{l.Index, l.Term}
	have, ok := j.appended[key]
	if ok && have != sum {
		j.note(electionProperty, "voter %s stores another entry at index %d of term %d than was stored before: two leaders in one term", voter, l.Index, l.Term)
	}
	j.appended[key] = sum
}

// applied sees a command that a voter has just applied.
func (j *judge) applied(voter string, l *raft.Log, answer any, s *fsm.State) {
	results := unbundle(answer)
	outcome, err := json.Marshal(results)
	if err != nil {
		panic(err)
	}
	books := sums(s)
	e := &entry{data: l.Data, content: digest(l.Data), outcome: digest(outcome, books), books: digest(books)}
	j.mu.Lock()
	defer j.mu.Unlock()
	if have := j.entries[l.Index]; have != nil {
		switch {
		case have.content != e.content:
			j.note(durablePromise, "voter %s applies another entry at index %d than was applied before", voter, l.Index)
		case have.outcome != e.outcome:
			j.note(byteEquality, "voter %s came to another result at index %d: %.300s", voter, l.Index, outcome)
		}
	} else {
		if l.Index < j.newest {
			j.note(durablePromise, "voter %s applies a command at index %d, where there was none before index %d", voter, l.Index, j.newest)
		}
		j.entries[l.Index], j.newest = e, max(j.newest, l.Index)
		j.account(l, results)
		j.compare(voter, l.Index, s)
	}
	j.wholeState(voter, l.Index, s)
}

// unbundle makes a list of what Apply answered.
func unbundle(answer any) []fsm.Result {
	switch a := answer.(type) {
	case fsm.Result:
		return []fsm.Result{a}
	case []any:
		out := make([]fsm.Result, len(a))
		for i := range a {
			out[i], _ = a[i].(fsm.Result)
		}
		return out
	}
	return nil
}

// sums is what the voter's books say about every host and every active lease.
func sums(s *fsm.State) []byte {
	var b []byte
	for _, h := range s.Hosts() {
		b = fmt.Appendf(b, "%s %d\n", h.ID, s.Held(h.ID).Memory)
	}
	for _, l := range s.Leases() {
		b = fmt.Appendf(b, "%s %d\n", l.ID, l.State)
	}
	return b
}

// How often, in entries, whole states are compared, by their own hash and byte by
// byte: a snapshot costs more than everything else.
const (
	everyHash  = 16
	everyState = 512
)

// wholeState needs mu.
func (j *judge) wholeState(voter string, index uint64, s *fsm.State) {
	if index%everyHash == 0 {
		h := s.Hash()
		j.same(voter, fmt.Sprintf("hash at index %d", index), digest(h[:]))
	}
	if index%everyState == 0 {
		j.sameState(voter, index, s)
	}
}

// sameState needs mu.
func (j *judge) sameState(voter string, index uint64, s *fsm.State) {
	h := fnv.New64a()
	if _, err := s.Capture().WriteTo(h); err != nil {
		panic(err)
	}
	j.same(voter, fmt.Sprintf("state at index %d", index), h.Sum64())
	j.snapshots++
}

// same needs mu.
func (j *judge) same(voter, what string, sum uint64) {
	if have, ok := j.states[what]; ok && have != sum {
		j.note(byteEquality, "voter %s has another %s", voter, what)
	}
	j.states[what] = sum
}

// account puts an entry into the judge's own books. It needs mu.
func (j *judge) account(l *raft.Log, results []fsm.Result) {
	proposals := [][]byte{l.Data}
	if fsm.IsBundle(l.Data) {
		proposals = j.bundles[digest(l.Data)]
	}
	if len(proposals) != len(results) {
		j.note(byteEquality, "index %d: %d proposals have %d results", l.Index, len(proposals), len(results))
		return
	}
	for i, data := range proposals {
		header, ops, err := fsm.Decode(data)
		if err != nil {
			j.note(byteEquality, "index %d does not decode: %v", l.Index, err)
			return
		}
		result := results[i]
		before, again := j.first[header.ID]
		switch {
		case again && !result.Replayed:
			j.note(oncePromise, "proposal %s took effect at index %d and again at index %d", header.ID, before, l.Index)
		case again && !sameResult(result, j.results[header.ID]):
			j.note(oncePromise, "proposal %s was answered with another result at index %d than at index %d", header.ID, l.Index, before)
		case !again && result.Replayed:
			j.note(oncePromise, "proposal %s was taken for a repetition at index %d, and is not", header.ID, l.Index)
		}
		if again {
			continue
		}
		j.first[header.ID], j.results[header.ID] = l.Index, result
		for k, op := range ops {
			if k < len(result.Ops) {
				j.operation(l.Index, header, op, result.Ops[k])
			}
		}
	}
	for host, held := range j.books.held() {
		if have := j.books.capacity[host]; held > have {
			j.note(capacityPromise, "index %d: host %s holds %d of %d", l.Index, host, held, have)
		}
	}
}

func sameResult(a, b fsm.Result) bool {
	a.Replayed, b.Replayed = false, false
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

// compare holds a voter's sums against the judge's. It needs mu.
func (j *judge) compare(voter string, index uint64, s *fsm.State) {
	held := j.books.held()
	for _, h := range s.Hosts() {
		if got := s.Held(h.ID).Memory; got != held[h.ID] {
			j.note(capacityPromise, "index %d: voter %s counts %d on host %s, the results so far make it %d", index, voter, got, h.ID, held[h.ID])
		}
	}
}

// seen is what a reader without linearizability was shown.
func (j *judge) seen(voter string, index uint64, books uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if e := j.entries[index]; e != nil && e.books != books {
		j.note(byteEquality, "voter %s shows books at index %d that never were", voter, index)
	}
}

func (j *judge) renewedAt(id fleet.LeaseID, sent time.Time, ttl time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.renewed[id] = renewal{sent, ttl}
}

// result is what took effect under an idempotency id.
func (j *judge) result(id string) (fsm.Result, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	r, ok := j.results[id]
	return r, ok
}

func (j *judge) broken() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.verdicts)
}
