package workload

import (
	"errors"
	"fmt"
	"hash/crc32"
)

// Offsets in a heap page. A page says which one it is and at which page write
// it was last changed; the sum of both over all pages is in the vitals.
const (
	pNumber = 0
	pSeq    = 8
	pCRC    = 16 // over number, sequence and words
	pWords  = 24
	// wordsChanged by one page write: a line or two of cache, as programs do.
	wordsChanged = 16
	pageWords    = (pageSize - pWords) / 8
)

func (s *state) heapPage(page int64) []byte {
	off := s.layout.heapOff + page*pageSize
	return s.mem[off : off+pageSize : off+pageSize]
}

// dirtyPage writes one heap page; which one follows from the generator in the
// state: four of five writes go to a hot tenth of the heap, scattered over it,
// so that a migration meets a working set and a long tail.
func (s *state) dirtyPage() {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := mix(s.get(vRandom))
	s.put(vRandom, r)
	pages := s.layout.heapPages
	page := int64(r % uint64(pages))
	if hot := pages / 10; hot > 0 && r>>60 < 13 {
		page = page % hot * 10
	}
	s.writeHeapPage(page)
	s.sealVitals()
}

// writeHeapPage fills a page at its first write and changes some words of it at
// every later one. The caller seals the vitals.
func (s *state) writeHeapPage(page int64) {
	p := s.heapPage(page)
	digest := s.get(vHeapDigest)
	seq := s.get(vHeapSeq) + 1
	first, count := 0, pageWords
	if old := order.Uint64(p[pSeq:]); old != 0 {
		digest -= pageDigest(page, old)
		first, count = int(mix(seq)%(pageWords-wordsChanged)), wordsChanged
	}
	order.PutUint64(p[pNumber:], uint64(page))
	order.PutUint64(p[pSeq:], seq)
	// Words that look like pointers into one arena: a heap is neither zero
	// nor noise, and a delta of it compresses.
	base := mix(s.head.seed)&^0xffffff | 1
	for i := first; i < first+count; i++ {
		order.PutUint64(p[pWords+8*i:], base+mix(seq^uint64(i))&0xfffff8)
	}
	order.PutUint32(p[pCRC:], pageChecksum(p))
	s.put(vHeapSeq, seq)
	s.put(vHeapDigest, digest+pageDigest(page, seq))
}

func pageChecksum(p []byte) uint32 {
	return crc32.Update(crc32.Checksum(p[:pCRC], castagnoli), castagnoli, p[pWords:])
}

func pageDigest(page int64, seq uint64) uint64 { return mix(uint64(page)<<40 ^ seq) }

// Verified is what verify counted.
type Verified struct {
	Pages   int64
	Keys    int64
	Counter uint64
}

// verify checks every page and slot that was ever written, and that none of
// them is older than the vitals say.
func (s *state) verify() (Verified, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.checkVitals(); err != nil {
		return Verified{}, err
	}
	if h, err := decodeHeader(s.mem); err != nil {
		return Verified{}, err
	} else if h.id != s.head.id {
		return Verified{}, fmt.Errorf("region header: id changed from %s to %s", s.head.id, h.id)
	}
	v := Verified{Counter: s.get(vCounter)}
	if err := s.verifyHeap(&v); err != nil {
		return Verified{}, err
	}
	return v, s.verifyTable(&v)
}

func (s *state) verifyHeap(v *Verified) error {
	var digest uint64
	for page := range s.layout.heapPages {
		p := s.heapPage(page)
		seq := order.Uint64(p[pSeq:])
		switch {
		case seq == 0 || seq > s.get(vHeapSeq):
			return fmt.Errorf("heap page %d: sequence %d is outside 1..%d", page, seq, s.get(vHeapSeq))
		case order.Uint64(p[pNumber:]) != uint64(page):
			return fmt.Errorf("heap page %d says that it is page %d", page, order.Uint64(p[pNumber:]))
		case order.Uint32(p[pCRC:]) != pageChecksum(p):
			return fmt.Errorf("heap page %d: checksum is wrong", page)
		}
		digest += pageDigest(page, seq)
		v.Pages++
	}
	if digest != s.get(vHeapDigest) {
		return errors.New("heap: a page is older than the digest of all pages")
	}
	return nil
}

func (s *state) verifyTable(v *Verified) error {
	var digest uint64
	for index := range s.layout.kvSlots {
		slot := s.slot(index)
		if slot[sUsed] == 0 {
			continue
		}
		if err := checkSlot(slot); err != nil {
			return fmt.Errorf("table slot %d: %w", index, err)
		}
		digest += slotDigest(index, slot)
		v.Keys++
	}
	if digest != s.get(vKVDigest) || uint64(v.Keys) != s.get(vKeys) {
		return errors.New("table: a slot is older than the digest of all slots")
	}
	return nil
}
