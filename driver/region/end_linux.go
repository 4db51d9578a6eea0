package region

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"time"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/durable"
	"github.com/placed-dev/placed/fleet"
)

// Stop ends the workload and forgets its state.
func (d *Driver) Stop(ctx context.Context, id fleet.WorkloadID) error {
	ctx, cancel := d.bound(ctx)
	defer cancel()
	s, leave, err := d.enter(ctx, id)
	if err != nil {
		return fail("stop", id, err, "")
	}
	defer leave()
	found, err := d.observe(ctx, s)
	switch {
	case err != nil:
		return fail("stop", id, err, "")
	case s.copying():
		return fail("stop", id, errCopying, "end the migration first")
	case found.State == driver.Stopped:
		return fail("stop", id, d.remove(s), "")
	}
	return fail("stop", id, d.destroy(ctx, s), "")
}

var errCopying = errors.New("it is being copied")

func (s *slot) copying() bool { return s.source != nil && !s.source.isClosed() }

// destroy ends the process of a slot, proves it gone and removes the folder.
func (d *Driver) destroy(ctx context.Context, s *slot) error {
	if s.process == nil {
		return fmt.Errorf("a process holds %s, but neither answers nor is recorded: find it with fuser and end it", s.folder.path(lockFile))
	}
	rec, err := s.folder.read()
	if err == nil {
		// So that a process that is gone is not taken for one that died.
		rec.Ending = true
		err = s.folder.write(rec)
	}
	if err != nil {
		d.log.Warn("cannot note that the end was ordered", "workload", s.id, "error", err)
	}
	end := s.process.end
	if s.silent != nil {
		end = s.process.kill // asking has just failed
	}
	if err := end(ctx); err != nil {
		return err
	}
	s.forget()
	return d.remove(s)
}

// Save freezes the workload, writes its state to disk and ends its process. If
// the state cannot be written the workload runs on.
func (d *Driver) Save(ctx context.Context, id fleet.WorkloadID) error {
	ctx, cancel := d.bound(ctx)
	defer cancel()
	s, leave, err := d.enter(ctx, id)
	if err != nil {
		return fail("save", id, err, "")
	}
	defer leave()
	found, err := d.observe(ctx, s)
	switch {
	case err != nil:
		return fail("save", id, err, "")
	case found.State == driver.Stopped:
		return nil
	case found.State == driver.Incoming:
		return fail("save", id, errors.New("it is incoming and has never run here"), "let the migration end, or discard it")
	case s.copying():
		return fail("save", id, errCopying, "end the migration first")
	case s.process == nil:
		return fail("save", id, errors.New("its process does not answer"), "look at "+s.folder.path(logFile))
	}
	if err := d.save(ctx, s, found.State == driver.Running); err != nil {
		return fail("save", id, err, "")
	}
	// However long writing took: the state is on disk, the process must go.
	ctx, cancel = d.bound(context.WithoutCancel(ctx))
	defer cancel()
	if err := s.process.end(ctx); err != nil {
		return fail("save", id, fmt.Errorf("state is saved, but: %w", err), "")
	}
	s.forget()
	return nil
}

func (d *Driver) save(ctx context.Context, s *slot, ran bool) error {
	if _, _, err := s.process.ask(ctx, controlRequest{Op: "freeze"}); err != nil {
		return err
	}
	memory, err := s.openMemory(ctx)
	if err == nil {
		err = durable.Replace(s.folder.path(savedFile), 0o600, func(w *os.File) error { return writeSaved(w, memory, time.Now()) })
		memory.close()
	}
	if err == nil || !ran {
		return err
	}
	// The file may be there although its directory could not be synced.
	ctx, cancel := d.bound(context.WithoutCancel(ctx))
	defer cancel()
	thaw := s.folder.retireSaved()
	if thaw == nil {
		_, _, thaw = s.process.ask(ctx, controlRequest{Op: "thaw"})
	}
	return errors.Join(err, thaw)
}

// A saved state is the bytes of the region followed by a trailer, all little
// endian:
//
//	 0  8  "placedSV"
//	 8  4  version, 1
//	12  4  CRC-32C of the region's bytes
//	16  8  size of the region in bytes
//	24  8  wall time of saving, nanoseconds since 1970
//	32  4  CRC-32C of the trailer's bytes before this field
//	36  4  zero
//
// The process reads it. Pages that are zero are left as holes.
const savedTrailer = 40

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func writeSaved(w *os.File, m *memory, now time.Time) error {
	block := make([]byte, 1<<20)
	sum := uint32(0)
	for off := int64(0); off < m.size; off += int64(len(block)) {
		part := block[:min(int64(len(block)), m.size-off)]
		if _, err := m.file.ReadAt(part, off); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		sum = crc32.Update(sum, castagnoli, part)
		for _, r := range nonZero(part) {
			if _, err := w.WriteAt(part[r.Offset:r.Offset+r.Length], off+r.Offset); err != nil {
				return err
			}
		}
	}
	var t [savedTrailer]byte
	copy(t[:], "placedSV")
	binary.LittleEndian.PutUint32(t[8:], 1)
	binary.LittleEndian.PutUint32(t[12:], sum)
	binary.LittleEndian.PutUint64(t[16:], uint64(m.size))
	binary.LittleEndian.PutUint64(t[24:], uint64(now.UnixNano()))
	binary.LittleEndian.PutUint32(t[32:], crc32.Checksum(t[:32], castagnoli))
	_, err := w.WriteAt(t[:], m.size)
	return err
}

// nonZero returns the runs of pages that are not all zero.
func nonZero(p []byte) []driver.Range {
	var runs []driver.Range
	for off := 0; off < len(p); off += pageSize {
		if !isZero(p[off:min(off+pageSize, len(p))]) {
			runs = addRange(runs, int64(off), int64(min(pageSize, len(p)-off)))
		}
	}
	return runs
}

func isZero(p []byte) bool {
	for ; len(p) >= 8; p = p[8:] {
		if binary.LittleEndian.Uint64(p) != 0 {
			return false
		}
	}
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}
