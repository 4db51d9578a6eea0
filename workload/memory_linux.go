package workload

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// memory is the memfd that holds the state and the one mapping through which
// this process writes it. Writes by any other way (pwrite, a second mapping)
// would escape the tracking of changes.
type memory struct {
	fd  int
	mem []byte
}

// newMemory makes a sealed memfd: an agent that maps or reads it must be able
// to rely on its size.
func newMemory(id string, size int64) (*memory, error) {
	fd, err := unix.MemfdCreate("placed:"+id, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("make a memfd of %d bytes: %w", size, err)
	}
	m := &memory{fd: fd}
	if err := m.mapAll(size); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return m, nil
}

func (m *memory) mapAll(size int64) error {
	if err := unix.Ftruncate(m.fd, size); err != nil {
		return fmt.Errorf("size the memfd to %d bytes: %w", size, err)
	}
	if _, err := unix.FcntlInt(uintptr(m.fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		return fmt.Errorf("seal the memfd: %w", err)
	}
	mem, err := unix.Mmap(m.fd, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map %d bytes: %w", size, err)
	}
	// A huge page would make one written word cost 2 MiB on the wire and
	// four times the fault. A kernel without huge pages refuses; no matter.
	_ = unix.Madvise(mem, unix.MADV_NOHUGEPAGE)
	m.mem = mem
	return nil
}

func (m *memory) close() {
	_ = unix.Munmap(m.mem)
	unix.Close(m.fd)
}
