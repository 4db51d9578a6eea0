package simulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/planner"
	"github.com/placed-dev/placed/predictor"
)

var begin = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)

const gib = int64(1) << 30

// smallFleet has hosts of 8 cores; load(i, tick) is in cores.
func smallFleet(hosts, perHost, ticks int, load func(i, tick int) float64) Config {
	policy := fleet.DefaultPolicy()
	policy.Automation, policy.HoldPasses = fleet.Auto, 1
	policy.MovesPerPass, policy.MovesInFlight, policy.ChurnPerHour = 4, 8, 100
	c := Config{Start: begin, From: 0, To: ticks - Ahead, Policy: policy, Decider: Named("nothing"),
		Migration: Migration{Bandwidth: 1.1e9, Rounds: 1.3, Degradation: 0.1}}
	for h := range hosts {
		name := fmt.Sprintf("h%d", h+1)
		c.Hosts = append(c.Hosts, fleet.Host{ID: fleet.HostID(name), Name: name, Zone: "z", Address: "192.0.2.1:1",
			Capacity: fleet.Vector{CPU: 8000, Memory: 64 * gib, Net: fleet.Unknown, Disk: fleet.Unknown}})
	}
	for i := range hosts * perHost {
		w := Workload{Workload: fleet.Workload{ID: fleet.WorkloadID(fmt.Sprintf("w%02d", i+1)), Driver: "recorded",
			Owner: c.Hosts[i/perHost].ID, Reservation: fleet.Vector{Memory: 8 * gib}}}
		for tick := range ticks {
			w.Demand = append(w.Demand, load(i, tick))
		}
		c.Workloads = append(c.Workloads, w)
	}
	return c
}

func run(t testing.TB, c Config) Result {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Run()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestContendedMinutes checks the figure by hand: two workloads ask for 5 cores
// each of 8 on host 1, so 2 of 10 are missing, for both, all the time.
func TestContendedMinutes(t *testing.T) {
	c := smallFleet(2, 2, 300, func(i, _ int) float64 {
		if i < 2 {
			return 5
		}
		return 1
	})
	r := run(t, c)
	if want := 2 * 0.2 * 24 * 60; math.Abs(r.ContendedPerDay-want) > 1e-6 {
		t.Errorf("%g contended minutes a day, want %g", r.ContendedPerDay, want)
	}
	if math.Abs(r.OverloadPerDay-24*60) > 1e-6 || math.Abs(r.Unserved-2.0/12) > 1e-9 || r.Moves != 0 {
		t.Errorf("%+v", r)
	}
}

// TestMoveCosts: the reactive loop makes one move, which takes 8 GiB / 1.1 GB/s ×
// 1.3 = 10.15 s, adds a tenth of the workload's demand to both hosts meanwhile,
// and ends the contention. Neither false nor harmful.
func TestMoveCosts(t *testing.T) {
	c := smallFleet(2, 2, 60, func(i, _ int) float64 {
		if i < 2 {
			return 5
		}
		return 1
	})
	c.Decider = &Greedy{Title: "reactive"}
	r := run(t, c)
	if r.Moves != 1 || r.False != 0 || r.Harmful != 0 || r.LeadMinutes.P50 != 5 {
		t.Fatalf("%+v", r)
	}
	took := c.Migration.Duration(8 * gib).Minutes()
	// Five minutes before the decision, and the move itself with 10.5 cores
	// asked of 8.
	contended := (5*0.2 + took*2.5/10.5) * 2
	if got := r.ContendedPerDay * r.Days; math.Abs(got-contended) > 1e-6 {
		t.Errorf("%g contended minutes in all, want %g", got, contended)
	}
}

// TestFalseAndHarmful: a move away from an idle host is false, and one onto a
// host that it overloads is harmful.
func TestFalseAndHarmful(t *testing.T) {
	c := smallFleet(2, 2, 40, func(int, int) float64 { return 3 })
	c.Decider = &script{at: 2, moves: []Move{{Workload: 0, To: 1}}}
	if r := run(t, c); r.Moves != 1 || r.False != 1 || r.Harmful != 1 || len(r.Refused) != 0 {
		t.Errorf("%+v", r)
	}
}

// script makes moves at one tick.
type script struct {
	at    int
	moves []Move
}

func (*script) Name() string           { return "script" }
func (*script) Observe(int, []float64) {}
func (s *script) Decide(x Situation) ([]Move, error) {
	if x.Tick != s.at {
		return nil, nil
	}
	return s.moves, nil
}

// TestBooksRefuse: what does not fit is refused by the books, with the figures.
func TestBooksRefuse(t *testing.T) {
	c := smallFleet(2, 8, 40, func(int, int) float64 { return 0.5 })
	c.Decider = &script{at: 2, moves: []Move{{Workload: 0, To: 1}}}
	r := run(t, c)
	if r.Moves != 0 || len(r.Refused) != 1 || r.Refused[0].Count != 1 {
		t.Errorf("a full host took a workload: %+v", r)
	}
}

// TestSilentHost: a fault ends the moves of its host; the workload stays, the
// books free the destination.
func TestSilentHost(t *testing.T) {
	c := smallFleet(2, 2, 40, func(int, int) float64 { return 3 })
	c.Decider = &script{at: 2, moves: []Move{{Workload: 0, To: 1}}}
	c.Faults = []Fault{{Host: "h2", Kind: FaultSilent, From: 3, Until: 6}}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Run()
	if err != nil {
		t.Fatal(err)
	}
	if r.BrokenOff != 1 || s.at[0] != 0 || len(s.books.state.Leases()) != 0 {
		t.Errorf("%+v, workload on host %d, leases %v", r, s.at[0], s.books.state.Leases())
	}
}

// TestBudget: never more than the tokens allow, whatever the decider wants.
func TestBudget(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.Float64Range(0.01, 2).Draw(t, "rate")
		phase := rapid.IntRange(1, 50).Draw(t, "phase")
		c := smallFleet(3, 3, 200, func(i, tick int) float64 { return 2 + 3*math.Abs(math.Sin(float64(tick*(i+1))/float64(phase))) })
		c.Decider = &Greedy{Title: "reactive"}
		c.Budget = Budget{PerDay: rate, Burst: 0.25}
		s, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.Run()
		if err != nil {
			t.Fatal(err)
		}
		if allowed := rate*9*r.Days + 1; float64(r.Moves) > allowed {
			t.Fatalf("%d moves, the budget allows %g", r.Moves, allowed)
		}
	})
}

