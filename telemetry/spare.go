package telemetry

import (
	"errors"
	"fmt"

	"github.com/prometheus/procfs"
)

// UsedMemory is how many bytes of the machine cannot be had without paging out,
// beside the pools of huge pages: those are a resource of their own, whoever uses
// them.
func UsedMemory() (int64, error) {
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return 0, fmt.Errorf("memory of the machine: %w", err)
	}
	info, err := proc.Meminfo()
	if err != nil {
		return 0, fmt.Errorf("memory of the machine: %w", err)
	}
	return usedMemory(info)
}

func usedMemory(info procfs.Meminfo) (int64, error) {
	if info.MemTotalBytes == nil || info.MemAvailableBytes == nil {
		return 0, errors.New("memory of the machine: /proc/meminfo lacks MemTotal or MemAvailable")
	}
	used := int64(*info.MemTotalBytes) - int64(*info.MemAvailableBytes)
	if info.HugePagesTotal != nil && info.HugepagesizeBytes != nil {
		used -= int64(*info.HugePagesTotal) * int64(*info.HugepagesizeBytes)
	}
	return max(used, 0), nil
}
