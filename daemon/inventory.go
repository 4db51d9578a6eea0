package daemon

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

// inventory is what the drivers of this host last observed.
type inventory struct {
	drivers map[string]driver.Driver
	log     hclog.Logger

	mu    sync.Mutex // guards all below
	begun uint64     // observations so far
	shown uint64     // the newest of them that found is from
	found []driver.Found
	sick  map[string]bool // drivers whose last observation failed; absent: not asked yet
}

// inventoryTime bounds one observation: a hung hypervisor must not stop reports.
const inventoryTime = 5 * time.Second

// observe asks every driver what runs here. A driver that cannot be asked keeps
// its last answer: silence is no evidence that a workload is gone.
func (i *inventory) observe(ctx context.Context) []driver.Found {
	ctx, cancel := context.WithTimeout(ctx, inventoryTime)
	defer cancel()
	i.mu.Lock()
	i.begun++
	turn := i.begun
	i.mu.Unlock()
	var all []driver.Found
	for name, d := range i.drivers {
		found, err := d.Inventory(ctx)
		i.mu.Lock()
		if err != nil {
			if !i.sick[name] && ctx.Err() == nil {
				i.log.Warn("driver cannot be observed; its last inventory stands", "driver", name, "error", err)
			}
			i.sick[name] = true
			found = nil
			for _, f := range i.found {
				if f.Spec.Driver == name {
					found = append(found, f)
				}
			}
		} else {
			i.sick[name] = false
		}
		i.mu.Unlock()
		all = append(all, found...)
	}
	slices.SortFunc(all, func(a, b driver.Found) int { return cmp.Compare(a.Spec.ID, b.Spec.ID) })
	i.mu.Lock()
	defer i.mu.Unlock()
	if turn > i.shown { // else one that began later has ended before
		i.found, i.shown = all, turn
	}
	return all
}

// last returns the newest observation without asking.
func (i *inventory) last() []driver.Found {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.found)
}

// asked says whether the driver's newest answer is its own, not an earlier one that
// stands for it.
func (i *inventory) asked(name string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	sick, asked := i.sick[name]
	return asked && !sick
}

// of returns the driver and the newest observation of one workload.
func (i *inventory) of(id fleet.WorkloadID) (driver.Found, bool) {
	for _, f := range i.last() {
		if f.Spec.ID == id {
			return f, true
		}
	}
	return driver.Found{}, false
}
