package libvirt

import (
	"fmt"
	"time"

	"github.com/placed-dev/placed/driver"
)

// control makes a move end: libvirt itself would go on for ever with a workload
// that writes faster than the way carries. Each means is tried in turn, the
// cheapest for the workload first: more bandwidth, a longer last pass, then
// post-copy if the policy wants it, or the end. Slowing the workload down is the
// hypervisor's own, asked for at the start; it needs passes to work, so nothing
// else is done while it still grows.
type control struct {
	policy    MovePolicy
	bandwidth int64
	downtime  time.Duration
	pass      int // the pass in which something was last changed
	throttle  int
	over      bool
}

// step is one change.
type step struct {
	bandwidth int64
	downtime  time.Duration
	postCopy  bool
	abort     bool
	note      string
}

func newControl(p MovePolicy) *control {
	return &control{policy: p, bandwidth: p.Bandwidth, downtime: p.Downtime}
}

// patience is how many passes a change is given; the first pass of all sends
// everything and says nothing about convergence.
const patience = 2

// next decides on one reading of the job.
func (c *control) next(p driver.Progress) step {
	switch {
	case c.over || p.Stopped:
		return step{}
	case p.Elapsed >= c.policy.Deadline:
		c.over = true
		if c.policy.PostCopy {
			return step{postCopy: true, note: fmt.Sprintf("deadline of %s: switched to post-copy", c.policy.Deadline)}
		}
		return step{abort: true, note: fmt.Sprintf("deadline of %s: aborted, the workload stays", c.policy.Deadline)}
	case p.Pass < c.pass+patience || p.Pass < 1+patience:
		return step{}
	case c.bandwidth > 0 && c.bandwidth < c.policy.MaxBandwidth:
		c.bandwidth, c.pass = min(2*c.bandwidth, c.policy.MaxBandwidth), p.Pass
		return step{bandwidth: c.bandwidth, note: fmt.Sprintf("bandwidth raised to %d MiB/s", c.bandwidth>>20)}
	case c.policy.AutoConverge && p.Throttle > c.throttle:
		c.throttle, c.pass = p.Throttle, p.Pass
		return step{}
	case c.downtime < c.policy.MaxDowntime:
		c.downtime, c.pass = min(2*c.downtime, c.policy.MaxDowntime), p.Pass
		return step{downtime: c.downtime, note: fmt.Sprintf("downtime limit raised to %s", c.downtime)}
	}
	return step{}
}
