package controller

import (
	"context"
	"fmt"
	"time"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
)

// A prediction is judged when its breach lies judgeAfter ticks in the past: a
// breach a little later than predicted still counts as come. When measurements
// are missing, judging is given up after giveUpAfter ticks; the outcome then
// stays unknown rather than being guessed.
const (
	judgeAfter  = 3
	giveUpAfter = 24
)

// judge looks back at committed moves whose predicted breach has passed and
// records whether the contention would have come without the move. A move against
// what was there already predicted nothing.
func (c *Controller) judge(ctx context.Context, now time.Time) error {
	var open []fsm.MigrationOutcome
	c.cfg.Books.Read(func(s *fsm.State) {
		for _, o := range s.Outcomes() {
			if o.ContentionCame == nil && predicted(o) {
				open = append(open, o)
			}
		}
	})
	for _, o := range open {
		breach, tick := fleet.TickOf(o.Breach), fleet.TickOf(now)
		if tick <= breach+judgeAfter || tick > breach+giveUpAfter {
			continue
		}
		came, known := c.came(o, breach+judgeAfter)
		if !known {
			continue
		}
		judged := fsm.RecordOutcome{Outcome: fsm.MigrationOutcome{Lease: o.Lease, ContentionCame: &came}}
		if _, err := c.cfg.Books.Propose(ctx, judged); err != nil {
			return fmt.Errorf("recording whether the contention predicted for lease %s came: %w", o.Lease, err)
		}
		c.log.Info("prediction judged", "lease", o.Lease, "workload", o.Workload, "host", o.Source, "contention_came", came)
	}
	return nil
}

// predicted says whether the move has been made ahead of a breach that can be judged.
func predicted(o fsm.MigrationOutcome) bool {
	return o.Type == fleet.Preemptive && o.CommittedIndex > 0 && !o.Breach.IsZero() && o.Resource == fleet.CPU
}

// came compares what the source would have had to carry (its own measured demand
// plus the moved workload's, wherever that runs now) with what it can give, in
// every tick from the commit to the last. It is known only if at least half of
// the ticks were measured.
func (c *Controller) came(o fsm.MigrationOutcome, last int64) (came, known bool) {
	first := fleet.TickOf(o.CommittedAt) + 1 // the commit's own tick is mixed
	measured := int64(0)
	for tick := first; tick <= last; tick++ {
		host, ok := c.cfg.Reports.HostDemandAt(o.Source, tick)
		moved, ok2 := c.cfg.Reports.DemandAt(o.Workload, tick)
		if !ok || !ok2 {
			continue
		}
		measured++
		if host+moved > float64(o.Allocatable) {
			came = true
		}
	}
	return came, last >= first && 2*measured >= last-first+1
}
