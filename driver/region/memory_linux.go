package region

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/placed-dev/placed/driver"
)

const pageSize = 4096

// memory is the state of a workload as this agent holds it. It is read and
// filled with pread and pwrite: a mapping would allocate every page that it
// only looked at, and a fault in it would kill the agent. While the agent holds
// it, the memory is not free even if the process is gone.
type memory struct {
	file *os.File
	size int64
	uffd int // of the process, -1 when it could not make one
	why  string
}

// openMemory asks the process for its memory and checks that it is what it says:
// a memfd of that size that nobody can resize.
func (s *slot) openMemory(ctx context.Context) (*memory, error) {
	a, fds, err := s.process.ask(ctx, controlRequest{Op: "hello", Memory: true})
	if err != nil {
		return nil, err
	}
	want := 1
	if a.Uffd {
		want = 2
	}
	if !a.Memory || len(fds) != want {
		closeAll(fds)
		return nil, fmt.Errorf("process %d passed %d descriptors, want %d", s.process.who.PID, len(fds), want)
	}
	m := &memory{file: os.NewFile(uintptr(fds[0]), "state of "+string(s.id)), size: a.Size, uffd: -1, why: a.UffdError}
	if a.Uffd {
		m.uffd = fds[1]
	}
	if err := m.check(); err != nil {
		m.close()
		return nil, fmt.Errorf("memory of process %d: %w", s.process.who.PID, err)
	}
	return m, nil
}

func (m *memory) check() error {
	info, err := m.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() != m.size || m.size <= 0 || m.size%pageSize != 0 {
		return fmt.Errorf("it has %d bytes, %d were declared", info.Size(), m.size)
	}
	seals, err := unix.FcntlInt(m.file.Fd(), unix.F_GET_SEALS, 0)
	if err != nil {
		return fmt.Errorf("it is no memfd: %w", err)
	}
	if need := unix.F_SEAL_SHRINK | unix.F_SEAL_GROW; seals&need != need {
		return errors.New("it is not sealed against resizing")
	}
	return nil
}

func (m *memory) close() {
	m.file.Close()
	if m.uffd >= 0 {
		unix.Close(m.uffd)
		m.uffd = -1
	}
}

// allocated returns the ranges of the memory that were ever touched, in order.
// What was not is zero.
func (m *memory) allocated() ([]driver.Range, error) {
	var runs []driver.Range
	fd := int(m.file.Fd())
	for off := int64(0); off < m.size; {
		begin, err := unix.Seek(fd, off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // only a hole is left
		}
		if err != nil {
			return nil, fmt.Errorf("look for allocated memory: %w", err)
		}
		end, err := unix.Seek(fd, begin, unix.SEEK_HOLE)
		if err != nil {
			return nil, fmt.Errorf("look for unallocated memory: %w", err)
		}
		runs = addRange(runs, begin, end-begin)
		off = end
	}
	return runs, nil
}

// addRange appends a run behind the others, joining it with the last one.
func addRange(runs []driver.Range, off, length int64) []driver.Range {
	if n := len(runs); n > 0 && runs[n-1].Offset+runs[n-1].Length == off {
		runs[n-1].Length += length
		return runs
	}
	return append(runs, driver.Range{Offset: off, Length: length})
}
