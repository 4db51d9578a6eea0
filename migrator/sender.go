package migrator

import (
	"bytes"
	"fmt"
	"io"

	"github.com/placed-dev/placed/driver"
)

// chunkPages is how much is read from the workload at once.
const chunkPages = 64

// sender turns ranges of a workload's state into frames of pages. It remembers
// what the other end has: the content where the workload is small enough, for
// deltas and to skip pages that were rewritten with the same bytes, and the
// hashes always.
type sender struct {
	src    driver.Source
	size   int64
	link   *wire
	pack   *compressor
	sum    *digest
	shadow []byte // what was sent last; nil for a large workload
	batch  batch
	chunk  []byte
	// scanned and dirty count the bytes looked at and sent in this round.
	scanned, dirty int64
}

func newSender(src driver.Source, link *wire, pack *compressor, shadowLimit int64) *sender {
	t := &sender{src: src, size: src.Size(), link: link, pack: pack, chunk: make([]byte, chunkPages*pageSize)}
	t.sum = newDigest(t.size)
	if t.size <= shadowLimit {
		t.shadow = make([]byte, t.size)
	}
	return t
}

// pages sends every page that the ranges touch and that the other end does not
// have. check is called between chunks and ends the sending by its error.
func (t *sender) pages(ranges []driver.Range, check func() error) error {
	t.scanned, t.dirty = 0, 0
	t.batch.reset()
	next := int64(0) // ranges may touch the same page
	for _, r := range ranges {
		if r.Offset < 0 || r.Length < 0 || r.Offset > t.size || r.Length > t.size-r.Offset {
			return fmt.Errorf("driver reports a change of %d bytes at %d of a state of %d bytes", r.Length, r.Offset, t.size)
		}
		if r.Length == 0 {
			continue
		}
		first, last := max(next, r.Offset/pageSize), (r.Offset+r.Length-1)/pageSize
		for ; first <= last; first += chunkPages {
			if err := check(); err != nil {
				return err
			}
			if err := t.run(first, min(last+1, first+chunkPages)); err != nil {
				return err
			}
		}
		next = max(next, last+1)
	}
	return t.emit()
}

// run sends the pages [first, end) as far as they changed.
func (t *sender) run(first, end int64) error {
	at, stop := first*pageSize, min(t.size, end*pageSize)
	chunk := t.chunk[:stop-at]
	if n, err := t.src.ReadAt(chunk, at); n < len(chunk) {
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("reading %d bytes of state at %d: %w", len(chunk), at, err)
	}
	t.scanned += stop - at
	for n := first; n < end && len(chunk) > 0; n++ {
		page := chunk[:min(pageSize, len(chunk))]
		chunk = chunk[len(page):]
		if err := t.page(n, page); err != nil {
			return err
		}
	}
	return t.link.ping()
}

func (t *sender) page(n int64, page []byte) error {
	var old []byte
	if t.shadow != nil {
		old = t.shadow[n*pageSize : n*pageSize+int64(len(page))]
		if bytes.Equal(old, page) {
			return nil
		}
	}
	if t.batch.full() {
		if err := t.emit(); err != nil {
			return err
		}
	}
	t.batch.add(n, old, page)
	t.sum.set(n, page)
	copy(old, page)
	t.dirty += int64(len(page))
	return nil
}

func (t *sender) emit() error {
	if len(t.batch.buf) == 0 {
		return nil
	}
	err := t.link.write(t.pack.pack(&t.batch))
	t.batch.reset()
	return err
}

// receiver writes frames of pages into the incoming copy.
type receiver struct {
	sink driver.Sink
	size int64
	open *decompressor
	sum  *digest
}

func (r *receiver) pages(f frame) error {
	batch, err := r.open.unpack(f)
	if err != nil {
		return err
	}
	return unpack(batch, r.size,
		func(n int64, page []byte) error {
			if _, err := r.sink.ReadAt(page, n*pageSize); err != nil && err != io.EOF {
				return fmt.Errorf("reading back page %d: %w", n, err)
			}
			return nil
		},
		func(n int64, page []byte) error {
			if _, err := r.sink.WriteAt(page, n*pageSize); err != nil {
				return fmt.Errorf("writing page %d: %w", n, err)
			}
			r.sum.set(n, page)
			return nil
		})
}
