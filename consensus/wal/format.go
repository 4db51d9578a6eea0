package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"time"

	"github.com/hashicorp/raft"
)

const (
	sector     = 512
	inSector   = sector - 1 // bytes of content in a sector; the last is a mark
	sectorMark = 0xA5
	recordMark = 0x5A

	segmentMagic = "placed/wal/1"
	recordMagic  = 0x6c6177 // three bytes; the kind is the fourth
	headerLength = 24       // of a record
)

// Kinds of records; the numbers are on disk.
const (
	kindEntries = 1
	kindCut     = 2
	kindDrop    = 3
	kindClose   = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Offsets in a segment count its content without the marks of sectors; physical
// is where such an offset lies in the file.
func physical(offset int64) int64 { return offset + offset/inSector }

// capacity is the content that a file of a size holds.
func capacity(size int64) int64 { return size / sector * inSector }

// recordLength is what a record with a payload occupies.
func recordLength(payload int) int64 { return int64(headerLength + payload + 1) }

// mark appends to dst content that begins at an offset, with the marks of the
// sectors that it fills.
func mark(dst, content []byte, offset int64) []byte {
	for len(content) > 0 {
		room := inSector - int(offset%inSector)
		n := min(room, len(content))
		dst = append(dst, content[:n]...)
		if n == room {
			dst = append(dst, sectorMark)
		}
		content, offset = content[n:], offset+int64(n)
	}
	return dst
}

// unmark takes the marks out of what was read from where an offset lies; it
// changes raw.
func unmark(raw []byte, offset int64) []byte {
	content := raw[:0]
	for at := int(physical(offset) % sector); len(raw) > 0; at = 0 {
		n := min(inSector-at, len(raw))
		content = append(content, raw[:n]...)
		raw = raw[min(n+1, len(raw)):]
	}
	return content
}

// segmentHeader is the content of the first sector.
func segmentHeader(sequence uint64, size int64) []byte {
	b := []byte(segmentMagic)
	b = binary.BigEndian.AppendUint64(b, sequence)
	b = binary.BigEndian.AppendUint64(b, uint64(size))
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// checkSegmentHeader says whether content begins with the header of the segment
// with that number in a file of that size.
func checkSegmentHeader(content []byte, sequence uint64, size int64) error {
	want := segmentHeader(sequence, size)
	if len(content) < len(want) || !bytes.HasPrefix(content, []byte(segmentMagic)) {
		return errors.New("it is not a segment of a log")
	}
	if !bytes.Equal(content[:len(want)], want) {
		return errors.New("its header is damaged, or it has not the size or the name that it was made with")
	}
	return nil
}

// appendRecord appends a record of the segment with that number.
func appendRecord(dst []byte, sequence uint64, kind byte, payload []byte) []byte {
	head := len(dst)
	dst = binary.BigEndian.AppendUint32(dst, recordMagic<<8|uint32(kind))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(payload)))
	dst = binary.BigEndian.AppendUint64(dst, sequence)
	dst = binary.BigEndian.AppendUint32(dst, crc32.Checksum(payload, castagnoli))
	dst = binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[head:], castagnoli))
	return append(append(dst, payload...), recordMark)
}

// head is the header of a record.
type head struct {
	kind   byte
	length int
	sum    uint32
}

// readHead is false for what is no header of a record of that segment.
func readHead(b []byte, sequence uint64) (h head, ok bool) {
	if len(b) < headerLength || crc32.Checksum(b[:20], castagnoli) != binary.BigEndian.Uint32(b[20:]) {
		return head{}, false
	}
	magic := binary.BigEndian.Uint32(b)
	h = head{kind: byte(magic), length: int(binary.BigEndian.Uint32(b[4:])), sum: binary.BigEndian.Uint32(b[16:])}
	return h, magic>>8 == recordMagic && binary.BigEndian.Uint64(b[8:]) == sequence
}

// readRecord is false for what is no whole record of that segment.
func readRecord(b []byte, sequence uint64) (kind byte, payload []byte, ok bool) {
	h, ok := readHead(b, sequence)
	if !ok || int64(len(b)) < recordLength(h.length) {
		return 0, nil, false
	}
	payload = b[headerLength : headerLength+h.length]
	return h.kind, payload, b[headerLength+h.length] == recordMark && crc32.Checksum(payload, castagnoli) == h.sum
}

// appendEntry appends an entry in the form in which a record holds it.
func appendEntry(dst []byte, l *raft.Log) []byte {
	dst = binary.AppendUvarint(dst, l.Index)
	dst = binary.AppendUvarint(dst, l.Term)
	dst = append(dst, byte(l.Type))
	var at int64
	if !l.AppendedAt.IsZero() {
		at = l.AppendedAt.UnixNano()
	}
	dst = binary.AppendVarint(dst, at)
	dst = binary.AppendUvarint(dst, uint64(len(l.Extensions)))
	dst = binary.AppendUvarint(dst, uint64(len(l.Data)))
	return append(append(dst, l.Extensions...), l.Data...)
}

// entryBound is the most bytes that appendEntry appends.
func entryBound(l *raft.Log) int {
	return 5*binary.MaxVarintLen64 + 1 + len(l.Extensions) + len(l.Data)
}

// readEntry reads an entry from the front of b and says how long it is. What l
// holds afterwards shares no memory with b.
func readEntry(b []byte, l *raft.Log) (length int, err error) {
	d := decoder{rest: b}
	index, term, kind, at := d.uvarint(), d.uvarint(), d.byte(), d.varint()
	extensions, data := d.uvarint(), d.uvarint()
	if d.failed || extensions > uint64(len(d.rest)) || data > uint64(len(d.rest))-extensions {
		return 0, errors.New("an entry does not end within its record")
	}
	*l = raft.Log{Index: index, Term: term, Type: raft.LogType(kind)}
	if at != 0 {
		l.AppendedAt = time.Unix(0, at).UTC()
	}
	if extensions > 0 {
		l.Extensions = bytes.Clone(d.rest[:extensions])
	}
	if data > 0 {
		l.Data = bytes.Clone(d.rest[extensions : extensions+data])
	}
	return len(b) - len(d.rest) + int(extensions+data), nil
}

// readIndex reads the payload of a cut or a drop.
func readIndex(payload []byte) (uint64, error) {
	d := decoder{rest: payload}
	index := d.uvarint()
	if d.failed || len(d.rest) > 0 || index == 0 || index == math.MaxUint64 {
		return 0, fmt.Errorf("%x is no index", payload)
	}
	return index, nil
}

// decoder takes numbers off the front of rest.
type decoder struct {
	rest   []byte
	failed bool
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	d.skip(n)
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.rest)
	d.skip(n)
	return v
}

func (d *decoder) byte() byte {
	if len(d.rest) == 0 {
		d.failed = true
		return 0
	}
	b := d.rest[0]
	d.rest = d.rest[1:]
	return b
}

func (d *decoder) skip(n int) {
	if n <= 0 {
		d.failed, n = true, 0
	}
	d.rest = d.rest[n:]
}
