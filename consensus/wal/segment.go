package wal

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/placed-dev/placed/durable"
)

// ErrDamaged: something is missing or wrong in what the log had acknowledged.
var ErrDamaged = errors.New("the log is damaged")

func damaged(path, format string, args ...any) error {
	return fmt.Errorf("%w: %s: %w", ErrDamaged, path, fmt.Errorf(format, args...))
}

const (
	suffix  = ".seg"
	newName = "next.new" // a segment that is still being filled with zeros
	piece   = 1 << 20    // zeros between two fdatasyncs
)

// segment is one open file of the log.
type segment struct {
	sequence uint64
	path     string
	file     *os.File
	end      int64 // offset behind the last record
	capacity int64 // content that the file holds
}

func segmentPath(dir string, sequence uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%016x%s", sequence, suffix))
}

// createSegment makes a file of zeros with a header, and returns when it is on
// disk under its name. The zeros are synced piece by piece, so that an append to
// the segment in use never waits for all of them.
func createSegment(dir string, sequence uint64, size int64) (s *segment, err error) {
	f, err := os.OpenFile(filepath.Join(dir, newName), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("make a segment of %d bytes: %w", size, err), f.Close(), os.Remove(f.Name()))
		}
	}()
	zeros := make([]byte, min(piece, size))
	for at := int64(0); at < size; at += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), size-at)], at); err != nil {
			return nil, err
		}
		if err := fdatasync(f); err != nil {
			return nil, err
		}
	}
	header := segmentHeader(sequence, size)
	header = append(header, make([]byte, inSector-len(header))...)
	if _, err := f.WriteAt(mark(nil, header, 0), 0); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	path := segmentPath(dir, sequence)
	if err := os.Rename(f.Name(), path); err != nil {
		return nil, err
	}
	if err := durable.SyncDir(dir); err != nil {
		return nil, err
	}
	return &segment{sequence: sequence, path: path, file: f, end: inSector, capacity: capacity(size)}, nil
}

func fdatasync(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EINTR) {
			return &fs.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
		}
	}
}

// openSegment opens a file and returns its whole content.
func openSegment(dir string, sequence uint64) (s *segment, raw []byte, err error) {
	path := segmentPath(dir, sequence)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	if raw, err = os.ReadFile(path); err == nil {
		err = checkFile(path, raw, sequence)
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return &segment{sequence: sequence, path: path, file: f, end: inSector, capacity: capacity(int64(len(raw)))}, raw, nil
}

func checkFile(path string, raw []byte, sequence uint64) error {
	if len(raw) == 0 {
		return damaged(path, "the file is empty")
	}
	if err := checkSegmentHeader(unmark(bytes.Clone(raw[:min(sector, len(raw))]), 0), sequence, int64(len(raw))); err != nil {
		return damaged(path, "%w", err)
	}
	return nil
}

// read hands each record to found, with the offset of its payload, until it meets
// zeros up to the end, a close, or a record that a power cut has torn: then torn is
// true. raw is the content of the file. Damage is an error.
func (s *segment) read(raw []byte, found func(kind byte, payload []byte, at int64) error) (closed, torn bool, err error) {
	content := unmark(bytes.Clone(raw), 0)
	for {
		kind, payload, ok := readRecord(content[s.end:], s.sequence)
		if !ok {
			torn, err = s.judge(raw, content)
			return false, torn, err
		}
		if err := found(kind, payload, s.end+headerLength); err != nil {
			return false, false, damaged(s.path, "record at byte %d: %w", physical(s.end), err)
		}
		s.end += recordLength(len(payload))
		if kind == kindClose {
			return true, false, nil
		}
	}
}

// judge says what stands at the end of the records if it is none: nothing, a
// record that was being written when the power went, or damage.
func (s *segment) judge(raw, content []byte) (torn bool, err error) {
	at := physical(s.end)
	if allZero(raw[at:]) {
		return false, nil
	}
	// What was not synced is one record. If a good one follows, the bad one
	// before it was synced, too.
	if later := s.later(content); later >= 0 {
		return false, damaged(s.path, "the record at byte %d is bad, and the good one at byte %d was written after it", at, physical(later))
	}
	end := min(physical(s.end+headerLength-1)+1, int64(len(raw)))
	if h, ok := readHead(content[s.end:], s.sequence); ok {
		if s.end+recordLength(h.length) > s.capacity {
			return false, damaged(s.path, "the record at byte %d is longer than the file", at)
		}
		end = physical(s.end+recordLength(h.length)-1) + 1
	}
	for from := at; from < end; {
		to := from - from%sector + sector
		if allZero(raw[from:min(to, int64(len(raw)))]) {
			return true, nil // a sector that was never written
		}
		from = to
	}
	return false, damaged(s.path, "the record at byte %d is bad, and all of it was written", at)
}

// later looks for a good record behind a bad one; -1: there is none.
func (s *segment) later(content []byte) int64 {
	magic := []byte{recordMagic >> 16 & 0xff, recordMagic >> 8 & 0xff, recordMagic & 0xff}
	for at := s.end + 1; ; at++ {
		n := bytes.Index(content[at:], magic)
		if n < 0 {
			return -1
		}
		at += int64(n)
		if _, _, ok := readRecord(content[at:], s.sequence); ok {
			return at
		}
	}
}

// wipe replaces what a power cut has left of a record by zeros, so that nobody
// takes it for part of a later one.
func (s *segment) wipe(raw []byte) (bytes int64, err error) {
	at := physical(s.end)
	last := int64(len(raw))
	for raw[last-1] == 0 {
		last--
	}
	if _, err := s.file.WriteAt(make([]byte, last-at), at); err != nil {
		return 0, err
	}
	return last - at, fdatasync(s.file)
}

func allZero(b []byte) bool {
	return len(b) == 0 || b[0] == 0 && bytes.Equal(b[1:], b[:len(b)-1])
}

// listSegments returns the numbers of the segments in a directory, ascending, and
// removes what a crash has left of a segment that was never used.
func listSegments(dir string) ([]uint64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []uint64
	for _, e := range entries {
		if e.Name() == newName {
			if err := os.Remove(filepath.Join(dir, newName)); err != nil {
				return nil, err
			}
			continue
		}
		name, ok := strings.CutSuffix(e.Name(), suffix)
		if !ok {
			continue
		}
		var n uint64
		if _, err := fmt.Sscanf(name, "%016x", &n); err != nil || segmentPath(dir, n) != filepath.Join(dir, e.Name()) {
			return nil, damaged(filepath.Join(dir, e.Name()), "this is not the name of a segment")
		}
		out = append(out, n)
	}
	slices.Sort(out)
	for i := 1; i < len(out); i++ {
		if out[i] != out[i-1]+1 {
			return nil, damaged(segmentPath(dir, out[i-1]+1), "the file is missing")
		}
	}
	return out, nil
}
