package planner

import (
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"strconv"
	"sync"
	"testing"
	"time"

	"gonum.org/v1/gonum/stat"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/predictor"
)

// Stationary fleets of up to 8 hosts × 40 workloads (AR(1), ρ .8, CV up to .2)
// for 24 virtual hours: after six hours nothing moves, and no host stays short,
// beyond what is watched as noise for two days, that an allowed move relieves.
// `make soak-plan` runs 1,000 of them (PLACED_SOAK=N).
func TestStationaryFleets(t *testing.T) {
	// A machine that has no time to spare plays as many as it can in a minute,
	// and says so.
	fleets, within := 50, time.Minute
	if n, err := strconv.Atoi(os.Getenv("PLACED_SOAK")); err == nil {
		fleets, within = n, 24*time.Hour
	} else if raced {
		t.Skip("pure and serial: there is nothing to race")
	} else if testing.Short() {
		fleets = 4
	}
	results := make([]stationary, 0, fleets)
	begun := time.Now()
	for len(results) < fleets && time.Since(begun) < within {
		var pair [2]stationary
		var both sync.WaitGroup
		for i := range pair {
			both.Go(func() { pair[i] = playStationary(uint64(len(results) + i)) })
		}
		both.Wait()
		results = append(results, pair[:]...)
	}
	moves, late, lateFleets := 0, 0, 0
	for seed, r := range results {
		moves += r.moves
		if len(r.late) > 0 {
			late += len(r.late)
			lateFleets++
			t.Logf("seed %d: %d moves after six hours: %v", seed, len(r.late), r.late)
		}
		for _, why := range r.unrelieved {
			t.Errorf("seed %d: %s", seed, why)
		}
	}
	if moves == 0 && len(results) > 10 {
		t.Error("nothing ever moved: the fleets test nothing")
	}
	// What noise does at the line (see doc.go) is rare, not impossible.
	if allowed := max(len(results)*2/25, 1); lateFleets > allowed {
		t.Errorf("%d of %d fleets move after six hours, %d may", lateFleets, len(results), allowed)
	}
	t.Logf("FIGURE stationary fleets: %d of %d, moves %d, fleets that move after 6 h %d (moves %d)", len(results), fleets, moves, lateFleets, late)
}

// stationary is what became of one fleet.
type stationary struct {
	moves      int
	late       []string // moves after six hours
	unrelieved []string // hosts that stay short although a move would relieve them
}

const sixHours = 72 // passes

func playStationary(seed uint64) stationary {
	r := rand.New(rand.NewPCG(seed, 5))
	hosts := 2 + r.IntN(7)
	f := randomFleet(r, autoPolicy(), hosts, hosts*(4+r.IntN(37)), 0.3+0.4*r.Float64(), 0.2)
	f.advance(300)
	out, quiet := stationary{}, 0 // the pass after the last move
	for pass := range day {
		f.advance(1)
		plan, streaks := PlanBrief(f.view, f.model, nil)
		f.view.Breaches = streaks
		f.apply(plan)
		out.moves += len(plan.Moves)
		for _, m := range plan.Moves {
			quiet = pass + 1
			if pass >= sixHours {
				out.late = append(out.late, fmt.Sprintf("pass %d: %s", pass, m.Reason))
			}
		}
	}
	out.unrelieved = f.unrelieved(day - quiet)
	return out
}

// unrelieved lists the hosts that needed more than they have, by more than the
// headroom, on the mean of the last ticks, in which nothing moved, although moving
// one workload would have ended that: its destination would have kept the headroom
// free in 95 % of the ticks. It looks at what was, not at what was foretold.
func (f *trial) unrelieved(ticks int) []string {
	if ticks == 0 {
		return nil
	}
	demand := map[fleet.HostID][]float64{}
	for _, w := range f.view.Workloads {
		if demand[w.Owner] == nil {
			demand[w.Owner] = make([]float64, ticks)
		}
		for i, v := range f.newest(w.ID, ticks) {
			demand[w.Owner][i] += v
		}
	}
	var out []string
	for _, h := range f.view.Hosts {
		short := stat.Mean(demand[h.ID], nil) - float64(h.Capacity.CPU)
		if len(demand[h.ID]) == 0 || short <= float64(h.Capacity.CPU)*float64(f.view.Policy.Headroom)/1000 {
			continue
		}
		for _, w := range f.view.Workloads {
			values := f.newest(w.ID, ticks)
			if w.Owner != h.ID || stat.Mean(values, nil) < short {
				continue
			}
			for _, to := range f.view.Hosts {
				line := float64(to.Capacity.CPU) * (1 - float64(f.view.Policy.Headroom)/1000)
				if to.ID != h.ID && to.Held.Memory+w.Reservation.Memory <= to.Capacity.Memory && within(demand[to.ID], values, line) {
					out = append(out, fmt.Sprintf("%s is short of %.0f millicores on the mean of %d passes: moving %s to %s would relieve it", h.ID, short, ticks, w.ID, to.ID))
				}
			}
		}
	}
	return out[:min(len(out), 3)]
}

func (f *trial) newest(id fleet.WorkloadID, ticks int) []float64 {
	return f.past[id][len(f.past[id])-ticks:]
}

// within says whether the sum stays below the line in 95 % of the ticks. An
// empty host has no demand.
func within(demand, values []float64, line float64) bool {
	above := 0
	for i, v := range values {
		if demand != nil {
			v += demand[i]
		}
		if v > line {
			above++
		}
	}
	return above*20 <= len(values)
}

// A brief pass decides what a full one does.
func TestPlanBriefDecidesTheSame(t *testing.T) {
	f := randomFleet(rand.New(rand.NewPCG(3, 5)), autoPolicy(), 4, 40, 0.9, 0.2)
	f.advance(300)
	moves := 0
	for range 20 {
		f.advance(1)
		full, streaks := Plan(f.view, f.model, nil)
		brief, also := PlanBrief(f.view, f.model, nil)
		if !reflect.DeepEqual(streaks, also) || !reflect.DeepEqual(full.Moves, brief.Moves) || len(full.Decisions) != len(brief.Decisions) {
			t.Fatalf("a brief pass decides otherwise:\n%+v\n%+v", full.Decisions, brief.Decisions)
		}
		if brief.InputHash != "" || brief.Forecasts != nil {
			t.Fatal("a brief pass is not brief")
		}
		moves += len(full.Moves)
		f.view.Breaches = streaks
		f.apply(full)
	}
	if moves == 0 {
		t.Error("nothing moved")
	}
}

// report is what the host sends of a workload. From tick to tick it drops the
// oldest error and adds the newest, as the leader's reports do: views that are
// still read hold clipped slices of the same array.
func (f *trial) report(id fleet.WorkloadID) fleet.Series {
	s, last := f.series[id], f.reported[id]
	newest, ok := s.LastResidual()
	if !ok || s.Tick() != last.Tick+1 || len(last.Residuals) != predictor.Window {
		last = s.Report(id, fleet.CPU, predictor.Window)
	} else {
		last.Tick, last.Features = s.Tick(), s.Features()
		last.Residuals = append(last.Residuals[1:], newest)
	}
	f.reported[id] = last
	last.Residuals = last.Residuals[:len(last.Residuals):len(last.Residuals)]
	return last
}
