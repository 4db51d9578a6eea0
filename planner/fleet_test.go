package planner

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/predictor"
)

// start is the load time at which the fleets of the tests begin.
var start = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)

const gib = int64(1) << 30

// yesterday is a model that forecasts what was 24 hours before the target. The
// stories use it, so that their figures do not change with the weights of the
// predictor's baseline.
type yesterday struct{}

func (yesterday) Name() string { return "yesterday" }

func (yesterday) Centre(features []float32, step int) float64 {
	return float64(features[yesterdayFeature(step)])
}

func yesterdayFeature(step int) int {
	return predictor.FeatureSteps + (step-1)*predictor.FeaturesPerStep + 2
}

const day = 288 // ticks

// reportYesterday is what a host would report for that model.
func reportYesterday(of fleet.WorkloadID, tick int64, values []float64) fleet.Series {
	n := len(values)
	before := func(i int) float64 { return values[max(i-day, 0)] }
	s := fleet.Series{Workload: of, Resource: fleet.CPU, Tick: tick, FeatureVersion: predictor.FeatureVersion,
		Features: make([]float32, predictor.FeatureCount)}
	window := values[max(n-day, 0):]
	for _, v := range window {
		s.Features[dayMeanFeature] += float32(v / float64(len(window)))
	}
	s.Features[predictor.FeatureLags] = float32(values[n-1])
	for k := 1; k <= predictor.Steps; k++ {
		s.Features[yesterdayFeature(k)] = float32(before(n - 1 + k))
	}
	for i := max(n-predictor.Window, 1); i < n; i++ {
		r := fleet.Residual{Tick: tick - int64(n-1-i), Errors: make([]float32, predictor.Steps)}
		for k := range r.Errors {
			r.Errors[k] = float32(values[i] - before(i))
		}
		s.Residuals = append(s.Residuals, r)
	}
	return s
}

// trial is a fleet in virtual time: loads come from functions of the tick, the
// planner sees them only through the series of their past, and its moves are
// applied at once.
type trial struct {
	model    predictor.Model
	past     map[fleet.WorkloadID][]float64
	view     fleet.View
	series   map[fleet.WorkloadID]*predictor.Series
	reported map[fleet.WorkloadID]fleet.Series
	load     map[fleet.WorkloadID]func(tick int64) float64 // millicores
	moved    map[fleet.WorkloadID][]time.Time
	pushed   map[fleet.WorkloadID]fleet.Vector // metrics of features
	uses     map[fleet.WorkloadID][]*trialUse  // of resources beside cpu
	tick     int64                             // the newest observed one
}

func newTrial(policy fleet.Policy) *trial {
	return &trial{
		model: predictor.Baseline{}, past: map[fleet.WorkloadID][]float64{},
		view:   fleet.View{Cluster: "test", Index: 1, TimeScale: 1, Policy: policy},
		series: map[fleet.WorkloadID]*predictor.Series{}, reported: map[fleet.WorkloadID]fleet.Series{}, load: map[fleet.WorkloadID]func(int64) float64{},
		moved: map[fleet.WorkloadID][]time.Time{}, pushed: map[fleet.WorkloadID]fleet.Vector{}, uses: map[fleet.WorkloadID][]*trialUse{}, tick: fleet.TickOf(start) - 1,
	}
}

func (f *trial) host(id string, cpu, memory int64) *fleet.HostView {
	f.view.Hosts = append(f.view.Hosts, fleet.HostView{Host: fleet.Host{
		ID: fleet.HostID(id), Name: id, Zone: "z1",
		Capacity: fleet.Vector{CPU: cpu, Memory: memory, Net: fleet.Unknown, Disk: fleet.Unknown},
	}, Bandwidth: 1 << 30})
	return &f.view.Hosts[len(f.view.Hosts)-1]
}

