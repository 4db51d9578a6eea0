package libvirt

import (
	"time"

	"github.com/placed-dev/placed/fleet"
)

// Statistics of one domain. Counters only grow while the domain lives; a rate is
// the difference of two readings.
type Statistics struct {
	Workload fleet.WorkloadID
	At       time.Time
	// Have are the groups that this reading has of it: a domain whose QEMU is
	// busy is read without those that would have to ask it.
	Have Group
	// CPU is what its process has used, Wait what its virtual CPUs have waited
	// for a CPU of the host: contention as the host sees it. Both count up.
	CPU, Wait time.Duration
	// Memory in bytes: Balloon is what the guest may use now, Unused and Usable
	// as the guest reports them (0 without its driver), Resident the process's.
	Balloon, Unused, Usable, Resident int64
	// Bytes and operations so far.
	Received, Sent, Read, Written int64
	Reads, Writes                 int64
	// Dirty is the rate of pages changed in bytes per second as last measured,
	// 0 when it was not.
	Dirty int64
}

// Group of statistics. They differ in what they cost libvirtd and QEMU, so they
// are read at different rates.
type Group uint

// Groups.
const (
	GroupCPU Group = 1 << iota
	GroupMemory
	GroupNet
	GroupDisk
	GroupDirty
	groupAll = GroupCPU | GroupMemory | GroupNet | GroupDisk | GroupDirty
)

// rates is how many samplings pass between two readings of a group: CPU and
// network are read by libvirtd itself, the others ask the QEMU's monitor.
var rates = []struct {
	group Group
	every int
}{{GroupCPU, 1}, {GroupNet, 1}, {GroupDisk, 3}, {GroupMemory, 6}, {GroupDirty, 12}}

// Due returns the groups to read in the n-th sampling; the first reads all.
func Due(n int) Group {
	var g Group
	for _, r := range rates {
		if n%r.every == 0 {
			g |= r.group
		}
	}
	return g
}

// merge keeps what this reading did not ask for from the last one.
func (s Statistics) merge(last Statistics, read Group) Statistics {
	if read&GroupMemory == 0 {
		s.Balloon, s.Unused, s.Usable, s.Resident = last.Balloon, last.Unused, last.Usable, last.Resident
	}
	if read&GroupNet == 0 {
		s.Received, s.Sent = last.Received, last.Sent
	}
	if read&GroupDisk == 0 {
		s.Read, s.Written, s.Reads, s.Writes = last.Read, last.Written, last.Reads, last.Writes
	}
	if read&GroupDirty == 0 {
		s.Dirty = last.Dirty
	}
	if read&GroupCPU == 0 {
		s.CPU, s.Wait = last.CPU, last.Wait
	}
	return s
}