// recurring is a fleet in which each host holds two workloads that peak
// together, at the time of day at which those of the other host are idle.
func recurring(ticks int) Config {
	return smallFleet(2, 3, ticks, func(i, tick int) float64 {
		if peak := (tick % 288) / 144; i%3 < 2 && peak == i/3 {
			return 4.5
		}
		return 1
	})
}

func placedDecider(c Config, ahead bool) *Placed {
	p := &Placed{Title: "placed", Model: predictor.Baseline{}, FirstTick: fleet.TickOf(c.Start)}
	for _, w := range c.Workloads {
		p.IDs = append(p.IDs, w.ID)
	}
	for _, h := range c.Hosts {
		p.Hosts = append(p.Hosts, h.ID)
	}
	if ahead {
		p.Replay = predictor.Replay{Days: 2, Offsets: DayOffsets(), HalfLife: 12}
		p.Ahead = &planner.Ahead{MinGain: 3, SourceRisk: 0.5, TargetRisk: 0.1}
	}
	return p
}

// TestPlacedForesees: with a load that repeats daily, the product's pass prevents
// most of the contention that doing nothing suffers; weighing the day ahead, it
// needs no more moves than it takes to mix the two hosts.
func TestPlacedForesees(t *testing.T) {
	c := recurring(4 * 288)
	c.From = 3 * 288
	nothing := run(t, c).ContendedPerDay
	c.Decider = placedDecider(c, true)
	r := run(t, c)
	if nothing < 100 || r.ContendedPerDay > 0.2*nothing || r.Moves == 0 || r.Moves > 3 {
		t.Errorf("nothing %g, ours %g with %d moves: %+v", nothing, r.ContendedPerDay, r.Moves, r)
	}
	c.Decider = placedDecider(c, false)
	if r := run(t, c); r.ContendedPerDay > nothing {
		t.Errorf("relieving makes it worse: %g, nothing %g", r.ContendedPerDay, nothing)
	}
}

// TestSameBytes: two runs of one configuration are the same to the last bit, on
// one thread and on several.
func TestSameBytes(t *testing.T) {
	var first []byte
	for range 2 {
		c := recurring(3*288 + 40)
		c.From = 3 * 288
		c.Decider = placedDecider(c, true)
		data, err := json.Marshal(run(t, c))
		if err != nil {
			t.Fatal(err)
		}
		if first != nil && string(first) != string(data) {
			t.Fatalf("two runs differ:\n%s\n%s", first, data)
		}
		first = data
	}
}

// TestImplausible: an operator is told when the figures cannot mean much.
func TestImplausible(t *testing.T) {
	for name, c := range map[string]Config{
		"asked for": smallFleet(1, 2, 40, func(int, int) float64 { return 9 }),
		"unit":      smallFleet(1, 2, 40, func(int, int) float64 { return 0.01 }),
		"nothing":   smallFleet(1, 3, 40, func(i, _ int) float64 { return float64(i / 2 * 3) }),
	} {
		if r := run(t, c); len(r.Warnings) == 0 {
			t.Errorf("%s: no warning", name)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	for name, spoil := range map[string]func(*Config){
		"no host":   func(c *Config) { c.Hosts = nil },
		"no owner":  func(c *Config) { c.Workloads[0].Owner = "nobody" },
		"too short": func(c *Config) { c.Workloads[1].Demand = c.Workloads[1].Demand[:20] },
		"not real":  func(c *Config) { c.Workloads[1].Demand[3] = math.NaN() },
		"backwards": func(c *Config) { c.To = c.From },
		"no link":   func(c *Config) { c.Migration.Bandwidth = 0 },
		"fault":     func(c *Config) { c.Faults = []Fault{{Host: "h9", Kind: FaultDrain, Until: 1}} },
		"twice":     func(c *Config) { c.Hosts[1].ID = c.Hosts[0].ID },
	} {
		c := smallFleet(2, 2, 40, func(int, int) float64 { return 1 })
		spoil(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestInterrupted: a run that an operator gives up ends at the next tick.
func TestInterrupted(t *testing.T) {
	c := smallFleet(2, 2, 40, func(int, int) float64 { return 1 })
	asked := 0
	gone := errors.New("gone")
	c.Interrupted = func() error {
		if asked++; asked == 5 {
			return gone
		}
		return nil
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Run(); !errors.Is(err, gone) || asked != 5 {
		t.Errorf("asked %d times, error %v", asked, err)
	}
}

func TestFilled(t *testing.T) {
	nan := math.NaN()
	got := Filled([]float64{nan, 2, nan, 4, nan, nan, nan, 8, nan}, 2)
	for i, want := range []float64{2, 2, 3, 4, 4, 4, 4, 8, 8} {
		// The gap of three is longer than the limit after its second tick.
		if i >= 4 && i <= 6 {
			if got[i] < 4 || got[i] > 8 {
				t.Errorf("tick %d: %g", i, got[i])
			}
			continue
		}
		if got[i] != want {
			t.Errorf("tick %d: %g, want %g", i, got[i], want)
		}
	}
}
