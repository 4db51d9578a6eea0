package daemon

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/peer"
)

// histories fetches the history of a workload that has moved here from the host
// it came from. If that host stays away, the workload's history begins anew.
type histories struct {
	d     *Daemon
	log   hclog.Logger
	queue chan fleet.WorkloadID
}

// Fetching is tried for a while: the source is busy ending its own part.
const (
	historyTries = 20
	historyPause = 500 * time.Millisecond
)

func newHistories(d *Daemon) *histories {
	return &histories{d: d, log: d.cfg.Logger.Named("history"), queue: make(chan fleet.WorkloadID, 64)}
}

// moved is called when a workload has been activated here. It does not block.
func (h *histories) moved(id fleet.WorkloadID) {
	select {
	case h.queue <- id:
	default:
		h.log.Warn("too many histories wait to be fetched; this one begins anew", "workload", id)
	}
}

// Run fetches queued histories, one after the other, until ctx ends.
func (h *histories) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case id := <-h.queue:
			h.fetch(ctx, id)
		}
	}
}

func (h *histories) fetch(ctx context.Context, id fleet.WorkloadID) {
	var last error
	for range historyTries {
		source, ok := h.source(id)
		if !ok {
			return // it has moved on, or came by no migration
		}
		limited, cancel := context.WithTimeout(ctx, 5*time.Second)
		answer, err := peer.Call[historyRequest, historyAnswer](limited, h.d.peers, addressOf(source), callHistory, historyRequest{Workload: id}, peer.MaxAnswer(8<<20))
		cancel()
		if err == nil {
			err = h.d.series.adopt(id, answer.carried)
		}
		if err == nil {
			h.log.Info("history has followed the workload", "workload", id, "host", source.Name)
			return
		}
		last = err
		select {
		case <-ctx.Done():
			return
		case <-time.After(historyPause):
		}
	}
	h.log.Warn("the history of a workload could not be fetched; forecasts begin from its profile and from now", "workload", id, "error", last)
}

// source is the host from which the newest move brought the workload here.
func (h *histories) source(id fleet.WorkloadID) (source fleet.Host, ok bool) {
	h.d.books.Read(func(s *fsm.State) {
		for _, l := range s.AllLeases() {
			if l.Kind == fleet.LeaseMigration && l.Workload == id && l.Destination == h.d.self && l.State != fleet.Aborted {
				source, ok = s.Host(l.Source) // leases are in the order of their grants
			}
		}
	})
	return source, ok
}
