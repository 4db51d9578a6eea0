package region

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

var _ driver.Adjuster = (*Driver)(nil)

// maxQuota is what a cpu limit may be raised to, millicores: more than a machine has.
const maxQuota = 1_024_000

// Knobs are the cpu weight of a workload's process and, where its settings name a
// limit, that limit. They need the driver's option cgroup.
func (d *Driver) Knobs(ctx context.Context, id fleet.WorkloadID) ([]fleet.Knob, error) {
	group, err := d.house(ctx, id)
	if errors.Is(err, driver.ErrCannotAdjust) {
		return nil, nil
	}
	if err != nil {
		return nil, fail("read the cgroup of", id, err, "")
	}
	weight, err := group.weight()
	if err != nil {
		return nil, fail("read the cgroup of", id, err, "")
	}
	knobs := []fleet.Knob{{Kind: fleet.CPUWeight, Now: weight, Least: 1, Most: 10_000}}
	quota, err := group.quota()
	if err != nil {
		return nil, fail("read the cgroup of", id, err, "")
	}
	if quota > 0 {
		knobs = append(knobs, fleet.Knob{Kind: fleet.CPUQuota, Now: quota, Least: 10, Most: maxQuota})
	}
	return knobs, nil
}

// Adjust sets the cpu weight or the cpu limit of a workload's process.
func (d *Driver) Adjust(ctx context.Context, id fleet.WorkloadID, kind fleet.AdjustmentKind, amount int64) error {
	group, err := d.house(ctx, id)
	if err == nil {
		switch kind {
		case fleet.CPUWeight:
			err = group.setWeight(amount)
		case fleet.CPUQuota:
			err = group.setQuota(amount)
		default:
			err = fmt.Errorf("%s of a process: %w", kind, driver.ErrCannotAdjust)
		}
	}
	return fail("adjust", id, err, "")
}

// house brings the workload's process into a cgroup of its own, below the driver's,
// and returns it. A process that comes in gets what its settings say: what an earlier
// one had been given has ended with it.
func (d *Driver) house(ctx context.Context, id fleet.WorkloadID) (cgroup, error) {
	if d.config.Cgroup == "" {
		return cgroup{}, fmt.Errorf("the driver has no option cgroup: %w", driver.ErrCannotAdjust)
	}
	ctx, cancel := d.bound(ctx)
	defer cancel()
	s, leave, err := d.enter(ctx, id)
	if err != nil {
		return cgroup{}, err
	}
	defer leave()
	rec, err := s.folder.read()
	if errors.Is(err, os.ErrNotExist) {
		return cgroup{}, driver.ErrNotFound
	}
	if err != nil {
		return cgroup{}, err
	}
	fd, err := openIdentity(rec.Process)
	if err != nil {
		return cgroup{}, fmt.Errorf("%w: %w", driver.ErrNotFound, err)
	}
	defer unix.Close(fd)
	parent, err := openCgroup(d.config.Cgroup)
	if err != nil {
		return cgroup{}, err
	}
	d.sweepCgroups(parent)
	group, err := parent.leaf(filepath.Base(string(s.folder)))
	if err != nil {
		return cgroup{}, err
	}
	inside, err := group.holds(rec.Process.PID)
	if err != nil || inside {
		return group, err
	}
	limit := int64(0)
	if text := rec.Spec.Settings[SettingCPULimit]; text != "" {
		cores, err := strconv.ParseFloat(text, 64)
		if err != nil || !(cores > 0 && cores <= maxQuota/1000) {
			return cgroup{}, fmt.Errorf("its setting %s = %q is no number of cores", SettingCPULimit, text)
		}
		limit = int64(cores * 1000)
	}
	if err := errors.Join(group.setWeight(defaultWeight), group.setQuota(limit)); err != nil {
		return cgroup{}, err
	}
	return group, group.take(rec.Process.PID)
}

// sweepCgroups removes the cgroups of workloads that are no longer here. One that
// still holds a process stays: the kernel refuses.
func (d *Driver) sweepCgroups(parent cgroup) {
	for _, name := range parent.leaves() {
		if !folder(filepath.Join(d.config.Dir, name)).exists() {
			_ = os.Remove(parent.path(leafPrefix + name)) // busy: a later sweep removes it
		}
	}
}
