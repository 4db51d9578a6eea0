package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/placed-dev/placed/durable"
)

// DefaultSegment is the size of a segment if none is given.
const DefaultSegment = 1 << 20

// Config of a Log.
type Config struct {
	Dir string // made with mode 0700
	// Segment is the size of new files in bytes, rounded up to whole sectors of
	// 512 bytes. An entry larger than about half of it cannot be stored.
	Segment int64
	Logger  hclog.Logger // may be nil
}

// Log is a raft.LogStore. Appends may leave gaps, as raft's do behind a restored
// snapshot; an entry that is there cannot be overwritten before it is deleted.
// Its methods are safe for concurrent use; readers wait for no disk but their own.
type Log struct {
	cfg    Config
	wanted chan struct{} // room for one: the next segment is to be made

	writing sync.Mutex // held by who changes files
	tail    *segment   // appends go here
	behind  []*segment // segments before it, oldest first
	payload []byte     // reused by appends
	record  []byte
	raw     []byte
	failed  error // the first failure of a write; no write follows it

	making sync.Mutex // held by who makes the next segment
	next   *segment   // on disk, without a record; nil: not yet made
	made   uint64     // number of the newest segment on disk
	closed bool

	mu      sync.RWMutex // held shortly, never over an access to the disk
	entries index
}

var _ raft.LogStore = (*Log)(nil)

// Open reads the whole log in a directory, which it makes if need be. It refuses a
// damaged one (ErrDamaged) and changes nothing then. One process may have it open.
func Open(cfg Config) (*Log, error) {
	if cfg.Segment <= 0 {
		cfg.Segment = DefaultSegment
	}
	cfg.Segment = (cfg.Segment + sector - 1) / sector * sector
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	l := &Log{cfg: cfg, wanted: make(chan struct{}, 1)}
	if err := l.load(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	l.want()
	return l, nil
}

// load reads every segment, oldest first.
func (l *Log) load() error {
	sequences, err := listSegments(l.cfg.Dir)
	if err != nil {
		return err
	}
	if len(sequences) == 0 {
		l.made = 1
		l.tail, err = createSegment(l.cfg.Dir, 1, l.cfg.Segment)
		return err
	}
	l.made = sequences[len(sequences)-1]
	var torn []byte // the tail's content, if a record in it is torn
	open := true    // the last segment with records is not closed
	for i, sequence := range sequences {
		s, raw, err := openSegment(l.cfg.Dir, sequence)
		if err != nil {
			return err
		}
		if i > 0 && open {
			// Made ahead of its use. Records in it would prove that the
			// one before had been closed.
			if l.next = s; !allZero(raw[sector:]) || i+1 < len(sequences) {
				return damaged(l.tail.path, "its end is missing: the segment after it was in use")
			}
			break
		}
		if l.tail != nil {
			l.behind = append(l.behind, l.tail)
		}
		l.tail = s
		closed, halved, err := s.read(raw, func(kind byte, payload []byte, at int64) error {
			return l.replay(s, kind, payload, at)
		})
		if err != nil {
			return err
		}
		if open = !closed; halved {
			torn = raw
		}
	}
	switch {
	case !open:
		return damaged(segmentPath(l.cfg.Dir, l.tail.sequence+1), "the file is missing: the log went on in it")
	case torn != nil:
		n, err := l.tail.wipe(torn)
		if err != nil {
			return err
		}
		l.cfg.Logger.Warn("an append was cut off by a crash before it was acknowledged; it was taken away", "file", l.tail.path, "bytes", n, "last_index", l.entries.last())
	}
	return nil
}

// replay does what a record says.
func (l *Log) replay(s *segment, kind byte, payload []byte, at int64) error {
	switch kind {
	case kindEntries:
		var e raft.Log
		for done := 0; done < len(payload); {
			n, err := readEntry(payload[done:], &e)
			if err != nil {
				return err
			}
			if last := l.entries.last(); e.Index <= last {
				return fmt.Errorf("entry %d follows entry %d", e.Index, last)
			}
			l.entries.add(e.Index, place{segment: s, offset: uint32(at) + uint32(done), length: uint32(n)})
			done += n
		}
		return nil
	case kindCut, kindDrop:
		i, err := readIndex(payload)
		if err != nil {
			return err
		}
		if kind == kindCut {
			l.entries.cutFrom(i)
		} else {
			l.entries.dropBelow(i)
		}
		return nil
	case kindClose:
		return nil
	}
	return fmt.Errorf("a record of the unknown kind %d", kind)
}

// FirstIndex is the number of the first entry, 0 for none.
func (l *Log) FirstIndex() (uint64, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.entries.first(), nil
}

// LastIndex is the number of the last entry, 0 for none.
func (l *Log) LastIndex() (uint64, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.entries.last(), nil
}

func (l *Log) find(i uint64) (place, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.entries.find(i)
}

// GetLog reads one entry from disk. An entry that is not there, or is deleted
// meanwhile, is raft.ErrLogNotFound.
func (l *Log) GetLog(i uint64, out *raft.Log) error {
	p, ok := l.find(i)
	if !ok {
		return raft.ErrLogNotFound
	}
	from, to := physical(int64(p.offset)), physical(int64(p.offset)+int64(p.length)-1)+1
	raw := make([]byte, to-from)
	_, err := p.segment.file.ReadAt(raw, from)
	if err == nil {
		_, err = readEntry(unmark(raw, int64(p.offset)), out)
	}
	if err == nil && out.Index != i {
		err = fmt.Errorf("entry %d stands there", out.Index)
	}
	if err == nil {
		return nil
	}
	if _, still := l.find(i); !still {
		return raft.ErrLogNotFound
	}
	return damaged(p.segment.path, "entry %d at byte %d: %w", i, from, err)
}

// StoreLog appends one entry.
func (l *Log) StoreLog(e *raft.Log) error { return l.StoreLogs([]*raft.Log{e}) }

// StoreLogs returns when the entries are on disk: with one fdatasync, unless they
// need more room than a segment has. After an error some of them may be there.
func (l *Log) StoreLogs(entries []*raft.Log) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	last, _ := l.LastIndex()
	for _, e := range entries {
		if e.Index <= last {
			return fmt.Errorf("append entry %d behind entry %d", e.Index, last)
		}
		last = e.Index
	}
	for len(entries) > 0 {
		n := l.fitting(entries)
		if n == 0 {
			return fmt.Errorf("append entry %d: it has %d bytes, a segment of the log %d", entries[0].Index, len(entries[0].Data), l.cfg.Segment)
		}
		if err := l.append(entries[:n]); err != nil {
			return err
		}
		entries = entries[n:]
	}
	return nil
}

