package controller

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/predictor"
)

const (
	// leastShare is how many rows one workload gives at least: of a larger fleet
	// some workloads are left out of a training, not some of the day of each.
	leastShare = 40
	// mostShare bounds what one workload gives: rows of one series resemble
	// each other, and its host has other things to do.
	mostShare = 600
	// askAtOnce is how many workloads' histories are read at one time.
	askAtOnce = 8
)

// gather asks the owners of the workloads for rows, MaxExamples of them at most.
// Hosts that cannot be asked are left out.
func (t *Trainer) gather(ctx context.Context, until int64) ([]predictor.Example, error) {
	var workloads []fleet.Workload
	hosts := map[fleet.HostID]fleet.Host{}
	t.cfg.Books.Read(func(s *fsm.State) {
		for _, h := range s.Hosts() {
			hosts[h.ID] = h
		}
		workloads = s.Workloads()
	})
	if len(workloads) == 0 {
		return nil, nil
	}
	// The same workloads teach again only after all others have: the seed is
	// the time that is taught up to.
	if most := predictor.MaxExamples / leastShare; len(workloads) > most {
		random := rand.New(rand.NewPCG(uint64(until), 0))
		random.Shuffle(len(workloads), func(i, j int) { workloads[i], workloads[j] = workloads[j], workloads[i] })
		workloads = workloads[:most]
		slices.SortFunc(workloads, func(a, b fleet.Workload) int { return compareIDs(a.ID, b.ID) })
	}
	lesson := predictor.Lesson{Until: until, Limit: min(predictor.MaxExamples/len(workloads), mostShare)}
	parts := make([][]predictor.Example, len(workloads))
	var mu sync.Mutex
	var last error
	failed := 0
	var group errgroup.Group
	group.SetLimit(askAtOnce)
	for i, w := range workloads {
		owner, ok := hosts[w.Owner]
		if !ok || ctx.Err() != nil {
			continue
		}
		l := lesson
		l.Phase = uint64(i) * 7919 // a prime, so that series teach at different moments
		group.Go(func() error {
			examples, err := t.cfg.Examples(ctx, owner, w.ID, l)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				last, failed = err, failed+1
			}
			parts[i] = examples[:min(len(examples), 2*l.Limit)]
			return nil
		})
	}
	_ = group.Wait() // failures are counted
	out := slices.Concat(parts...)
	if len(out) == 0 && failed > 0 {
		return nil, fmt.Errorf("no history could be read, of %d workloads; the last: %w", failed, last)
	}
	if failed > 0 {
		t.log.Debug("some histories could not be read for training", "workloads", failed, "error", last)
	}
	return out, nil
}
