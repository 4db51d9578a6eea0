//go:build cgo && libvirt_dlopen

package libvirt

import (
	"context"
	"fmt"
	"os"

	libvirt "libvirt.org/go/libvirt"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

var _ driver.Adjuster = (*Driver)(nil)

// unifiedCgroups is there on hosts with cgroups of version 2.
const unifiedCgroups = "/sys/fs/cgroup/cgroup.controllers"

// Knobs are what the hypervisor lets be changed of a running domain.
func (d *Driver) Knobs(ctx context.Context, id fleet.WorkloadID) (out []fleet.Knob, err error) {
	err = d.with(ctx, id, func(dom *libvirt.Domain) error {
		t, err := readTunables(dom)
		out = t.knobs()
		return err
	})
	return out, wrap(id, "see what can be changed of", err)
}

// Adjust changes the running domain and not its definition: what starts it again
// starts it as it was.
func (d *Driver) Adjust(ctx context.Context, id fleet.WorkloadID, kind fleet.AdjustmentKind, amount int64) error {
	return wrap(id, "adjust", d.with(ctx, id, func(dom *libvirt.Domain) error {
		switch kind {
		case fleet.CPUWeight:
			_, statErr := os.Stat(unifiedCgroups)
			t := tunables{Unified: statErr == nil}
			return dom.SetSchedulerParametersFlags(&libvirt.DomainSchedulerParameters{CpuSharesSet: true, CpuShares: uint64(t.shares(amount))}, libvirt.DOMAIN_AFFECT_LIVE)
		case fleet.CPUQuota:
			t, err := readTunables(dom)
			if err != nil {
				return err
			}
			quota, err := t.quota(amount)
			if err != nil {
				return err
			}
			return dom.SetSchedulerParametersFlags(&libvirt.DomainSchedulerParameters{VcpuQuotaSet: true, VcpuQuota: quota}, libvirt.DOMAIN_AFFECT_LIVE)
		case fleet.VCPUs:
			if amount < 1 {
				return fmt.Errorf("%d vCPUs", amount)
			}
			return dom.SetVcpusFlags(uint(amount), libvirt.DOMAIN_VCPU_LIVE)
		case fleet.Balloon:
			if amount < 1<<20 {
				return fmt.Errorf("%d bytes of memory", amount)
			}
			return dom.SetMemoryFlags(uint64(amount>>10), libvirt.DOMAIN_MEM_LIVE)
		}
		return fmt.Errorf("%s of a domain: %w", kind, driver.ErrCannotAdjust)
	}))
}

// readTunables reads what can be read; what a hypervisor does not offer is left out.
func readTunables(dom *libvirt.Domain) (tunables, error) {
	var t tunables
	if _, err := os.Stat(unifiedCgroups); err == nil {
		t.Unified = true
	}
	text, err := dom.GetXMLDesc(0)
	if err != nil {
		return t, err
	}
	if t.Rigid, err = rigid(text); err != nil {
		return t, err
	}
	if p, err := dom.GetSchedulerParametersFlags(libvirt.DOMAIN_AFFECT_LIVE); err == nil {
		if p.CpuSharesSet {
			t.Shares = int64(p.CpuShares)
		}
		if p.VcpuQuotaSet && p.VcpuPeriodSet {
			t.Quota, t.Period = p.VcpuQuota, int64(p.VcpuPeriod)
		}
	}
	if n, err := dom.GetVcpusFlags(libvirt.DOMAIN_VCPU_LIVE); err == nil {
		t.VCPUs = int64(n)
	}
	if n, err := dom.GetVcpusFlags(libvirt.DOMAIN_VCPU_LIVE | libvirt.DOMAIN_VCPU_MAXIMUM); err == nil {
		t.Most = int64(n)
	}
	info, err := dom.GetInfo()
	if err != nil {
		return t, err
	}
	t.Actual, t.Largest, t.Usable = int64(info.Memory)<<10, int64(info.MaxMem)<<10, -1
	if stats, err := dom.MemoryStats(uint32(libvirt.DOMAIN_MEMORY_STAT_NR), 0); err == nil {
		for _, s := range stats {
			switch libvirt.DomainMemoryStatTags(s.Tag) {
			case libvirt.DOMAIN_MEMORY_STAT_ACTUAL_BALLOON:
				t.Actual = int64(s.Val) << 10
			case libvirt.DOMAIN_MEMORY_STAT_USABLE:
				t.Usable = int64(s.Val) << 10
			}
		}
	}
	return t, nil
}
