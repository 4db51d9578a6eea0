package daemon

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/placed-dev/placed/controller"
	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/transport"
)

// classDriver is which drivers a host has. Only workloads whose driver surveys its
// host require theirs: of the others the planner would compare what is equal
// everywhere.
const classDriver = "driver"

// fit joins what the drivers know of this host and of what their workloads require.
func (i *inventory) fit() *controller.Fit {
	names := slices.Sorted(maps.Keys(i.drivers))
	has := map[string][]string{classDriver: names}
	needs := map[fleet.WorkloadID][]fleet.Ability{}
	for _, name := range names {
		s, ok := i.drivers[name].(driver.Surveyor)
		if !ok {
			continue
		}
		abilities, required := s.Survey()
		for _, a := range abilities {
			has[a.Class] = append(has[a.Class], a.Values...)
		}
		for id, list := range required {
			of := map[string][]string{classDriver: {name}}
			for _, a := range list {
				of[a.Class] = a.Values
			}
			needs[id] = fleet.Abilities(of)
		}
	}
	return controller.NewFit(fleet.Abilities(has), needs)
}

// fitsFresh is how long borrowed fits serve: they change with packages, not with load.
const fitsFresh = 15 * time.Second

// fitsAnswer is what the leader knows of every host.
type fitsAnswer struct {
	Fits map[fleet.HostID]*controller.Fit `json:"fits"`
}

func (d *Daemon) serveFits(ctx context.Context, from transport.Identity, q empty) (fitsAnswer, error) {
	return onLeader(ctx, d, from, callFits, q, func() (fitsAnswer, error) { return fitsAnswer{d.reports.Fits()}, nil })
}

// borrowFits lets an agent that hears no reports show which host can take what. When
// the leader cannot be asked, what is known is shown.
func (s *sight) borrowFits() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.d.node != nil || time.Since(s.borrowed) < fitsFresh {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	answer, err := callLeader[empty, fitsAnswer](ctx, s.d.books, callFits, empty{})
	if err != nil {
		s.d.log.Debug("what hosts can run cannot be fetched from the leader", "error", err)
		return
	}
	s.borrowed = time.Now()
	s.d.reports.BorrowFits(answer.Fits)
}
