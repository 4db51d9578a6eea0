package daemon

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/peer"
	"github.com/placed-dev/placed/transport"
)

// timelineRequest asks a host for what its workloads used in the ticks from First
// on.
type timelineRequest struct {
	First int64 `json:"first"`
	Ticks int   `json:"ticks"`
}

type timelineAnswer struct {
	Loads []api.RecordedLoad `json:"loads"`
}

const (
	// maxTimeline is as long as a host keeps history by default.
	maxTimeline = int(30 * 24 * time.Hour / fleet.Tick)
	// maxTimelineAnswer is enough for a thousand workloads and a week.
	maxTimelineAnswer = 16 << 20
	// timelineCalls bounds how many hosts are asked at once.
	timelineCalls = 8
)

// serveTimeline answers with the history of what this host runs: it has followed
// each workload from host to host.
func (d *Daemon) serveTimeline(_ context.Context, _ transport.Identity, r timelineRequest) (timelineAnswer, error) {
	if r.Ticks < 1 || r.Ticks > maxTimeline {
		return timelineAnswer{}, fmt.Errorf("%d ticks of history are asked for: 1 to %d are given", r.Ticks, maxTimeline)
	}
	return d.timeline(r)
}

func (d *Daemon) timeline(r timelineRequest) (timelineAnswer, error) {
	var mine []fleet.WorkloadID
	d.books.Read(func(s *fsm.State) {
		for _, w := range s.Workloads() {
			if w.Owner == d.self {
				mine = append(mine, w.ID)
			}
		}
	})
	var out timelineAnswer
	for _, id := range mine {
		load := api.RecordedLoad{Workload: string(id), CPU: slices.Repeat([]int64{-1}, r.Ticks)}
		samples, err := d.series.history.Read(string(id), fleet.TickStart(r.First), fleet.TickStart(r.First+int64(r.Ticks)))
		if err != nil {
			return timelineAnswer{}, fmt.Errorf("history of workload %s: %w", id, err)
		}
		for _, s := range samples {
			if at := fleet.TickOf(s.At) - r.First; at >= 0 && at < int64(r.Ticks) {
				load.CPU[at] = max(s.Usage.CPU, 0)
			}
		}
		out.Loads = append(out.Loads, load)
	}
	return out, nil
}

// SnapshotWithHistory is the newest state of the books with what every workload
// has used since: one bundle. A host that does not answer is named in it.
func (b backend) SnapshotWithHistory(ctx context.Context, since time.Duration) ([]byte, error) {
	d := b.d
	now := d.clock.At(time.Now())
	r := timelineRequest{Ticks: int(since / fleet.Tick)}
	r.First = fleet.TickOf(now) - int64(r.Ticks)
	if r.Ticks < 1 || r.Ticks > maxTimeline {
		return nil, fmt.Errorf("%s of history: at least one tick (%s) and at most %s can be saved", since, fleet.Tick, time.Duration(maxTimeline)*fleet.Tick)
	}
	books, err := b.SnapshotBooks(ctx)
	if err != nil {
		return nil, err
	}
	bundle := api.Bundle{Format: api.BundleFormat, Books: books, Begin: fleet.TickStart(r.First), TickS: fleet.Tick.Seconds(), Ticks: r.Ticks}
	var hosts []fleet.Host
	d.books.Read(func(s *fsm.State) {
		hosts = s.Hosts()
		bundle.Moves = movesIn(s.AllLeases(), d.clock)
	})
	var mu sync.Mutex // guards bundle
	var group errgroup.Group
	group.SetLimit(timelineCalls)
	for _, h := range hosts {
		if h.State == fleet.HostLeft {
			continue
		}
		group.Go(func() error {
			answer, err := d.timelineOf(ctx, h, r)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				bundle.Missing = append(bundle.Missing, api.MissingHost{Host: string(h.ID), Why: err.Error()})
				return nil
			}
			bundle.Loads = append(bundle.Loads, answer.Loads...)
			return nil
		})
	}
	_ = group.Wait() // what fails is named in the bundle
	slices.SortFunc(bundle.Loads, func(a, b api.RecordedLoad) int { return cmp.Compare(a.Workload, b.Workload) })
	slices.SortFunc(bundle.Missing, func(a, b api.MissingHost) int { return cmp.Compare(a.Host, b.Host) })
	return bundle.Encode()
}

func (d *Daemon) timelineOf(ctx context.Context, h fleet.Host, r timelineRequest) (timelineAnswer, error) {
	if h.ID == d.self {
		return d.timeline(r)
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return peer.Call[timelineRequest, timelineAnswer](ctx, d.peers, addressOf(h), callTimeline, r, peer.MaxAnswer(maxTimelineAnswer))
}

// movesIn are the moves among the leases that have taken place, the oldest first.
func movesIn(leases []fleet.Lease, clock fleet.LoadClock) []api.RecordedMove {
	slices.SortStableFunc(leases, func(a, b fleet.Lease) int { return cmp.Compare(a.Token.Index, b.Token.Index) })
	var out []api.RecordedMove
	for _, l := range leases {
		switch l.State {
		case fleet.Committed, fleet.Activated, fleet.Released:
			if l.Kind == fleet.LeaseMigration {
				out = append(out, api.RecordedMove{At: clock.At(l.GrantedAt), Workload: string(l.Workload), From: string(l.Source), To: string(l.Destination)})
			}
		}
	}
	return out
}
