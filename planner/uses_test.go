package planner

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// trialUse is what a workload uses of a resource beside cpu, in base units.
type trialUse struct {
	resource fleet.Resource
	load     func(tick int64) float64
	past     []float64
}

// use lets a workload use memory (GiB) or net or disk (MiB a second), by a pattern of
// thousandths.
func (f *trial) use(id fleet.WorkloadID, r fleet.Resource, pattern func(int64) float64) {
	unit := float64(1<<20) / 1000
	if r == fleet.Memory {
		unit = float64(1<<30) / 1000
	}
	f.uses[id] = append(f.uses[id], &trialUse{resource: r, load: func(tick int64) float64 { return unit * pattern(tick) }})
}

// reportUses adds the series of a workload's other resources to its report. They take
// turns, so they are one to three ticks old.
func (f *trial) reportUses(w *fleet.WorkloadView) {
	for i, u := range f.uses[w.ID] {
		if len(u.past) == 0 {
			continue
		}
		w.Usage = w.Usage.With(u.resource, int64(u.past[len(u.past)-1]))
		age := int((f.tick + int64(i)) % 3)
		past := u.past[:max(len(u.past)-age, 1)]
		s := reportYesterday(w.ID, f.tick-int64(len(u.past)-len(past)), past)
		s.Resource = u.resource
		w.Series = append(w.Series, s)
	}
}

// TestOthersChangeNothing: where nobody reports series of the other resources, or where
// the hosts have not declared them, what is planned is what cpu alone makes of it, to
// the last byte.
func TestOthersChangeNothing(t *testing.T) {
	grow := func(f *trial) *trial {
		for _, h := range []string{"h1", "h2", "h3"} {
			f.host(h, 8000, 64*gib)
		}
		for i, id := range []string{"a", "b", "c", "d"} {
			f.workload(id, []string{"h1", "h1", "h1", "h2"}[i], gib, pattern("1.5+2@10h", 2*time.Hour))
		}
		return f
	}
	policy := autoPolicy()
	policy.HoldPasses = 1
	plain, others := grow(newTrial(policy)), grow(newTrial(policy))
	plain.model, others.model = yesterday{}, yesterday{}
	for _, id := range []fleet.WorkloadID{"a", "b", "c", "d"} {
		others.use(id, fleet.Net, pattern("100+500@9h", 2*time.Hour))
		others.use(id, fleet.Memory, pattern("30", 0))
	}
	plain.advance(51 * 12)
	others.advance(51 * 12)
	decided := 0
	for range 100 {
		x, y := plain.pass(), others.pass()
		for _, f := range y.Forecasts {
			if f.Resource == fleet.Net {
				t.Fatal("network is forecast against a line that nobody has declared")
			}
		}
		for i := range x.Decisions {
			x.Decisions[i].InputHash = ""
		}
		for i := range y.Decisions {
			y.Decisions[i].InputHash = ""
		}
		if !reflect.DeepEqual(x.Decisions, y.Decisions) || !reflect.DeepEqual(x.Contentions, y.Contentions) {
			t.Fatalf("%s: %+v\nwith other series: %+v", plain.view.Now, x.Decisions, y.Decisions)
		}
		decided += len(x.Moves)
	}
	if decided == 0 {
		t.Fatal("nothing was moved: the test shows nothing")
	}
}

// TestUsesForeseen: the forecast of a host's network says how probably and by how much
// it crosses the line, and stands as often as one is declared and measured.
func TestUsesForeseen(t *testing.T) {
	f := newTrial(autoPolicy())
	f.model = yesterday{}
	h := f.host("h1", 8000, 64*gib)
	h.Capacity.Net = 1000 << 20
	f.host("h2", 8000, 64*gib).Capacity.Net = 1000 << 20
	f.workload("a", "h1", gib, constant(1000))
	f.workload("b", "h1", gib, constant(1000))
	f.use("a", fleet.Net, pattern("600+600@10h", 2*time.Hour))
	f.use("b", fleet.Net, pattern("100", 0))
	f.advance(57*12 + 9) // 09:45: the peak begins within the hour
	plan, _ := Plan(f.view, f.model, nil)
	var net []fleet.Forecast
	for _, one := range plan.Forecasts {
		if one.Resource == fleet.Net {
			net = append(net, one)
		}
		if one.Resource == fleet.CPU && len(one.Over) != len(one.Steps) {
			t.Errorf("cpu of %s has %d probabilities", one.Of, len(one.Over))
		}
	}
	if len(net) != 1 || net[0].Of != "h1" || len(net[0].Over) != 12 || len(net[0].Excess) != 12 {
		t.Fatalf("%+v", net)
	}
	if before, after := net[0].Over[0], net[0].Over[11]; before > 0.05 || after < 0.9 {
		t.Errorf("probabilities %v", net[0].Over)
	}
	if before, after := net[0].Excess[0], net[0].Excess[11]; before != 0 || after < 50<<20 || after > 400<<20 {
		t.Errorf("expected excess %v", net[0].Excess)
	}
	found := false
	for _, c := range plan.Contentions {
		found = found || c.Resource == fleet.Net && !c.Now && c.Allocatable == 1000<<20 && c.Steps > 0
	}
	if !found || !strings.Contains(plan.Decisions[0].Reason, "MiB/s of net") {
		t.Errorf("%+v; %s", plan.Contentions, plan.Decisions[0].Reason)
	}
}

// BenchmarkPlanUses: what the series of memory, network and disk add to a pass.
func BenchmarkPlanUses(b *testing.B) {
	for _, resources := range []int{0, len(beside)} {
		b.Run(fmt.Sprintf("100x1000+%d", resources), func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 2))
			policy := autoPolicy()
			policy.HoldPasses = 1
			f := randomFleet(r, policy, 100, 1000, 0.6, 0.2)
			f.model = yesterday{}
			for i := range f.view.Hosts {
				h := &f.view.Hosts[i]
				h.Capacity.Net, h.Capacity.Disk, h.Overcommit.Memory = 1<<40, 1<<40, 2000
			}
			for _, w := range f.view.Workloads {
				for _, resource := range beside[:resources] {
					f.use(w.ID, resource, pattern("1+1@10h", 2*time.Hour))
				}
			}
			f.advance(300)
			for b.Loop() {
				Plan(f.view, f.model, nil)
			}
		})
	}
}
