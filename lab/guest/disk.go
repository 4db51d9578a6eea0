package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// diskPath is the guest's first virtual disk.
const diskPath = "/dev/vda"

// diskPages is how much of the disk is used, in pages.
const diskPages = 1024

// disk is the counterpart of memory: a region whose every block says what it must
// contain. What it must contain is kept in memory, so a disk that does not belong to
// that memory, an old copy or one that has lost a write, gives itself away.
type disk struct {
	mu       sync.Mutex // guards all below
	file     *os.File   // without the guest's cache: what is read was written to the disk
	buf      []byte     // one page, aligned
	versions []uint32
	next     int
	failed   error
}

// openDisk fills the region; nil without a disk.
func openDisk() (*disk, error) {
	f, err := os.OpenFile(diskPath, os.O_RDWR|unix.O_DIRECT|unix.O_SYNC, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	buf, err := unix.Mmap(-1, 0, pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, err
	}
	d := &disk{file: f, buf: buf, versions: make([]uint32, diskPages)}
	for i := range d.versions {
		if err := d.write(i); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// diskPage tells pages of the disk from those of the memory.
func diskPage(i int) int { return 1<<30 + i }

func (d *disk) write(i int) error {
	for k := 0; k < pageSize; k += 8 {
		binary.LittleEndian.PutUint64(d.buf[k:], word(diskPage(i), d.versions[i], k))
	}
	_, err := d.file.WriteAt(d.buf, int64(i)*pageSize)
	return err
}

// diskPace is the time between two writes: 100 a second.
const diskPace = 10 * time.Millisecond

// dirty rewrites blocks in order, for ever. A write that fails is remembered: the
// check tells of it.
func (d *disk) dirty() {
	for range time.Tick(diskPace) {
		d.mu.Lock()
		d.versions[d.next]++
		if err := d.write(d.next); err != nil && d.failed == nil {
			d.failed = fmt.Errorf("disk page %d: %w", d.next, err)
		}
		d.next = (d.next + 1) % len(d.versions)
		d.mu.Unlock()
	}
}

// check reads every block back.
func (d *disk) check() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failed != nil {
		return d.failed
	}
	for i := range d.versions {
		if _, err := d.file.ReadAt(d.buf, int64(i)*pageSize); err != nil {
			return fmt.Errorf("disk page %d: %w", i, err)
		}
		for k := 0; k < pageSize; k += 8 {
			if have, want := binary.LittleEndian.Uint64(d.buf[k:]), word(diskPage(i), d.versions[i], k); have != want {
				return fmt.Errorf("disk page %d byte %d: %016x, want %016x (version %d)", i, k, have, want, d.versions[i])
			}
		}
	}
	return nil
}
