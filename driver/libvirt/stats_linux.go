//go:build cgo && libvirt_dlopen

package libvirt

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	libvirt "libvirt.org/go/libvirt"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

// statsTime bounds one reading of all domains: a QEMU that has stopped would
// hold it for ever. What is abandoned is libvirtd's thread, not a move.
const statsTime = 5 * time.Second

var _ driver.Meter = (*Driver)(nil)

// Run reads the statistics of every domain and listens for those that have arrived,
// until ctx ends.
func (d *Driver) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { d.listen(ctx) })
	wg.Go(func() { d.surveyAll(ctx) })
	wg.Go(func() { d.hear(ctx) })
	wg.Go(func() { d.measureOverheads(ctx) })
	d.readAll(ctx)
	wg.Wait()
	return nil
}

// readAll reads the counters, each group at its pace. A reading that does not come
// back is given up after statsTime, with its connection; the next one leaves out the
// domain whose QEMU holds it.
func (d *Driver) readAll(ctx context.Context) {
	tick := time.NewTicker(d.cfg.StatsEvery)
	defer tick.Stop()
	told := ""
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		groups := Due(n) & (GroupNet | GroupDisk) // the rest the process shows more cheaply
		list, err := d.Statistics(ctx, groups)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && err.Error() != told:
			told = err.Error()
			d.log.Warn("the hypervisor's counters cannot be read: traffic and storage load of its workloads count as unknown", "error", err)
		case err == nil:
			told = ""
			d.mu.Lock()
			d.meter.take(list, groups)
			d.mu.Unlock()
		}
	}
}

// Measured returns the newest rates of traffic and storage.
func (d *Driver) Measured() map[fleet.WorkloadID]fleet.Vector {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.meter.rates(time.Now(), measuredAge*d.cfg.StatsEvery)
}

// measuredAge is how many intervals old a rate may be: the disks' counters are read
// in every third.
const measuredAge = 5

// Statistics reads the groups of every running domain, on a connection of its
// own, sorted by workload. A domain whose QEMU is busy is left out of a reading
// rather than waited for.
func (d *Driver) Statistics(ctx context.Context, groups Group) ([]Statistics, error) {
	ctx, cancel := context.WithTimeout(ctx, statsTime)
	defer cancel()
	var out []Statistics
	err := d.stats.call(ctx, func(c *libvirt.Connect) error {
		list, err := c.GetAllDomainStats(nil, statsTypes(groups),
			libvirt.CONNECT_GET_ALL_DOMAINS_STATS_RUNNING|libvirt.CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT)
		if err != nil {
			return err
		}
		now := time.Now()
		for i := range list {
			uuid, err := list[i].Domain.GetUUIDString()
			if err == nil {
				s := statisticsOf(&list[i], now)
				s.Workload = d.idOf(list[i].Domain, uuid)
				out = append(out, s)
			}
			_ = list[i].Domain.Free() // it only frees memory
		}
		return nil
	})
	if err != nil {
		return nil, wrap("", "read statistics", err)
	}
	slices.SortFunc(out, func(a, b Statistics) int { return strings.Compare(string(a.Workload), string(b.Workload)) })
	return d.remember(out, groups), nil
}

// remember completes a reading with what the last ones have shown.
func (d *Driver) remember(list []Statistics, groups Group) []Statistics {
	d.mu.Lock()
	defer d.mu.Unlock()
	next := make(map[fleet.WorkloadID]Statistics, len(list))
	for i, s := range list {
		list[i] = s.merge(d.last[s.Workload], groups)
		next[s.Workload] = list[i]
	}
	d.last = next
	return list
}

// idOf is the workload of a domain, by the last inventory or by its name.
func (d *Driver) idOf(dom *libvirt.Domain, uuid string) fleet.WorkloadID {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, def := range d.seen {
		if def.UUID == uuid {
			return id
		}
	}
	name, err := dom.GetName()
	if err != nil {
		return fleet.WorkloadID(uuid)
	}
	return definition{Name: name, UUID: uuid}.id()
}

func statsTypes(g Group) libvirt.DomainStatsTypes {
	var t libvirt.DomainStatsTypes
	for group, kind := range map[Group]libvirt.DomainStatsTypes{
		GroupCPU:    libvirt.DOMAIN_STATS_CPU_TOTAL | libvirt.DOMAIN_STATS_VCPU,
		GroupMemory: libvirt.DOMAIN_STATS_BALLOON, GroupNet: libvirt.DOMAIN_STATS_INTERFACE,
		GroupDisk: libvirt.DOMAIN_STATS_BLOCK, GroupDirty: libvirt.DOMAIN_STATS_DIRTYRATE,
	} {
		if g&group != 0 {
			t |= kind
		}
	}
	return t
}

func statisticsOf(d *libvirt.DomainStats, now time.Time) Statistics {
	s := Statistics{At: now}
	if d.Cpu != nil {
		s.CPU = time.Duration(d.Cpu.Time)
	}
	for _, v := range d.Vcpu {
		s.Wait += time.Duration(v.Delay)
	}
	if b := d.Balloon; b != nil { // libvirt counts in KiB
		s.Balloon, s.Unused, s.Usable, s.Resident = int64(b.Current)<<10, int64(b.Unused)<<10, int64(b.Usable)<<10, int64(b.Rss)<<10
	}
	if len(d.Net) > 0 {
		s.Have |= GroupNet
	}
	if len(d.Block) > 0 {
		s.Have |= GroupDisk
	}
	for _, n := range d.Net {
		s.Received += int64(n.RxBytes)
		s.Sent += int64(n.TxBytes)
	}
	for _, b := range d.Block {
		s.Read += int64(b.RdBytes)
		s.Written += int64(b.WrBytes)
		s.Reads += int64(b.RdReqs)
		s.Writes += int64(b.WrReqs)
	}
	if d.DirtyRate != nil && d.DirtyRate.MegabytesPerSecondSet {
		s.Dirty = d.DirtyRate.MegabytesPerSecond << 20
	}
	return s
}