func (f *trial) workload(id, host string, memory int64, load func(tick int64) float64) *fleet.WorkloadView {
	w := fleet.WorkloadView{Workload: fleet.Workload{
		ID: fleet.WorkloadID(id), Driver: "region", Owner: fleet.HostID(host),
		Reservation: fleet.Vector{Memory: memory}, Tolerance: 500,
	}, Size: memory, WriteRate: memory / 100, WorkingSet: memory / 10}
	f.view.Workloads = append(f.view.Workloads, w)
	f.series[w.ID], f.load[w.ID] = predictor.NewSeries(), load
	return &f.view.Workloads[len(f.view.Workloads)-1]
}

// advance observes n more ticks and refreshes the view.
func (f *trial) advance(n int) {
	for range n {
		f.tick++
		for _, w := range f.view.Workloads {
			value := min(f.load[w.ID](f.tick), ownLimit(w))
			f.past[w.ID] = append(f.past[w.ID], value)
			for _, u := range f.uses[w.ID] {
				u.past = append(u.past, u.load(f.tick))
			}
			if f.model == (predictor.Baseline{}) {
				f.series[w.ID].Observe(f.tick, value)
			}
		}
	}
	f.refresh()
}

// refresh is what reports and books would show right after the newest tick.
func (f *trial) refresh() {
	f.view.Now = fleet.TickStart(f.tick + 1)
	f.view.Index++
	at := map[fleet.HostID]*fleet.HostView{}
	for i := range f.view.Hosts {
		h := &f.view.Hosts[i]
		h.Held, h.Usage = fleet.Vector{}, h.Foreign
		if h.Name != "silent" {
			h.Reported = f.view.Now
		}
		at[h.ID] = h
	}
	for i := range f.view.Workloads {
		w := &f.view.Workloads[i]
		past := f.past[w.ID]
		w.Usage = fleet.Vector{CPU: int64(past[len(past)-1]), Memory: w.Reservation.Memory, Named: f.pushed[w.ID].Named}
		if f.model == (predictor.Baseline{}) {
			w.Series = []fleet.Series{f.report(w.ID)}
		} else {
			w.Series = []fleet.Series{reportYesterday(w.ID, f.tick, past)}
		}
		f.reportUses(w)
		h := at[w.Owner]
		h.Held, h.Usage = h.Held.Add(w.Reservation), h.Usage.Add(w.Usage)
	}
	for _, l := range f.view.Leases {
		if h := at[l.Destination]; h != nil && l.HoldsDestination() {
			h.Held = h.Held.Add(l.Reservation)
		}
	}
}

// apply carries a plan out at once, with the cool-down that the books keep: it
// doubles with each move within the reset time.
func (f *trial) apply(plan fleet.Plan) {
	policy := f.view.Policy
	for _, m := range plan.Moves {
		var recent []time.Time
		for _, at := range f.moved[m.Workload] {
			if f.view.Now.Sub(at) < policy.CooldownReset {
				recent = append(recent, at)
			}
		}
		for i := range f.view.Workloads {
			if w := &f.view.Workloads[i]; w.ID == m.Workload {
				w.Owner = m.To
				w.Epoch++
				w.CooldownUntil = f.view.Now.Add(policy.Cooldown << len(recent))
			}
		}
		f.moved[m.Workload] = append(recent, f.view.Now)
		f.view.Grants = append(f.view.Grants, f.view.Now)
	}
	f.adjust(plan)
	f.stand(plan)
	if len(f.view.Grants) > 64 {
		f.view.Grants = f.view.Grants[len(f.view.Grants)-64:]
	}
}

