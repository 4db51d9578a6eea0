package workload

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"time"
)

const (
	pageSize = 4096
	slotSize = 256
	// version of the layout of a region; a change of any offset raises it.
	version = 1
)

// magic is the first word of every region.
var magic = [8]byte{'p', 'l', 'a', 'c', 'e', 'd', 'R', 'G'}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// order of bytes in a region: a region may travel between architectures.
var order = binary.LittleEndian

// layout says where in a region what lies. In version 1 it follows from size
// and length of the trace alone:
//
//	page 0     header: identity, clock, load; written at birth and activation
//	page 1     vitals: counter and digests; written with every change
//	page 2…    trace, float32 each
//	then       key-value table, an eighth of the region
//	then       heap, the rest
type layout struct {
	size       int64
	traceCount int64
	kvOff      int64
	kvSlots    int64
	heapOff    int64
	heapPages  int64
}

const (
	vitalsOff = 1 * pageSize
	traceOff  = 2 * pageSize
)

func layoutOf(size, traceCount int64) layout {
	tracePages := (traceCount*4 + pageSize - 1) / pageSize
	l := layout{size: size, traceCount: traceCount, kvOff: traceOff + tracePages*pageSize}
	kvPages := size / 8 / pageSize
	l.kvSlots = kvPages * (pageSize / slotSize)
	l.heapOff = l.kvOff + kvPages*pageSize
	l.heapPages = (size - l.heapOff) / pageSize
	return l
}

// header is page 0.
type header struct {
	id         string
	size       int64
	traceCount int64
	seed       uint64
	origin     time.Time // load time of the first trace row
	scale      float64   // thousandths of a core per percent
	dirtyRate  float64   // pages per core-second
	clock      Clock
}

// Offsets in page 0. The checksum covers everything behind itself.
const (
	offMagic      = 0
	offVersion    = 8
	offCRC        = 12
	offSize       = 16
	offTraceCount = 24
	offSeed       = 32
	offOrigin     = 40
	offScale      = 48
	offDirtyRate  = 56
	offClockWall  = 64
	offClockLoad  = 72
	offClockScale = 80
	offIDLength   = 88
	offID         = 90
)

// encodeTo writes the header over page 0.
func (h header) encodeTo(page []byte) {
	clear(page[:pageSize])
	copy(page[offMagic:], magic[:])
	order.PutUint32(page[offVersion:], version)
	order.PutUint64(page[offSize:], uint64(h.size))
	order.PutUint64(page[offTraceCount:], uint64(h.traceCount))
	order.PutUint64(page[offSeed:], h.seed)
	order.PutUint64(page[offOrigin:], uint64(h.origin.UnixNano()))
	order.PutUint64(page[offScale:], math.Float64bits(h.scale))
	order.PutUint64(page[offDirtyRate:], math.Float64bits(h.dirtyRate))
	if !h.clock.isZero() {
		order.PutUint64(page[offClockWall:], uint64(h.clock.Wall.UnixNano()))
		order.PutUint64(page[offClockLoad:], uint64(h.clock.Load.UnixNano()))
		order.PutUint64(page[offClockScale:], math.Float64bits(h.clock.Scale))
	}
	order.PutUint16(page[offIDLength:], uint16(len(h.id)))
	copy(page[offID:offID+maxIDLength], h.id)
	order.PutUint32(page[offCRC:], crc32.Checksum(page[offSize:pageSize], castagnoli))
}

// decodeHeader reads page 0 and refuses whatever this program could not have
// written, so that nothing behind it needs a bound check of its own.
func decodeHeader(page []byte) (header, error) {
	if len(page) < pageSize {
		return header{}, fmt.Errorf("region header: %d bytes, want %d", len(page), pageSize)
	}
	if [8]byte(page[offMagic:offMagic+8]) != magic {
		return header{}, errors.New("region header: no magic word: empty, or not a region")
	}
	if v := order.Uint32(page[offVersion:]); v != version {
		return header{}, fmt.Errorf("region header: version %d, this program reads %d", v, version)
	}
	if order.Uint32(page[offCRC:]) != crc32.Checksum(page[offSize:pageSize], castagnoli) {
		return header{}, errors.New("region header: checksum is wrong")
	}
	h := header{
		size:       int64(order.Uint64(page[offSize:])),
		traceCount: int64(order.Uint64(page[offTraceCount:])),
		seed:       order.Uint64(page[offSeed:]),
		origin:     time.Unix(0, int64(order.Uint64(page[offOrigin:]))).UTC(),
		scale:      math.Float64frombits(order.Uint64(page[offScale:])),
		dirtyRate:  math.Float64frombits(order.Uint64(page[offDirtyRate:])),
	}
	if s := math.Float64frombits(order.Uint64(page[offClockScale:])); s != 0 {
		h.clock = Clock{
			Wall:  time.Unix(0, int64(order.Uint64(page[offClockWall:]))).UTC(),
			Load:  time.Unix(0, int64(order.Uint64(page[offClockLoad:]))).UTC(),
			Scale: s,
		}
	}
	n := int(order.Uint16(page[offIDLength:]))
	if n == 0 || n > maxIDLength {
		return header{}, fmt.Errorf("region header: id has %d bytes", n)
	}
	h.id = string(page[offID : offID+n])
	return h, h.validate()
}

func (h header) validate() error {
	if err := validateSize(h.size); err != nil {
		return fmt.Errorf("region header: %w", err)
	}
	if h.traceCount < 0 || h.traceCount > maxTraceRows || layoutOf(h.size, h.traceCount).heapPages < 1 {
		return fmt.Errorf("region header: %d trace rows do not fit", h.traceCount)
	}
	if !finite(h.scale) || !finite(h.dirtyRate) {
		return fmt.Errorf("region header: scale %v or dirty rate %v is no rate", h.scale, h.dirtyRate)
	}
	if err := h.clock.validate(); err != nil {
		return fmt.Errorf("region header: %w", err)
	}
	return nil
}
