package main

import (
	"context"
	"fmt"
)

// clientCounts of the throughput rows.
var clientCounts = []int{1, 16, 64}

// measureGrants races single grants against puts.
func measureGrants(ctx context.Context, s settings, e *etcd, p *placed, t *table) error {
	return race(ctx, s, e, p, t, "single grants", 1, []string{"0.9 ×", "1 ×", "1 × (stretch 2 ×)"})
}

// measureBatches races batches of 64 grants against transactions of 64 puts.
func measureBatches(ctx context.Context, s settings, e *etcd, p *placed, t *table) error {
	return race(ctx, s, e, p, t, "batches of 64", 64, []string{"1 ×", "2 ×", "2 × (stretch 3 ×)"})
}

// race alternates the two systems and compares their medians.
func race(ctx context.Context, s settings, e *etcd, p *placed, t *table, work string, operations int, reach []string) error {
	for k, clients := range clientCounts {
		var ours, theirs []float64
		var our, their outcome
		for range s.rounds {
			var err error
			if their, err = loop(ctx, clients, s.measure, func() (worker, error) { return e.worker(ctx, operations) }); err != nil {
				return fmt.Errorf("etcd, %d clients: %w", clients, err)
			}
			if our, err = loop(ctx, clients, s.measure, func() (worker, error) { return p.worker(ctx, operations) }); err != nil {
				return fmt.Errorf("placed, %d clients: %w", clients, err)
			}
			theirs, ours = append(theirs, their.perSecond), append(ours, our.perSecond)
			if err := p.release(ctx); err != nil {
				return fmt.Errorf("release: %w", err)
			}
		}
		t.add(fmt.Sprintf("%s, %d clients: operations/s", work, clients), describe(ours, our), describe(theirs, their),
			fmt.Sprintf("%.2f ×", median(ours)/median(theirs)), reach[k])
	}
	return nil
}

func describe(rounds []float64, last outcome) string {
	return fmt.Sprintf("%.0f (p50 %s, p99 %s)", median(rounds), ms(quantile(last.latencies, .5)), ms(quantile(last.latencies, .99)))
}
