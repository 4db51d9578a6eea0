package migrator

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// pageSize is the unit of tracking, comparing and sending; blockSize the unit of
// the digest.
const (
	pageSize  = 4 << 10
	blockSize = 64 << 10
)

// How one page is written into a batch.
const (
	pageZero = iota // nothing follows
	pageRaw         // the bytes of the page
	pageXOR         // uvarint length, then runs of changed words
)

// batchBytes is when a batch is sent, maxBatch what a decoder accepts: one page
// more, and its header.
const (
	batchBytes = 256 << 10
	maxBatch   = batchBytes + pageSize + 64
)

var zeroPage [pageSize]byte

var errBatch = errors.New("malformed batch of pages")

// batch collects pages in ascending order.
type batch struct {
	buf   []byte
	next  int64 // the page after the last one added
	whole int   // bytes in raw pages, to tell sparse batches from full ones
}

func (b *batch) reset() { b.buf, b.next, b.whole = b.buf[:0], 0, 0 }

func (b *batch) full() bool { return len(b.buf) >= batchBytes }

// add writes page number n. old is the content the other end has, nil when it is
// not known.
func (b *batch) add(n int64, old, page []byte) {
	b.buf = binary.AppendUvarint(b.buf, uint64(n-b.next))
	b.next = n + 1
	if bytes.Equal(page, zeroPage[:len(page)]) {
		b.buf = append(b.buf, pageZero)
		return
	}
	if old != nil && len(page) == pageSize {
		at := len(b.buf)
		b.buf = append(b.buf, pageXOR)
		// Two bytes for the length: a delta that does not pay is dropped.
		b.buf = append(b.buf, 0, 0)
		if out, pays := appendXOR(b.buf, old, page); pays {
			n := len(out) - at - 3
			out[at+1], out[at+2] = byte(n)|0x80, byte(n>>7)
			b.buf = out
			return
		}
		b.buf = b.buf[:at]
	}
	b.buf = append(b.buf, pageRaw)
	b.buf = append(b.buf, page...)
	b.whole += len(page)
}

// deltaPays: a longer delta saves too little to be worth the work at both ends.
const deltaPays = pageSize * 3 / 4

// appendXOR appends the changed 8-byte words of a page: runs of (words to skip,
// words that follow, their XOR with the old content). It gives up when the delta
// does not pay.
func appendXOR(dst, old, page []byte) ([]byte, bool) {
	start, last := len(dst), 0
	for i := 0; i < pageSize; {
		if binary.LittleEndian.Uint64(old[i:]) == binary.LittleEndian.Uint64(page[i:]) {
			i += 8
			continue
		}
		end := i + 8
		for end < pageSize && binary.LittleEndian.Uint64(old[end:]) != binary.LittleEndian.Uint64(page[end:]) {
			end += 8
		}
		dst = binary.AppendUvarint(dst, uint64(i-last)/8)
		dst = binary.AppendUvarint(dst, uint64(end-i)/8)
		if len(dst)-start+end-i > deltaPays {
			return dst, false
		}
		for ; i < end; i += 8 {
			dst = binary.LittleEndian.AppendUint64(dst, binary.LittleEndian.Uint64(old[i:])^binary.LittleEndian.Uint64(page[i:]))
		}
		last = end
	}
	return dst, true
}

// applyXOR changes page by a delta.
func applyXOR(page, delta []byte) error {
	at := uint64(0)
	for len(delta) > 0 {
		skip, n := binary.Uvarint(delta)
		if n <= 0 {
			return errBatch
		}
		delta = delta[n:]
		words, n := binary.Uvarint(delta)
		if n <= 0 || words == 0 || skip > pageSize/8 || words > pageSize/8 {
			return errBatch
		}
		delta = delta[n:]
		at += skip
		if at+words > uint64(len(page))/8 || uint64(len(delta)) < words*8 {
			return errBatch
		}
		for range words {
			p := page[at*8:]
			binary.LittleEndian.PutUint64(p, binary.LittleEndian.Uint64(p)^binary.LittleEndian.Uint64(delta))
			delta, at = delta[8:], at+1
		}
	}
	return nil
}

// pageLength of page n in a state of size bytes, 0 beyond its end.
func pageLength(n, size int64) int {
	if n < 0 || n > size/pageSize {
		return 0
	}
	return int(min(pageSize, size-n*pageSize))
}

// unpack calls read for the present content of a page that a delta changes, and
// write for each page of the batch, in order. page is only valid during the call.
func unpack(batch []byte, size int64, read func(n int64, page []byte) error, write func(n int64, page []byte) error) error {
	var space [pageSize]byte
	next := int64(0)
	for len(batch) > 0 {
		gap, used := binary.Uvarint(batch)
		if used <= 0 || gap > uint64(size/pageSize) || len(batch) < used+1 {
			return errBatch
		}
		n := next + int64(gap)
		next = n + 1
		kind := batch[used]
		batch = batch[used+1:]
		length := pageLength(n, size)
		if length == 0 {
			return fmt.Errorf("%w: page %d lies outside a state of %d bytes", errBatch, n, size)
		}
		page := space[:length]
		switch kind {
		case pageZero:
			clear(page)
		case pageRaw:
			if len(batch) < length {
				return errBatch
			}
			page, batch = batch[:length], batch[length:]
		case pageXOR:
			have, used := binary.Uvarint(batch)
			if used <= 0 || have > deltaPays || uint64(len(batch)-used) < have || length != pageSize {
				return errBatch
			}
			if err := read(n, page); err != nil {
				return err
			}
			if err := applyXOR(page, batch[used:used+int(have)]); err != nil {
				return err
			}
			batch = batch[used+int(have):]
		default:
			return fmt.Errorf("%w: page kind %d", errBatch, kind)
		}
		if err := write(n, page); err != nil {
			return err
		}
	}
	return nil
}
