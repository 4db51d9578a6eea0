package virtual

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
)

// history is what the clients asked for and were answered. Its clock counts
// calls and returns, so that two of one virtual instant keep their order. Safe
// for concurrent use.
type history struct {
	judge *judge
	clock atomic.Int64
	ids   atomic.Int64

	mu        sync.Mutex // guards what is below
	proposals []*proposal
	reads     []read
}

// proposal is one entry that a client wants applied.
type proposal struct {
	history *history
	Client  string        `json:"client"`
	ID      string        `json:"id"`
	From    fleet.HostID  `json:"from"`
	Ops     []operation   `json:"ops"`
	Call    int64         `json:"call"`
	Return  int64         `json:"return,omitempty"` // 0: never answered
	At      time.Duration `json:"at_ns"`            // since the start
	Outcome outcome       `json:"outcome"`
	Result  *fsm.Result   `json:"result,omitempty"`
	Error   string        `json:"error,omitempty"`

	data []byte
	ops  []fsm.Operation
}

type operation struct {
	Kind string        `json:"kind"`
	Op   fsm.Operation `json:"op"`
}

type outcome string

const (
	answered outcome = "answered"
	refused  outcome = "not applied" // for certain
	unknown  outcome = "unknown"
)

// read is one linearizable look at a host's books.
type read struct {
	Client string        `json:"client"`
	Host   fleet.HostID  `json:"host"`
	Call   int64         `json:"call"`
	Return int64         `json:"return"`
	At     time.Duration `json:"at_ns"`
	Voter  string        `json:"voter"`
	Index  uint64        `json:"index"`
	Books  books         `json:"books"`
}

func newHistory(j *judge) *history { return &history{judge: j} }

func (h *history) encode(from fleet.HostID, ops []fsm.Operation) []byte {
	data, _ := h.encodeWithID(from, ops)
	return data
}

func (h *history) encodeWithID(from fleet.HostID, ops []fsm.Operation) ([]byte, string) {
	id := fmt.Sprintf("p%d", h.ids.Add(1))
	now := time.Now()
	data, err := fsm.Encode(fsm.Header{ID: id, Proposer: from, At: now, LoadAt: now}, ops...)
	if err != nil {
		panic(err)
	}
	return data, id
}

func (h *history) begin(client string, from fleet.HostID, ops []fsm.Operation) *proposal {
	p := &proposal{history: h, Client: client, From: from, ops: ops, Outcome: unknown}
	p.data, p.ID = h.encodeWithID(from, ops)
	for _, op := range ops {
		p.Ops = append(p.Ops, operation{fmt.Sprintf("%T", op), op})
	}
	p.At = time.Since(h.judge.start)
	p.Call = h.clock.Add(1)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.proposals = append(h.proposals, p)
	return p
}

// end notes the answer; sent: without one, it may have been applied.
func (p *proposal) end(result fsm.Result, sent bool, err error) {
	now := p.history.clock.Add(1)
	p.history.mu.Lock()
	defer p.history.mu.Unlock()
	switch {
	case err == nil:
		p.Outcome, p.Result, p.Return = answered, &result, now
	case sent:
		p.Outcome, p.Error = unknown, err.Error()
	default:
		p.Outcome, p.Error, p.Return = refused, err.Error(), now
	}
}

func (h *history) look(r read) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reads = append(h.reads, r)
}

// counts of a run.
type counts struct {
	answered, refused, unknown int // entries
	grants, short              int // leases granted, and refused for want of capacity
	reads                      int
}

func (h *history) count() counts {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := counts{reads: len(h.reads)}
	for _, p := range h.proposals {
		switch p.Outcome {
		case answered:
			c.answered++
			for i, op := range p.ops {
				if _, ok := op.(fsm.Grant); !ok || i >= len(p.Result.Ops) {
					continue
				}
				if r := p.Result.Ops[i].Err; r == nil {
					c.grants++
				} else if r.Code == fsm.CodeCapacity {
					c.short++
				}
			}
		case refused:
			c.refused++
		default:
			c.unknown++
		}
	}
	return c
}

func (c counts) unknownShare() float64 {
	return float64(c.unknown) / float64(max(1, c.answered+c.refused+c.unknown))
}

func (c counts) String() string {
	return fmt.Sprintf("%d answered (%d grants, %d refused for want of capacity), %d not applied, %d unknown (%.1f %%), %d linearizable reads",
		c.answered, c.grants, c.short, c.refused, c.unknown, 100*c.unknownShare(), c.reads)
}

// schedule is what was done to the voters, in order.
type schedule struct {
	start time.Time
	mu    sync.Mutex // guards lines
	lines []string
}

func (s *schedule) add(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, fmt.Sprintf("%10.4f s  ", time.Since(s.start).Seconds())+fmt.Sprintf(format, args...))
}

// save writes what is needed to understand a failure: a run is not repeated bit
// by bit by its seed.
func (c *cluster) save(seed uint64, verdicts []string) (string, error) {
	dir := os.Getenv("PLACED_ARTIFACTS")
	if dir == "" {
		dir = filepath.Join(os.TempDir(), "placed-artifacts")
	}
	dir = filepath.Join(dir, fmt.Sprintf("virtual-seed-%d", seed))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	write := func(name string, v any) error {
		b, err := json.MarshalIndent(v, "", " ")
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, name), b, 0o644)
	}
	c.history.mu.Lock()
	defer c.history.mu.Unlock()
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	for name, v := range map[string]any{"verdicts.json": verdicts, "faults.json": c.log.lines, "proposals.json": c.history.proposals, "reads.json": c.history.reads} {
		if err := write(name, v); err != nil {
			return dir, err
		}
	}
	return dir, nil
}

// books are what counts against one host: a workload is there once, because it
// has one lease at most and the two ends of a move differ.
type books []held

type held struct {
	Workload fleet.WorkloadID `json:"w"`
	Memory   int64            `json:"m"`
}

func compareHeld(a, b held) int {
	switch {
	case a.Workload < b.Workload:
		return -1
	case a.Workload > b.Workload:
		return 1
	}
	return 0
}

func (b books) sum() (n int64) {
	for _, h := range b {
		n += h.Memory
	}
	return n
}

func (b books) with(h held) books {
	i, found := slices.BinarySearchFunc(b, h, compareHeld)
	if found {
		return b
	}
	return slices.Insert(slices.Clone(b), i, h)
}

func (b books) without(w fleet.WorkloadID) books {
	i, found := slices.BinarySearchFunc(b, held{Workload: w}, compareHeld)
	if !found {
		return b
	}
	return slices.Delete(slices.Clone(b), i, i+1)
}

func (b books) has(w fleet.WorkloadID) bool {
	_, found := slices.BinarySearchFunc(b, held{Workload: w}, compareHeld)
	return found
}

// booksOf reads a host's books from a state.
func booksOf(s *fsm.State, host fleet.HostID) books {
	var out books
	for _, w := range s.Workloads() {
		if w.Owner == host {
			out = append(out, held{w.ID, w.Reservation.Memory})
		}
	}
	for _, l := range s.Leases() {
		at := l.Destination
		if l.State == fleet.Committed || l.State == fleet.Activated {
			at = l.Source
		}
		if at == host && !ended(l) {
			out = append(out, held{l.Workload, l.Reservation.Memory})
		}
	}
	slices.SortFunc(out, compareHeld)
	return out
}
