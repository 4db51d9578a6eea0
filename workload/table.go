package workload

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/fnv"
)

// Bounds of keys and values.
const (
	MaxKey   = 64
	MaxValue = 128
)

var (
	errTableFull = errors.New("table full")
	errKey       = fmt.Errorf("key must have 1 to %d bytes", MaxKey)
	errValue     = fmt.Errorf("value must have at most %d bytes", MaxValue)
)

// Offsets in a slot of the table; keys are never deleted, so an unused slot
// ends every probe.
const (
	sCRC    = 0  // over the rest of the slot
	sUsed   = 4  // 1 when used
	sKeyLen = 5  // bytes
	sValLen = 6  // bytes
	sSeq    = 8  // counter at its last write
	sKey    = 16 // MaxKey bytes
	sVal    = sKey + MaxKey
	sEnd    = sVal + MaxValue
)

// set stores the value and returns the counter, which has counted the write.
func (s *state) set(key, value []byte) (uint64, error) {
	if len(key) == 0 || len(key) > MaxKey {
		return 0, errKey
	}
	if len(value) > MaxValue {
		return 0, errValue
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	index, found := s.find(key)
	if index < 0 {
		return 0, errTableFull
	}
	slot := s.slot(index)
	digest, keys := s.get(vKVDigest), s.get(vKeys)
	if found {
		digest -= slotDigest(index, slot)
	} else {
		keys++
	}
	n := s.get(vCounter) + 1
	clear(slot)
	slot[sUsed], slot[sKeyLen], slot[sValLen] = 1, byte(len(key)), byte(len(value))
	order.PutUint64(slot[sSeq:], n)
	copy(slot[sKey:], key)
	copy(slot[sVal:], value)
	order.PutUint32(slot[sCRC:], crc32.Checksum(slot[sUsed:sEnd], castagnoli))

	s.put(vCounter, n)
	s.put(vKeys, keys)
	s.put(vKVDigest, digest+slotDigest(index, slot))
	s.sealVitals()
	return n, nil
}

// lookup returns a copy of the value.
func (s *state) lookup(key []byte) ([]byte, bool, error) {
	if len(key) == 0 || len(key) > MaxKey {
		return nil, false, errKey
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	index, found := s.find(key)
	if !found {
		return nil, false, nil
	}
	slot := s.slot(index)
	if err := checkSlot(slot); err != nil {
		return nil, false, fmt.Errorf("slot %d: %w", index, err)
	}
	return bytes.Clone(slot[sVal : sVal+int(slot[sValLen])]), true, nil
}

// find returns the slot of the key, or the slot where it belongs, or -1 when
// the table is seven eighths full: longer probes would touch most of it.
func (s *state) find(key []byte) (int64, bool) {
	h := fnv.New64a()
	h.Write(key)
	slots := s.layout.kvSlots
	start := int64(mix(h.Sum64()^s.head.seed) % uint64(slots))
	for i := range slots {
		index := (start + i) % slots
		slot := s.slot(index)
		if slot[sUsed] == 0 {
			if s.get(vKeys) >= uint64(slots/8*7) {
				return -1, false
			}
			return index, false
		}
		if n := int(slot[sKeyLen]); n == len(key) && n <= MaxKey && bytes.Equal(slot[sKey:sKey+n], key) {
			return index, true
		}
	}
	return -1, false
}

func (s *state) slot(index int64) []byte {
	off := s.layout.kvOff + index*slotSize
	return s.mem[off : off+slotSize : off+slotSize]
}

// slotDigest ties the place of a slot to its contents.
func slotDigest(index int64, slot []byte) uint64 {
	return mix(uint64(index)<<32 ^ uint64(order.Uint32(slot[sCRC:])) ^ order.Uint64(slot[sSeq:])<<17)
}

func checkSlot(slot []byte) error {
	switch {
	case slot[sUsed] != 1 || slot[sKeyLen] == 0 || slot[sKeyLen] > MaxKey || slot[sValLen] > MaxValue:
		return errors.New("malformed")
	case order.Uint32(slot[sCRC:]) != crc32.Checksum(slot[sUsed:sEnd], castagnoli):
		return errors.New("checksum is wrong")
	}
	return nil
}
