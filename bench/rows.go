package main

import (
	"context"
	"fmt"
)

// reaches says what a row is to reach with 1, 16 and 64 clients.
type reaches map[int]string

// measureGrants races single grants against puts.
func measureGrants(ctx context.Context, s settings, e *etcd, p *placed, t *table) error {
	return race(ctx, s, e, p, t, "single grants", 1, reaches{1: "0.9 ×", 16: "1 ×", 64: "1 × (stretch 2 ×)"})
}

// measureBatches races batches of 64 grants against transactions of 64 puts.
func measureBatches(ctx context.Context, s settings, e *etcd, p *placed, t *table) error {
	return race(ctx, s, e, p, t, "batches of 64", 64, reaches{1: "1 ×", 16: "2 ×", 64: "2 × (stretch 3 ×)"})
}

// race alternates the two systems and compares their medians. What a busy machine
// does to the times it hardly does to the CPU time of an operation, so that stands
// in a note.
func race(ctx context.Context, s settings, e *etcd, p *placed, t *table, work string, operations int, reach reaches) error {
	for _, clients := range s.clients {
		var ours, theirs []float64
		var our, their outcome
		var ourCost, theirCost cost
		for range s.rounds {
			var err error
			if their, err = contend(ctx, s, clients, operations, e.workers, e.members, &theirCost); err != nil {
				return fmt.Errorf("etcd, %d clients: %w", clients, err)
			}
			if our, err = contend(ctx, s, clients, operations, p.workers, p.members, &ourCost); err != nil {
				return fmt.Errorf("placed, %d clients: %w", clients, err)
			}
			theirs, ours = append(theirs, their.perSecond), append(ours, our.perSecond)
			if err := p.release(ctx); err != nil {
				return fmt.Errorf("release: %w", err)
			}
		}
		row := fmt.Sprintf("%s, %d clients", work, clients)
		t.add(row+": operations/s", describe(ours, our), describe(theirs, their), fmt.Sprintf("%.2f ×", median(ours)/median(theirs)), reach[clients])
		t.note("%s: CPU time of an operation: placed %s, etcd %s", row, ourCost, theirCost)
	}
	return nil
}

// contend runs one closed loop against one system, and adds what it cost.
func contend(ctx context.Context, s settings, clients, operations int, workers func(context.Context, int) (func() (worker, error), error),
	members []*process, cost *cost,
) (out outcome, err error) {
	make, err := workers(ctx, operations)
	if err != nil {
		return outcome{}, err
	}
	err = cost.of(members, func() (int, error) {
		out, err = loop(ctx, clients, s.measure, make)
		return out.operations, err
	})
	return out, err
}

func describe(rounds []float64, last outcome) string {
	return fmt.Sprintf("%.0f (p50 %s, p99 %s)", median(rounds), ms(quantile(last.latencies, .5)), ms(quantile(last.latencies, .99)))
}
