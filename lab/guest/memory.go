package main

import (
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const pageSize = 4096

// memory is a working set whose every page says what it must contain: a page is
// a function of its number and its version. The versions stand in a table of
// their own, so that an old page is found as well as a broken one.
type memory struct {
	mu       sync.Mutex // guards all below
	pages    []byte
	versions []uint32
	next     int
	rate     int64 // bytes per second, 0 = rest
	written  int64
}

func newMemory(size int) (*memory, error) {
	pages, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("working set of %d bytes: %w", size, err)
	}
	m := &memory{pages: pages, versions: make([]uint32, size/pageSize)}
	for i := range m.versions {
		m.fill(i)
	}
	return m, nil
}

func (m *memory) page(i int) []byte { return m.pages[i*pageSize : (i+1)*pageSize] }

// word k of page i in version v, by a multiplication that spreads every bit.
func word(i int, v uint32, k int) uint64 {
	x := uint64(i)<<32 ^ uint64(v)<<12 ^ uint64(k)
	x = (x ^ x>>31) * 0x9e3779b97f4a7c15
	return x ^ x>>29
}

func (m *memory) fill(i int) {
	p := m.page(i)
	for k := 0; k < pageSize; k += 8 {
		binary.LittleEndian.PutUint64(p[k:], word(i, m.versions[i], k))
	}
}

// check compares every word of every page; the dirtier rests meanwhile.
func (m *memory) check() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.versions {
		p := m.page(i)
		for k := 0; k < pageSize; k += 8 {
			if have, want := binary.LittleEndian.Uint64(p[k:]), word(i, m.versions[i], k); have != want {
				return fmt.Errorf("page %d byte %d: %016x, want %016x (version %d)", i, k, have, want, m.versions[i])
			}
		}
	}
	return nil
}

func (m *memory) setRate(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rate = bytes
}

func (m *memory) stats() (rate, written int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rate, m.written
}

// slice is how often the dirtier writes its share.
const slice = 10 * time.Millisecond

// dirty rewrites whole pages, in order, at the rate set. A pause of the guest is
// not caught up with: the rate is a limit.
func (m *memory) dirty() {
	owed := int64(0)
	for range time.Tick(slice) {
		m.mu.Lock()
		owed = min(owed+m.rate*int64(slice)/int64(time.Second), m.rate/10+pageSize)
		for ; owed >= pageSize; owed -= pageSize {
			m.versions[m.next]++
			m.fill(m.next)
			m.next = (m.next + 1) % len(m.versions)
			m.written += pageSize
		}
		m.mu.Unlock()
	}
}
