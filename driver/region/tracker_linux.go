package region

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"github.com/placed-dev/placed/driver"
)

// tracker finds what a workload has changed. Calls are serialized by the source
// that owns it; readAt calls may run at the same time as each other.
type tracker interface {
	name() string
	// dirty returns what changed since the last call; the first call, and
	// the first one after driver.ErrTrackingLost, returns everything that
	// was ever touched.
	dirty(ctx context.Context) ([]driver.Range, error)
	readAt(p []byte, off int64) (int, error)
	close()
}

// comparer finds changes by comparing the memory with a copy of it: the
// fallback where the kernel cannot track, for twice the memory.
//
// It hands out the copy, not the memory. Otherwise a page that changes, is read,
// and changes back before the next comparison would stay wrong at the reader:
// with the copy, what was handed out is always what the next comparison starts
// from.
type comparer struct {
	memory *memory
	shadow []byte // mapped, so that its end gives the memory back at once
	primed bool
}

func newComparer(m *memory) (*comparer, error) {
	shadow, err := unix.Mmap(-1, 0, int(m.size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("no memory for a copy of %d bytes to compare with: %w", m.size, err)
	}
	return &comparer{memory: m, shadow: shadow}, nil
}

func (c *comparer) name() string { return TrackerCompare }

// compareBlock is read at once: small enough for a cache.
const compareBlock = 256 << 10

func (c *comparer) dirty(ctx context.Context) ([]driver.Range, error) {
	touched, err := c.memory.allocated()
	if err != nil {
		return nil, err
	}
	var runs []driver.Range
	block := make([]byte, compareBlock)
	for _, r := range touched {
		for off := r.Offset; off < r.Offset+r.Length; off += compareBlock {
			if err := ctx.Err(); err != nil {
				// What was compared so far would be missing from
				// the next answer.
				c.primed = false
				return nil, err
			}
			part := block[:min(compareBlock, r.Offset+r.Length-off)]
			if _, err := c.memory.file.ReadAt(part, off); err != nil {
				c.primed = false
				return nil, err
			}
			runs = c.compare(runs, part, off)
		}
	}
	c.primed = true
	return runs, nil
}

// compare takes the changed pages of one block into the copy.
func (c *comparer) compare(runs []driver.Range, part []byte, off int64) []driver.Range {
	for p := 0; p < len(part); p += pageSize {
		page, at := part[p:p+pageSize], off+int64(p)
		copied := c.shadow[at : at+pageSize]
		if c.primed && bytes.Equal(page, copied) {
			continue
		}
		copy(copied, page)
		runs = addRange(runs, at, pageSize)
	}
	return runs
}

func (c *comparer) readAt(p []byte, off int64) (int, error) {
	if !c.primed {
		return c.memory.file.ReadAt(p, off)
	}
	if off < 0 || off > c.memory.size {
		return 0, fmt.Errorf("offset %d is outside the state of %d bytes", off, c.memory.size)
	}
	n := copy(p, c.shadow[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (c *comparer) close() {
	if c.shadow != nil {
		_ = unix.Munmap(c.shadow)
		c.shadow = nil
	}
}

// newTracker takes the best tracker there is, or the one that was asked for.
func (d *Driver) newTracker(s *slot, m *memory) (tracker, error) {
	if d.config.ForceTracker != TrackerCompare {
		t, err := newPagemap(s.process.who.PID, m)
		if err == nil {
			return t, nil
		}
		if d.config.ForceTracker == TrackerPagemapScan {
			return nil, err
		}
		d.log.Warn("kernel cannot track changes: comparing with a copy instead, which costs as much memory again", "workload", s.id, "error", err)
	}
	c, err := newComparer(m)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// errLost wraps the cause of driver.ErrTrackingLost.
func errLost(cause error) error { return errors.Join(driver.ErrTrackingLost, cause) }
