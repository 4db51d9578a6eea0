package daemon

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/httpapi"
)

// guests is a hypervisor in memory: what its domains have been set to, and guests that
// give memory a gibibyte at a time.
type guests struct {
	driver.Driver

	mu    sync.Mutex
	found []driver.Found
	knob  map[fleet.WorkloadID]map[fleet.AdjustmentKind]*fleet.Knob
	asked map[fleet.WorkloadID]int64 // of memory
}

const oneGiB = int64(1) << 30

func newGuests() *guests {
	g := &guests{knob: map[fleet.WorkloadID]map[fleet.AdjustmentKind]*fleet.Knob{}, asked: map[fleet.WorkloadID]int64{}}
	for id, memory := range map[fleet.WorkloadID]int64{"w1": 6 * oneGiB, "w2": 5 * oneGiB} {
		g.found = append(g.found, driver.Found{State: driver.Running, Token: fleet.Token{Cluster: cluster, Generation: 1, Index: 1},
			Spec: driver.Spec{ID: id, Driver: "guests", Size: memory, Settings: map[string]string{"pinned": "yes"}, Reserve: fleet.Vector{CPU: 100, Memory: memory}}})
		g.knob[id] = map[fleet.AdjustmentKind]*fleet.Knob{fleet.CPUWeight: {Kind: fleet.CPUWeight, Now: 100, Least: 1, Most: 10_000}}
		g.asked[id] = memory
	}
	g.knob["w1"][fleet.Balloon] = &fleet.Knob{Kind: fleet.Balloon, Now: 6 * oneGiB, Least: oneGiB, Most: 6 * oneGiB}
	slices.SortFunc(g.found, func(a, b driver.Found) int { return cmp.Compare(a.Spec.ID, b.Spec.ID) })
	return g
}

// guests are what the site's first agent finds, which looks more often than others.
func (s *site) guests() *guests {
	g := newGuests()
	s.prepare = func(i int, d *Daemon) {
		if i == 0 {
			d.drivers["guests"] = g
			d.look = observeEvery / 50
		}
	}
	return g
}

func (*guests) Name() string { return "guests" }

func (g *guests) Inventory(context.Context) ([]driver.Found, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.found), nil
}

func (g *guests) Knobs(_ context.Context, id fleet.WorkloadID) (out []fleet.Knob, _ error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, kind := range []fleet.AdjustmentKind{fleet.CPUWeight, fleet.Balloon} {
		if k := g.knob[id][kind]; k != nil {
			if kind == fleet.Balloon {
				k.Now = max(k.Now-oneGiB, min(k.Now, g.asked[id]))
			}
			out = append(out, *k)
		}
	}
	return out, nil
}

func (g *guests) Adjust(_ context.Context, id fleet.WorkloadID, kind fleet.AdjustmentKind, amount int64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	k := g.knob[id][kind]
	if k == nil {
		return driver.ErrCannotAdjust
	}
	if kind != fleet.Balloon || amount > k.Now {
		k.Now = amount
	}
	g.asked[id] = amount
	return nil
}

func (g *guests) now(id fleet.WorkloadID, kind fleet.AdjustmentKind) int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.knob[id][kind].Now
}

func (g *guests) gone(id fleet.WorkloadID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.found = slices.DeleteFunc(g.found, func(f driver.Found) bool { return f.Spec.ID == id })
}

