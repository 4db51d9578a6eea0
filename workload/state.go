package workload

import (
	"fmt"
	"hash/crc32"
	"math"
	"sync"
	"time"
)

// state is the view of a region's bytes as a header, vitals, a trace, a table
// and a heap. It keeps nothing outside those bytes but what follows from the
// header, so that a copy of the bytes is a copy of the state.
type state struct {
	mu     sync.Mutex // guards mem and head
	mem    []byte
	head   header
	layout layout
}

// vitals are the offsets in page 1. The checksum finds a page that was copied
// in pieces; the digests find a table slot or heap page that is older than the
// vitals, which its own checksum cannot.
const (
	vCounter    = vitalsOff + 0  // acknowledged writes
	vKeys       = vitalsOff + 8  // used slots
	vKVDigest   = vitalsOff + 16 // sum over used slots
	vHeapSeq    = vitalsOff + 24 // page writes so far
	vHeapDigest = vitalsOff + 32 // sum over heap pages
	vRandom     = vitalsOff + 40 // generator that chooses pages
	vCRC        = vitalsOff + 48 // over the fields above
)

// newState writes an empty state over mem, which is all zero, and fills the
// heap: the size a workload declares is the memory it has.
func newState(mem []byte, h header, trace []float32) (*state, error) {
	h.size, h.traceCount = int64(len(mem)), int64(len(trace))
	if err := h.validate(); err != nil {
		return nil, err
	}
	h.encodeTo(mem)
	s := &state{mem: mem, head: h, layout: layoutOf(h.size, h.traceCount)}
	for i, v := range trace {
		order.PutUint32(mem[traceOff+4*i:], math.Float32bits(v))
	}
	s.put(vRandom, mix(h.seed)|1)
	for page := range s.layout.heapPages {
		s.writeHeapPage(page)
	}
	s.sealVitals()
	return s, nil
}

// openState reads what another process or an earlier life has written. It
// checks the header and the vitals; verify checks the rest.
func openState(mem []byte, id string) (*state, error) {
	h, err := decodeHeader(mem)
	if err != nil {
		return nil, err
	}
	if h.size != int64(len(mem)) {
		return nil, fmt.Errorf("region is made for %d bytes, not for %d", h.size, len(mem))
	}
	if h.id != id {
		return nil, fmt.Errorf("region belongs to workload %s, not to %s", h.id, id)
	}
	s := &state{mem: mem, head: h, layout: layoutOf(h.size, h.traceCount)}
	if err := s.checkVitals(); err != nil {
		return nil, err
	}
	for i := range s.layout.traceCount {
		if v := s.traceValue(i); !validPercent(v) {
			return nil, fmt.Errorf("trace row %d holds %v, no percentage", i, v)
		}
	}
	return s, nil
}

func (s *state) get(off int64) uint64    { return order.Uint64(s.mem[off:]) }
func (s *state) put(off int64, v uint64) { order.PutUint64(s.mem[off:], v) }

// sealVitals follows every change of the vitals.
func (s *state) sealVitals() {
	order.PutUint32(s.mem[vCRC:], crc32.Checksum(s.mem[vitalsOff:vCRC], castagnoli))
}

func (s *state) checkVitals() error {
	if order.Uint32(s.mem[vCRC:]) != crc32.Checksum(s.mem[vitalsOff:vCRC], castagnoli) {
		return fmt.Errorf("page 1 (counter and digests): checksum is wrong")
	}
	return nil
}

// counter returns the number of acknowledged writes.
func (s *state) counter() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.get(vCounter)
}

// increment counts one acknowledged write.
func (s *state) increment() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.get(vCounter) + 1
	s.put(vCounter, n)
	s.sealVitals()
	return n
}

// useClock replaces the clock: it belongs to where the state runs, the origin
// of the trace to the state.
func (s *state) useClock(c Clock) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.isZero() || c == s.head.clock {
		return
	}
	s.head.clock = c
	s.head.encodeTo(s.mem)
}

func (s *state) traceValue(i int64) float32 {
	return math.Float32frombits(order.Uint32(s.mem[traceOff+4*i:]))
}

// tick of the trace: one row is five minutes of load time.
const tick = 5 * time.Minute

// demand returns what the trace asks for at a wall time, in millicores. Before
// its origin the loop is continued backwards.
func (s *state) demand(wall time.Time) float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.layout.traceCount == 0 {
		return 0
	}
	row := int64(math.Floor(float64(s.head.clock.at(wall).Sub(s.head.origin)) / float64(tick)))
	row = (row%s.layout.traceCount + s.layout.traceCount) % s.layout.traceCount
	return float64(s.traceValue(row)) * s.head.scale
}

// mix is the finalizer of splitmix64: every bit of the result depends on every
// bit of x.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