// stand begins the standbys of a plan, complete from the next pass on, and ends those
// that it promotes or gives up.
func (f *trial) stand(plan fleet.Plan) {
	ended := map[fleet.LeaseID]bool{}
	for _, m := range plan.Moves {
		ended[m.Lease] = true
	}
	for _, e := range plan.Cancel {
		ended[e.Lease] = true
	}
	f.view.Leases = slices.DeleteFunc(slices.Clone(f.view.Leases), func(l fleet.Lease) bool { return l.ID != "" && ended[l.ID] })
	f.view.Standbys = slices.DeleteFunc(slices.Clone(f.view.Standbys), func(s fleet.Standby) bool { return ended[s.Lease] })
	for _, m := range plan.Standbys {
		l := fleet.Lease{ID: fleet.LeaseID("S" + m.Decision), Kind: fleet.LeaseStandby, Workload: m.Workload, Source: m.From, Destination: m.To,
			Type: m.Type, State: fleet.Transferring, Reservation: m.Reservation, Decision: m.Decision}
		f.view.Leases = append(f.view.Leases, l)
		f.view.Standbys = append(f.view.Standbys, fleet.Standby{Lease: l.ID, Refresh: 2 * time.Second, Took: 100 * time.Millisecond})
	}
}

// adjust does at once what the plan changes in place, and takes back what it says.
func (f *trial) adjust(plan fleet.Plan) {
	set := func(a fleet.Adjustment, amount int64) {
		for i := range f.view.Workloads {
			w := &f.view.Workloads[i]
			for k := range w.Knobs {
				if w.ID == a.Workload && w.Knobs[k].Kind == a.Kind {
					w.Knobs = slices.Clone(w.Knobs)
					w.Knobs[k].Now = amount
					w.Reservation = w.Reservation.Add(fleet.Vector{Memory: a.Change.Memory})
				}
			}
		}
	}
	for _, a := range plan.Adjust {
		a.State = fleet.AdjustmentApplied
		if a.Kind == fleet.Balloon {
			a.Change.Memory = a.Want - a.Before
		}
		f.view.Adjustments = append(slices.Clone(f.view.Adjustments), a)
		set(a, a.Want)
	}
	for _, u := range plan.Undo {
		f.view.Adjustments = slices.DeleteFunc(slices.Clone(f.view.Adjustments), func(a fleet.Adjustment) bool {
			if a.Workload != u.Workload || a.Kind != u.Kind {
				return false
			}
			a.Change.Memory = -a.Change.Memory
			set(a, a.Before)
			return true
		})
	}
}

// ownLimit is what a workload's quota and vCPUs let it use, millicores.
func ownLimit(w fleet.WorkloadView) float64 {
	limit := math.Inf(1)
	for _, k := range w.Knobs {
		switch k.Kind {
		case fleet.CPUQuota:
			limit = min(limit, float64(k.Now))
		case fleet.VCPUs:
			limit = min(limit, float64(1000*k.Now))
		}
	}
	return limit
}

// pass observes one tick, plans and applies.
func (f *trial) pass() fleet.Plan {
	f.advance(1)
	plan, streaks := Plan(f.view, f.model, nil)
	f.view.Breaches = streaks
	f.apply(plan)
	return plan
}

// ar1 is stationary noise: mean, coefficient of variation, correlation .8.
func ar1(r *rand.Rand, mean, cv float64) func(int64) float64 {
	const rho = 0.8
	x := r.NormFloat64()
	return func(int64) float64 {
		x = rho*x + math.Sqrt(1-rho*rho)*r.NormFloat64()
		return max(mean*(1+cv*x), 0)
	}
}

func constant(v float64) func(int64) float64 { return func(int64) float64 { return v } }

// randomFleet draws a small fleet whose total load is a given share of its
// capacity and whose start is uneven.
func randomFleet(r *rand.Rand, policy fleet.Policy, hosts, workloads int, share, cv float64) *trial {
	f := newTrial(policy)
	const cpu = 16000
	for i := range hosts {
		f.host(fmt.Sprintf("h%02d", i), cpu, 256*gib)
	}
	weights := make([]float64, workloads)
	total := 0.0
	for i := range weights {
		weights[i] = 0.2 + r.ExpFloat64()
		total += weights[i]
	}
	for i, weight := range weights {
		mean := weight / total * share * float64(hosts) * cpu
		host := fmt.Sprintf("h%02d", min(r.IntN(hosts), r.IntN(hosts)))
		f.workload(fmt.Sprintf("w%03d", i), host, 1+r.Int64N(8)*gib, ar1(r, mean, cv*r.Float64()))
	}
	return f
}
