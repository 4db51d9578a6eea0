package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// worker is one client with a connection of its own, which sends its next
// request when the last one is answered.
type worker struct {
	operations int // in one request
	work       func(context.Context) error
	close      func()
}

// outcome of one closed loop.
type outcome struct {
	operations int     // all of them, the warm-up's too
	perSecond  float64 // operations
	latencies  []time.Duration
}

// loop runs clients for a while, after a warm-up of a quarter of it.
func loop(ctx context.Context, clients int, measure time.Duration, make func() (worker, error)) (outcome, error) {
	var workers []worker
	defer func() {
		for _, w := range workers {
			w.close()
		}
	}()
	for range clients {
		w, err := make()
		if err != nil {
			return outcome{}, err
		}
		workers = append(workers, w)
	}
	warm := time.Now().Add(measure / 4)
	end := warm.Add(measure)
	var mu sync.Mutex
	var all []time.Duration
	requests := 0
	var failed error
	var group sync.WaitGroup
	for _, w := range workers {
		group.Go(func() {
			var own []time.Duration
			var err error
			sent := 0
			for err == nil {
				begin := time.Now()
				if begin.After(end) {
					break
				}
				attempt, cancel := context.WithTimeout(ctx, 10*time.Second)
				err = w.work(attempt)
				cancel()
				sent++
				if now := time.Now(); err == nil && now.After(warm) && now.Before(end) {
					own = append(own, now.Sub(begin))
				}
			}
			mu.Lock()
			defer mu.Unlock()
			all, requests, failed = append(all, own...), requests+sent, errors.Join(failed, err)
		})
	}
	group.Wait()
	if failed != nil {
		return outcome{}, failed
	}
	if len(all) == 0 {
		return outcome{}, fmt.Errorf("no request was answered in %s", measure)
	}
	slices.Sort(all)
	return outcome{operations: requests * workers[0].operations, perSecond: float64(len(all)*workers[0].operations) / measure.Seconds(), latencies: all}, nil
}

// quantile of sorted values.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	if n := len(sorted); n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[len(sorted)/2]
}
