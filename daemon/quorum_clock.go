package daemon

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/peer"
)

// A leader stamps what it proposes with its wall clock. One that is far off the
// other voters would age everybody's cool-downs and results, so it gives
// leadership away.
const (
	clockTolerance = 5 * time.Second
	clockInterval  = 5 * time.Second
	// clockRounds is how many looks in a row must agree: one late answer or a
	// clock that is just being corrected moves nobody.
	clockRounds = 3
)

// clockOffset is how far this leader's clock is ahead of the voters' median.
type clockOffset struct {
	Offset time.Duration `json:"offset"`
	Asked  int           `json:"asked"` // voters that answered, this one included
}

type clockCell struct {
	mu    sync.Mutex
	value clockOffset
}

func (c *clockCell) load() clockOffset {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.value
}

func (c *clockCell) store(v clockOffset) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.value = v
}

// aheadOfMedian is how far zero, the own clock, is ahead of the median of the
// voters' offsets to it, the own among them. Without a majority nobody can say
// whose clock is wrong, and it is zero.
func aheadOfMedian(others []time.Duration, voters int) time.Duration {
	all := append(slices.Clone(others), 0)
	if 2*len(all) <= voters {
		return 0
	}
	slices.Sort(all)
	if n := len(all); n%2 == 0 {
		// Between two clocks there is no telling; the nearer one counts.
		low, high := all[n/2-1], all[n/2]
		if low.Abs() < high.Abs() {
			return -low
		}
		return -high
	}
	return -all[len(all)/2]
}

// watchClock compares this leader's clock with the other voters' and gives
// leadership to a voter near the median when it is off for clockRounds looks.
func (d *Daemon) watchClock(ctx context.Context) error {
	ticker := time.NewTicker(clockInterval)
	defer ticker.Stop()
	defer d.clockOffset.store(clockOffset{})
	for off := 0; ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		offsets, voters := d.voterClocks(ctx)
		others := make([]time.Duration, 0, len(offsets))
		for _, o := range offsets {
			others = append(others, o)
		}
		ahead := aheadOfMedian(others, voters)
		d.clockOffset.store(clockOffset{Offset: ahead, Asked: len(offsets) + 1})
		if ahead.Abs() <= clockTolerance {
			off = 0
			continue
		}
		off++
		d.log.Warn("the clock of this leader is off: correct it (chronyc tracking, timedatectl)", "ahead_of_median", ahead, "voters", len(offsets)+1)
		if off < clockRounds {
			continue
		}
		to := nearestClock(offsets, -ahead)
		d.log.Error("giving leadership away: the clock of this host is off the voters' median", "ahead_of_median", ahead, "to", to)
		if err := d.node.TransferLeadership(ctx, string(to)); err != nil {
			d.log.Warn("leadership could not be given away, it is tried again", "error", err)
		}
	}
}

// nearestClock names the voter whose offset is nearest to the median's.
func nearestClock(offsets map[fleet.HostID]time.Duration, median time.Duration) (best fleet.HostID) {
	for id, o := range offsets {
		nearer := (o - median).Abs() - (offsets[best] - median).Abs()
		if best == "" || nearer < 0 || nearer == 0 && id < best {
			best = id
		}
	}
	return best
}

// voterClocks asks every other voter for its wall clock and returns how far each
// is ahead of ours, taking the middle of the exchange as the moment of the answer.
func (d *Daemon) voterClocks(ctx context.Context) (offsets map[fleet.HostID]time.Duration, voters int) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	offsets = map[fleet.HostID]time.Duration{}
	var mu sync.Mutex
	var asked sync.WaitGroup
	for _, s := range d.node.Servers() {
		if s.Nonvoter {
			continue
		}
		voters++
		if s.ID == string(d.self) {
			continue
		}
		asked.Go(func() {
			sent := time.Now()
			stats, err := peer.Call[empty, serverStats](ctx, d.peers, peer.Address{ID: fleet.HostID(s.ID), Addr: s.Address}, callServerStats, empty{})
			if err != nil || stats.Now.IsZero() {
				return
			}
			middle := sent.Add(time.Since(sent) / 2)
			mu.Lock()
			defer mu.Unlock()
			offsets[fleet.HostID(s.ID)] = stats.Now.Sub(middle)
		})
	}
	asked.Wait()
	return offsets, voters
}
