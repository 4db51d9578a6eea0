package telemetry

import (
	"errors"
	"fmt"

	"github.com/prometheus/procfs"
)

// AvailableMemory is how many bytes the machine can give to a new process now
// without swapping, as the kernel estimates it.
func AvailableMemory() (int64, error) {
	return meminfo(func(m procfs.Meminfo) *uint64 { return m.MemAvailableBytes })
}

// TotalMemory is how many bytes of memory the kernel manages, on all nodes.
func TotalMemory() (int64, error) {
	return meminfo(func(m procfs.Meminfo) *uint64 { return m.MemTotalBytes })
}

func meminfo(field func(procfs.Meminfo) *uint64) (int64, error) {
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return 0, fmt.Errorf("memory of the machine: %w", err)
	}
	info, err := proc.Meminfo()
	if err != nil {
		return 0, fmt.Errorf("memory of the machine: %w", err)
	}
	value := field(info)
	if value == nil {
		return 0, errors.New("memory of the machine: /proc/meminfo lacks the line")
	}
	return int64(*value), nil
}