// fitting says how many of the entries one record may hold: half a segment's
// worth, so that what a roll leaves unused stays small.
func (l *Log) fitting(entries []*raft.Log) (n int) {
	room := capacity(l.cfg.Segment) / 2
	for _, e := range entries {
		if room -= int64(entryBound(e)); room < 0 {
			break
		}
		n++
	}
	return n
}

func (l *Log) append(entries []*raft.Log) error {
	l.payload = l.payload[:0]
	begins := make([]uint32, len(entries)+1)
	for i, e := range entries {
		l.payload = appendEntry(l.payload, e)
		begins[i+1] = uint32(len(l.payload))
	}
	at, err := l.write(kindEntries, l.payload)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, e := range entries {
		l.entries.add(e.Index, place{segment: l.tail, offset: uint32(at) + begins[i], length: begins[i+1] - begins[i]})
	}
	return nil
}

// write puts a record on disk and returns the offset of its payload.
func (l *Log) write(kind byte, payload []byte) (at int64, err error) {
	if l.failed != nil {
		// What an fdatasync that failed has left nobody knows, and the
		// next one may succeed without having written it.
		return 0, fmt.Errorf("the log failed before: %w", l.failed)
	}
	if l.tail.end+recordLength(len(payload))+recordLength(0) > l.tail.capacity {
		err = l.roll()
	}
	if err == nil {
		at = l.tail.end + headerLength
		err = l.put(kind, payload)
	}
	if err != nil {
		l.failed = err
	}
	return at, err
}

// put appends a record to the tail, which has room for it.
func (l *Log) put(kind byte, payload []byte) error {
	s := l.tail
	l.record = appendRecord(l.record[:0], s.sequence, kind, payload)
	l.raw = mark(l.raw[:0], l.record, s.end)
	if _, err := s.file.WriteAt(l.raw, physical(s.end)); err != nil {
		return err
	}
	if err := fdatasync(s.file); err != nil {
		return err
	}
	s.end += int64(len(l.record))
	return nil
}

// roll closes the tail and goes on in the next segment, which is on disk before.
func (l *Log) roll() error {
	next, err := l.takeNext()
	if err != nil {
		return err
	}
	if err := l.put(kindClose, nil); err != nil {
		return errors.Join(err, next.file.Close())
	}
	l.behind, l.tail = append(l.behind, l.tail), next
	l.want()
	return nil
}

// DeleteRange forgets entries at either end of the log, with one short record
// however many they are.
func (l *Log) DeleteRange(low, high uint64) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	first, _ := l.FirstIndex()
	last, _ := l.LastIndex()
	kind, i := byte(kindDrop), high+1
	switch {
	case first == 0 || high < first || low > last || low > high:
		return nil
	case low <= first:
		i = min(i, last+1)
	case high >= last:
		kind, i = kindCut, low
	default:
		return fmt.Errorf("delete entries %d to %d of %d to %d: that would be a hole", low, high, first, last)
	}
	if _, err := l.write(kind, binary.AppendUvarint(nil, i)); err != nil {
		return err
	}
	l.mu.Lock()
	if kind == kindCut {
		l.entries.cutFrom(i)
	} else {
		l.entries.dropBelow(i)
	}
	l.mu.Unlock()
	return l.removeDead()
}

// removeDead removes the segments before the first entry, oldest first; each
// removal is on disk before the next, so that no crash leaves a hole.
func (l *Log) removeDead() error {
	l.mu.RLock()
	alive := l.entries.oldest()
	l.mu.RUnlock()
	for len(l.behind) > 0 && l.behind[0] != alive {
		s := l.behind[0]
		if err := errors.Join(os.Remove(s.path), durable.SyncDir(l.cfg.Dir), s.file.Close()); err != nil {
			return err
		}
		l.behind = l.behind[1:]
	}
	return nil
}

// Close closes the files. Calls that are under way may fail.
func (l *Log) Close() error {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.making.Lock()
	defer l.making.Unlock()
	all := append([]*segment(nil), l.behind...)
	var errs []error
	for _, s := range append(all, l.tail, l.next) {
		if s != nil {
			errs = append(errs, s.file.Close())
		}
	}
	l.behind, l.tail, l.next, l.closed = nil, nil, nil, true
	if l.failed == nil {
		l.failed = os.ErrClosed
	}
	return errors.Join(errs...)
}
