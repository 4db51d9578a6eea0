package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/placed-dev/placed/api"
)

// measureLatency commits 200 grants a second through the API while 1,000 hosts
// with 10 workloads each report over TLS, and the leader writes snapshots. Each
// grant is due at a fixed moment; one that waits for its turn counts from then.
func measureLatency(ctx context.Context, s settings, _ *etcd, p *placed, t *table) error {
	const rate, workloads, connections = 200, 10, 16
	if err := p.register(ctx, s.reporters, workloads); err != nil {
		return fmt.Errorf("register %d hosts: %w", s.reporters, err)
	}
	reporting, endReports := context.WithCancel(ctx)
	defer endReports()
	var sent, failed atomic.Int64
	var background errgroup.Group
	background.Go(func() error { return p.reporting(reporting, &sent, &failed) })
	// One round of reports first, so that every connection is open.
	select {
	case <-time.After(6 * time.Second):
	case <-ctx.Done():
		return ctx.Err()
	}
	leader, err := p.leader(ctx)
	if err != nil {
		return err
	}
	clients := make([]*api.Client, connections)
	for i := range clients {
		if clients[i], err = p.client(leader); err != nil {
			return err
		}
		defer clients[i].Close()
	}
	m := p.members[leader]
	before, err := m.cpu()
	if err != nil {
		return err
	}
	reports, begin := sent.Load(), time.Now()
	total := int(s.latency.Seconds() * rate)
	latencies := make([]time.Duration, total)
	errs := make([]error, total)
	var next atomic.Int64
	var load sync.WaitGroup
	for _, c := range clients {
		load.Go(func() {
			for {
				i := int(next.Add(1) - 1)
				if i >= total || ctx.Err() != nil {
					return
				}
				due := begin.Add(time.Duration(i) * time.Second / rate)
				time.Sleep(time.Until(due)) // the pace of the load
				batch, err := c.Reserve(ctx, p.reservation())
				latencies[i], errs[i] = time.Since(due), err
				if err == nil {
					errs[i] = p.granted(batch)
				}
			}
		})
	}
	snapshots := 0
	var snapshotTime time.Duration
	var written []span
	for end := begin.Add(s.latency); time.Now().Before(end) && ctx.Err() == nil; snapshots++ {
		at := time.Now()
		if _, err := clients[0].RaftSnapshot(ctx); err != nil {
			return fmt.Errorf("snapshot: %w", err)
		}
		snapshotTime += time.Since(at)
		written = append(written, span{at.Sub(begin), time.Since(begin)})
		time.Sleep(min(5*time.Second, max(0, time.Until(end)))) // the pace of the load
	}
	load.Wait()
	took := time.Since(begin)
	after, err := m.cpu()
	if err != nil {
		return err
	}
	reports = sent.Load() - reports
	endReports()
	if err := background.Wait(); err != nil {
		return err
	}
	for i, err := range errs {
		if err != nil {
			return fmt.Errorf("grant %d: %w", i, err)
		}
	}
	t.note("%s", bursts(latencies, time.Second/rate, written))
	slices.Sort(latencies)
	t.add(fmt.Sprintf("commit of a grant at %d/s during snapshots, %d TLS hosts reporting every 5 s: p99", rate, s.reporters),
		fmt.Sprintf("%s (p50 %s, max %s)", ms(quantile(latencies, .99)), ms(quantile(latencies, .5)), ms(latencies[total-1])), "-", "-", "≤ 20 ms (stretch 10)")
	t.add("leader meanwhile: cores, resident memory", fmt.Sprintf("%.2f cores, %d MiB (peak %d MiB)", (after-before).Seconds()/took.Seconds(), m.memory("VmRSS")>>20, m.memory("VmHWM")>>20), "-", "-", "≤ 0.5 cores, ≤ 512 MiB (stretch 0.3)")
	t.note("%d reports to the voters in %s (%d failed), %d snapshots of %s each, %d hosts, %d workloads", reports, took.Round(time.Second), failed.Load(), snapshots,
		(snapshotTime / time.Duration(max(snapshots, 1))).Round(time.Millisecond), s.reporters+3, s.reporters*workloads)
	return p.release(ctx)
}

// span is a time in the run, from its begin.
type span struct{ from, to time.Duration }

// bursts tells when grants took more than 20 ms, and whether a snapshot was being
// written then.
func bursts(latencies []time.Duration, every time.Duration, snapshots []span) string {
	const slow, gap = 20 * time.Millisecond, 100 * time.Millisecond
	var found []span
	total := 0
	for i, l := range latencies {
		due := every * time.Duration(i)
		switch {
		case l <= slow:
			continue
		case len(found) > 0 && due-found[len(found)-1].to < gap:
			found[len(found)-1].to = max(found[len(found)-1].to, due+l)
		default:
			found = append(found, span{due, due + l})
		}
		total++
	}
	during := 0
	for _, b := range found {
		if slices.ContainsFunc(snapshots, func(s span) bool { return b.from < s.to && s.from < b.to }) {
			during++
		}
	}
	longest := slices.MaxFunc(append(found, span{}), func(a, b span) int { return int(a.to - a.from - b.to + b.from) })
	return fmt.Sprintf("%d of %d grants took more than %s, in %d bursts, %d of them while a snapshot was written; the longest burst was %s, %s after the begin",
		total, len(latencies), slow, len(found), during, (longest.to - longest.from).Round(time.Millisecond), longest.from.Round(time.Millisecond))
}
