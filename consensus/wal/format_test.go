package wal

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"
)

// Content goes into sectors and comes back, wherever it begins, and every sector
// that it touches has something other than zeros in it.
func TestMarks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		offset := rapid.Int64Range(0, 3*inSector).Draw(t, "offset")
		content := append(make([]byte, rapid.IntRange(0, 2000).Draw(t, "length")), recordMark)
		raw := mark(nil, content, offset)
		if len(raw) != int(physical(offset+int64(len(content)))-physical(offset)) {
			t.Fatalf("%d bytes in the file", len(raw))
		}
		for from, at := 0, int(physical(offset)); from < len(raw); {
			n := min(sector-at%sector, len(raw)-from)
			if allZero(raw[from : from+n]) {
				t.Fatalf("the sector at %d is all zeros", at)
			}
			from, at = from+n, at+n
		}
		if got := unmark(bytes.Clone(raw), offset); !bytes.Equal(got, content) {
			t.Fatalf("%x came back as %x", content, got)
		}
	})
}

// Each entry comes back as it was, with all fields that raft gives it.
func TestEntries(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := raft.Log{
			Index: rapid.Uint64().Draw(t, "index"), Term: rapid.Uint64().Draw(t, "term"), Type: raft.LogType(rapid.Byte().Draw(t, "type")),
			Data: some(t, "data"), Extensions: some(t, "extensions"),
		}
		if rapid.Bool().Draw(t, "dated") {
			in.AppendedAt = time.Unix(0, rapid.Int64Range(1, 1<<61).Draw(t, "at")).UTC()
		}
		raw := appendEntry(nil, &in)
		var out raft.Log
		n, err := readEntry(append(raw, 1, 2, 3), &out)
		if err != nil || n != len(raw) || !reflect.DeepEqual(in, out) {
			t.Fatalf("%+v came back as %+v, %d of %d bytes, %v", in, out, n, len(raw), err)
		}
		if len(raw) > entryBound(&in) {
			t.Fatalf("%d bytes, at most %d were expected", len(raw), entryBound(&in))
		}
		for cut := range raw {
			if _, err := readEntry(raw[:cut], &out); err == nil {
				t.Fatalf("%d of %d bytes were read as an entry", cut, len(raw))
			}
		}
	})
}

func some(t *rapid.T, name string) []byte {
	b := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, name)
	if len(b) == 0 {
		return nil
	}
	return b
}

// No bit of a record can be flipped without being noticed.
func TestRecordBits(t *testing.T) {
	raw := appendRecord(nil, 7, kindEntries, []byte("payload"))
	if kind, payload, ok := readRecord(raw, 7); !ok || kind != kindEntries || string(payload) != "payload" {
		t.Fatal(kind, payload, ok)
	}
	if _, _, ok := readRecord(raw, 8); ok {
		t.Error("a record of another segment is accepted")
	}
	for bit := range 8 * len(raw) {
		flipped := bytes.Clone(raw)
		flipped[bit/8] ^= 1 << (bit % 8)
		if _, _, ok := readRecord(flipped, 7); ok {
			t.Errorf("bit %d", bit)
		}
	}
}

// Whatever the bytes, reading them ends with an answer.
func FuzzRead(f *testing.F) {
	good := appendRecord(nil, 1, kindEntries, appendEntry(nil, &raft.Log{Index: 1, Term: 1, Data: []byte("x")}))
	f.Add(good)
	f.Add(appendRecord(good, 1, kindDrop, []byte{1}))
	f.Add(make([]byte, 3*sector))
	f.Fuzz(func(t *testing.T, records []byte) {
		const size = 16 * sector
		header := segmentHeader(1, size)
		content := append(append(header, make([]byte, inSector-len(header))...), records...)
		content = append(content, make([]byte, size)...)[:capacity(size)]
		raw := mark(nil, content, 0)
		l := &Log{}
		s := &segment{sequence: 1, end: inSector, capacity: capacity(size)}
		_, _, _ = s.read(raw, func(kind byte, payload []byte, at int64) error { return l.replay(s, kind, payload, at) })
		if s.end > s.capacity {
			t.Fatalf("read to %d of %d", s.end, s.capacity)
		}
	})
}