// TestMemoryIsReclaimedAndGivenBack: more is reserved on a host than it has. The
// leader's passes have a guest give what it does not use, the books lower its
// reservation when it has, and raise it again before it gets its memory back. A weight
// goes with its agent and comes with the next, and before a move it is taken back.
func TestMemoryIsReclaimedAndGivenBack(t *testing.T) {
	s := newSite(t, 48)
	g := s.guests()
	var agents [3]*Daemon
	var stops [3]func()
	for i := range agents {
		agents[i], stops[i] = s.start(i)
	}
	for _, d := range agents {
		until(t, "a fleet that is led", func() error {
			_, _, _, known := d.leadership()
			if !known {
				return fmt.Errorf("no leader")
			}
			return nil
		})
	}
	ctx := t.Context()
	setPolicy := func(change func(*fleet.Policy)) {
		t.Helper()
		p := fleet.DefaultPolicy()
		p.Automation, p.HoldPasses = fleet.Auto, 1
		change(&p)
		until(t, "the policy is set", func() error {
			_, err := backend{agents[1]}.SetPolicy(ctx, httpapi.Write{ID: fmt.Sprint(p), By: "test"}, httpapi.PolicyOf(p))
			return err
		})
	}
	setPolicy(func(p *fleet.Policy) { p.InPlace = fleet.InPlace{CPUWeight: true, Balloon: true} })
	// The books as the second agent has them, whoever leads.
	standing := func(id fleet.WorkloadID, kind fleet.AdjustmentKind) (a fleet.Adjustment, memory int64) {
		a.State = fleet.AdjustmentFailed
		agents[1].books.Read(func(s *fsm.State) {
			w, _ := s.Workload(id)
			memory = w.Reservation.Memory
			for _, x := range s.Adjustments() {
				if x.Workload == id && x.Kind == kind {
					a = x
				}
			}
		})
		return a, memory
	}
	// 11 GiB are reserved of 7.
	until(t, "a guest gives what is short", func() error {
		if a, memory := standing("w1", fleet.Balloon); a.State != fleet.AdjustmentApplied || memory != 2*oneGiB || g.now("w1", fleet.Balloon) != 2*oneGiB {
			return fmt.Errorf("%+v, %d reserved, the guest has %d", a, memory, g.now("w1", fleet.Balloon))
		}
		return nil
	})
	until(t, "a weight is in the books", func() error {
		return agents[0].propose(ctx, fsm.Adjust{Adjustment: fleet.Adjustment{Workload: "w1", Kind: fleet.CPUWeight, Before: 100, Want: 400, Since: agents[0].sight.view().Now}})
	})
	weighs := func(want int64) func() error {
		return func() error {
			if a, _ := standing("w1", fleet.CPUWeight); a.State != fleet.AdjustmentApplied || g.now("w1", fleet.CPUWeight) != want {
				return fmt.Errorf("%+v, weight %d", a, g.now("w1", fleet.CPUWeight))
			}
			return nil
		}
	}
	until(t, "the weight is raised", weighs(400))
	stops[0]()
	if err := weighs(100)(); err != nil {
		t.Errorf("an agent that has stopped: %v", err)
	}
	if g.now("w1", fleet.Balloon) != 2*oneGiB {
		t.Error("memory that may be promised to others was given back")
	}
	agents[0], stops[0] = s.start(0)
	until(t, "the next agent makes it true again", weighs(400))
	until(t, "the weight is taken back before a move", func() error {
		if err := agents[0].adjuster.settle(ctx, "w1"); err != nil {
			return err
		}
		if a, _ := standing("w1", fleet.CPUWeight); a.Workload != "" || g.now("w1", fleet.CPUWeight) != 100 {
			return fmt.Errorf("%+v, weight %d", a, g.now("w1", fleet.CPUWeight))
		}
		return nil
	})
	setPolicy(func(*fleet.Policy) {})
	if a, memory := standing("w1", fleet.Balloon); a.Workload == "" || memory != 2*oneGiB {
		t.Errorf("without room the books gave back what is promised: %+v, %d reserved", a, memory)
	}
	g.gone("w2")
	until(t, "the other workload has left the books", func() error { return agents[0].propose(ctx, fsm.DeregisterWorkload{Workload: "w2"}) })
	until(t, "the guest has its memory again", func() error {
		if a, memory := standing("w1", fleet.Balloon); a.Workload != "" || memory != 6*oneGiB || g.now("w1", fleet.Balloon) != 6*oneGiB {
			return fmt.Errorf("%+v, %d reserved, the guest has %d", a, memory, g.now("w1", fleet.Balloon))
		}
		return nil
	})
	var decisions []string
	until(t, "every step is explained", func() error {
		answer, err := backend{agents[1]}.Why(ctx, "w1")
		if err != nil {
			return err
		}
		decisions = nil
		for _, d := range answer.Decisions {
			decisions = append(decisions, d.Outcome)
		}
		if !slices.Contains(decisions, "adjust") || !slices.Contains(decisions, "undo") {
			return fmt.Errorf("decisions %q", decisions)
		}
		return nil
	})
}
