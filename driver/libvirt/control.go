package libvirt

import (
	"fmt"
	"time"

	"github.com/placed-dev/placed/driver"
)

// control makes a move end: libvirt itself would go on for ever with a workload
// that writes faster than the way carries. Each means is tried in turn, the
// cheapest for the workload first: more bandwidth, a longer last pass, then a last
// pass of any length if the policy wants it, or the end. Slowing the workload down is the
// hypervisor's own, asked for at the start; it needs passes to work, so nothing
// else is done while it still grows.
type control struct {
	policy    MovePolicy
	bandwidth int64
	downtime  time.Duration
	pass      int // the pass in which something was last changed
	throttle  int
	told      bool // the hypervisor knows the downtime to begin with
	stopping  bool // it was told to stop the workload for the rest of the copy
	over      bool
}

// longestDowntime is the most that QEMU takes.
const longestDowntime = 2000 * time.Second

// hypervisorDowntime is QEMU's own aim for the last pass.
const hypervisorDowntime = 300 * time.Millisecond

// firstAim is what the last pass aims at to begin with. QEMU stops the workload as soon
// as what is left would take no longer than its aim: with its own it sends a third of a
// second's worth with the workload stopped, which one pass more would have sent with the
// workload running.
const firstAim = 10 * time.Millisecond

// step is one change.
type step struct {
	bandwidth int64
	downtime  time.Duration
	stop      bool
	abort     bool
	note      string
}

func newControl(p MovePolicy) *control {
	return &control{policy: p, bandwidth: p.Bandwidth, downtime: min(p.Downtime, firstAim)}
}

// patience is how many passes a change is given; the first pass of all sends
// everything and says nothing about convergence.
const patience = 2

// next decides on one reading of the job.
func (c *control) next(p driver.Progress) step {
	switch {
	case c.over || p.Stopped:
		return step{}
	case p.Elapsed >= c.policy.Deadline && c.policy.AtDeadline == "stop" && p.Elapsed < 2*c.policy.Deadline:
		if c.stopping {
			return step{}
		}
		c.stopping = true
		return step{stop: true, downtime: longestDowntime, note: fmt.Sprintf("deadline of %s: the workload is stopped until the rest is there", c.policy.Deadline)}
	case p.Elapsed >= c.policy.Deadline:
		c.over = true
		return step{abort: true, note: fmt.Sprintf("deadline of %s: aborted, the workload stays", c.policy.Deadline)}
	case !c.told && p.Pass > 0:
		c.told = true
		if c.downtime != hypervisorDowntime {
			return step{downtime: c.downtime, note: fmt.Sprintf("the last pass aims at %s", c.downtime)}
		}
		return c.next(p)
	case c.downtime < c.policy.Downtime:
		if p.Pass <= max(c.pass, patience) {
			return step{}
		}
		// Each pass costs what was written in it: the aim is given up quickly.
		c.downtime, c.pass = min(4*c.downtime, c.policy.Downtime), p.Pass
		return step{downtime: c.downtime, note: fmt.Sprintf("the last pass aims at %s", c.downtime)}
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

// failed takes back a step that could not be carried out, where it must be tried
// again: the end of a move.
func (c *control) failed(s step) bool {
	c.over, c.stopping = c.over && !s.abort, c.stopping && !s.stop
	return s.abort || s.stop // any other change comes with a later pass
}
