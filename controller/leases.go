package controller

import (
	"fmt"
	"sync"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// Terms of a lease (DESIGN §6). Renewals come to the leader and never enter the
// log; both sides count on their own monotonic clocks.
const (
	LeaseTTL   = 60 * time.Second
	RenewEvery = 20 * time.Second
	// expireMargin covers a renewal that is on its way when the time is up.
	expireMargin = 2 * time.Second
)

// leaseClock counts the time since the last renewal of every active lease. A
// new leader starts with a fresh one, which gives every lease one full TTL from
// its own barrier. Safe for concurrent use.
type leaseClock struct {
	mu      sync.Mutex // guards renewed and doomed
	start   time.Time
	ttl     time.Duration
	renewed map[fleet.LeaseID]time.Time
	// doomed are the leases whose end this leader has asked for. A renewal
	// that comes while that is on its way comes too late: answered well, it
	// would let its holder rely on a lease that is about to end.
	doomed map[fleet.LeaseID]bool
}

func newLeaseClock(start time.Time, ttl time.Duration) *leaseClock {
	return &leaseClock{start: start, ttl: ttl, renewed: map[fleet.LeaseID]time.Time{}, doomed: map[fleet.LeaseID]bool{}}
}

// renew notes a renewal; now must carry a monotonic reading. It fails when it
// comes too late.
func (c *leaseClock) renew(id fleet.LeaseID, now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.doomed[id] {
		return fmt.Errorf("lease %s was not renewed in time and is being ended: stop the transfer", id)
	}
	c.renewed[id] = now
	return nil
}

// expired returns the active leases whose time is up and that an Expire may
// still change; it forgets leases that are no longer active. The factor 1.01
// covers a clock that runs 1 % slow on either side.
func (c *leaseClock) expired(active []fleet.Lease, now time.Time) []fleet.LeaseID {
	c.mu.Lock()
	defer c.mu.Unlock()
	known, doomed := make(map[fleet.LeaseID]time.Time, len(active)), map[fleet.LeaseID]bool{}
	var out []fleet.LeaseID
	for _, l := range active {
		last, ok := c.renewed[l.ID]
		if !ok {
			last = c.start
			if !ok && l.State == fleet.Granted {
				last = now // first seen by this leader in this pass
			}
		}
		known[l.ID] = last
		limit := c.ttl + c.ttl/100 + expireMargin
		expirable := l.State == fleet.Granted || l.State == fleet.Transferring || l.State == fleet.Prepared
		if expirable && now.Sub(last) > limit {
			out = append(out, l.ID)
			doomed[l.ID] = true
		}
	}
	c.renewed, c.doomed = known, doomed
	return out
}
