package telemetry

import (
	"fmt"
	"math"
	"time"

	"github.com/prometheus/procfs"
)

// HostUsage is what the whole host used since the last call.
type HostUsage struct {
	Cores int
	// CPU in millicores: everything but idle, waiting for disks, and what the
	// hypervisor below took away.
	CPU int64
	// Memory in bytes: Used is what cannot be had without paging out.
	MemoryTotal, MemoryUsed int64
	// Pressure is the share of the last 10 s, in thousandths, in which some
	// task waited for the resource; -1 where the kernel does not tell.
	PressureCPU, PressureMemory, PressureIO int64
}

type hostCounters struct {
	at   time.Time
	busy float64 // seconds
}

// Host measures the host; now is machine time. The first call has no interval
// yet and reports CPU as zero with ok false.
func (s *Sampler) Host(now time.Time) (usage HostUsage, ok bool, err error) {
	stat, err := s.proc.Stat()
	if err != nil {
		return HostUsage{}, false, fmt.Errorf("measure the host: %w", err)
	}
	memory, err := s.proc.Meminfo()
	if err != nil {
		return HostUsage{}, false, fmt.Errorf("measure the host: %w", err)
	}
	if memory.MemTotalBytes == nil || memory.MemAvailableBytes == nil {
		return HostUsage{}, false, fmt.Errorf("measure the host: meminfo lacks MemTotal or MemAvailable: Linux 3.14 or newer is needed")
	}
	usage = HostUsage{
		Cores:          len(stat.CPU),
		MemoryTotal:    int64(*memory.MemTotalBytes),
		MemoryUsed:     int64(*memory.MemTotalBytes) - int64(*memory.MemAvailableBytes),
		PressureCPU:    s.pressure("cpu"),
		PressureMemory: s.pressure("memory"),
		PressureIO:     s.pressure("io"),
	}
	current := &hostCounters{at: now, busy: busySeconds(stat.CPUTotal)}
	last := s.host
	if last == nil {
		s.host = current
		return usage, false, nil
	}
	elapsed := now.Sub(last.at)
	if elapsed <= 0 {
		return usage, false, nil
	}
	s.host = current
	// A processor taken off line takes its seconds with it.
	usage.CPU = int64(math.Round(max(current.busy-last.busy, 0) / elapsed.Seconds() * 1000))
	return usage, true, nil
}

func busySeconds(c procfs.CPUStat) float64 {
	return c.User + c.Nice + c.System + c.IRQ + c.SoftIRQ // guests are within user and nice
}

func (s *Sampler) pressure(resource string) int64 {
	p, err := s.proc.PSIStatsForResource(resource)
	if err != nil || p.Some == nil {
		return -1
	}
	return int64(math.Round(p.Some.Avg10 * 10))
}
