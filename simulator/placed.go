package simulator

import (
	"slices"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/planner"
	"github.com/placed-dev/placed/predictor"
)

// Placed is the product's own pass: predictor, planner and scorer as the leader
// runs them, on the View that the books and the reports would give.
type Placed struct {
	Title string
	Model predictor.Model
	// IDs of the workloads by index, and the hosts' by index.
	IDs   []fleet.WorkloadID
	Hosts []fleet.HostID
	// FirstTick is the number of tick 0 on the load clock.
	FirstTick int64
	// Warm is the first tick that is observed; what lies more than eight days
	// before the first decision is forgotten anyway.
	Warm int
	// Every is how many ticks lie between two forecasts of a workload (1 =
	// the product's own pace); between them its last one goes on.
	Every int
	// Seen, if not nil, has what the agents reported, observed once for several
	// runs; Warm and Every do not apply then.
	Seen *Observations
	// Future, if not nil, makes this the oracle of the product's planner: it
	// decides from the recorded demand of the next hour (cores per workload and
	// tick), and Model, Seen and Replay are not asked. It needs Ahead.
	Future func(workload, tick int) float64
	// Ahead, if not nil, weighs the coming day (planner.PlanAhead); Scenarios
	// and Minutes are filled in here from Replay.
	Ahead  *planner.Ahead
	Replay predictor.Replay
	Par    planner.Par

	workload map[fleet.WorkloadID]int
	host     map[fleet.HostID]int
	series   []*predictor.Series
	newest   []fleet.Series     // as last reported
	errors   [][]fleet.Residual // of the last day, newest last
	history  [][]float32        // millicores, newest last
	streaks  []fleet.BreachStreak
	rows     [][]float32
	rowsAt   int
	truth    *truth
	exact    []fleet.Series
}

// Name of the decider.
func (p *Placed) Name() string { return p.Title }

// Observe feeds the series, as the hosts' agents do.
func (p *Placed) Observe(tick int, demand []float64) {
	if p.series == nil {
		p.start(len(demand))
	}
	if p.Ahead != nil && p.truth == nil {
		for w, d := range demand {
			if len(p.history[w]) == cap(p.history[w]) {
				n := copy(p.history[w], p.history[w][len(p.history[w])-p.Replay.Ticks():])
				p.history[w] = p.history[w][:n]
			}
			p.history[w] = append(p.history[w], float32(d*1000))
		}
	}
	if tick < p.Warm || p.Seen != nil || p.truth != nil {
		return
	}
	every := max(p.Every, 1)
	p.par(len(demand), func(w int) {
		s := p.series[w]
		s.Observe(p.FirstTick+int64(tick), demand[w]*1000)
		past := p.errors[w]
		if r, ok := s.LastResidual(); ok {
			if len(past) == predictor.Window {
				past = past[1:]
			}
			past = append(past, r)
			p.errors[w] = past
		}
		if m := &p.newest[w]; (tick+w)%every == 0 || m.Tick == 0 {
			// What is appended later lies behind the end of the clipped
			// slice.
			m.Tick, m.Features, m.Residuals = s.Tick(), s.Features(), slices.Clip(past)
		}
	})
}

func (p *Placed) start(n int) {
	p.workload, p.host = map[fleet.WorkloadID]int{}, map[fleet.HostID]int{}
	p.series, p.newest, p.errors = make([]*predictor.Series, n), make([]fleet.Series, n), make([][]fleet.Residual, n)
	p.history = make([][]float32, n)
	if p.Future != nil {
		p.truth = &truth{future: p.Future}
		p.Model = p.truth
	}
	for w := range n {
		p.workload[p.IDs[w]] = w
		if p.Seen == nil && p.truth == nil {
			p.series[w] = predictor.NewSeries()
			p.newest[w] = fleet.Series{Workload: p.IDs[w], Resource: fleet.CPU, FeatureVersion: predictor.FeatureVersion}
		}
		if p.Ahead != nil && p.truth == nil {
			p.history[w] = make([]float32, 0, p.Replay.Ticks()+int(ticksPerDay))
		}
	}
	for h, id := range p.Hosts {
		p.host[id] = h
	}
}

// Decide runs one pass.
func (p *Placed) Decide(s Situation) ([]Move, error) {
	if s.Allowed == 0 && s.Policy.HoldPasses <= 1 {
		return nil, nil // nothing may move, and there is no streak to keep
	}
	view := s.View()
	if p.truth != nil {
		p.exact = p.truth.series(p.IDs, p.FirstTick, s.Tick)
	}
	for i := range view.Workloads {
		v := &view.Workloads[i]
		w := p.workload[v.ID]
		v.Usage = fleet.Vector{CPU: millicores(s.Demand[w]), Memory: s.Memory[w]}
		v.Size, v.WriteRate = s.Memory[w], 1
		v.Series = []fleet.Series{p.known(s.Tick, w)}
	}
	view.Breaches = p.streaks
	if s.Allowed == 0 {
		// The budget is spent: the pass explains, and keeps its streaks.
		view.Policy.Automation = fleet.Observe
		_, p.streaks = planner.PlanBrief(view, p.Model, p.Par)
		return nil, nil
	}
	view.Policy.MovesPerPass = min(view.Policy.MovesPerPass, int64(s.Allowed))
	var plan fleet.Plan
	if p.Ahead == nil {
		plan, p.streaks = planner.PlanBrief(view, p.Model, p.Par) // nobody reads the rest
	} else {
		plan, p.streaks = planner.PlanAhead(view, p.Model, p.outlook(s.Tick), p.Par)
	}
	moves := make([]Move, len(plan.Moves))
	for i, m := range plan.Moves {
		at := slices.IndexFunc(plan.Decisions, func(d fleet.Decision) bool { return d.ID == m.Decision })
		moves[i] = Move{Workload: p.workload[m.Workload], To: p.host[m.To], Type: m.Type, Decision: &plan.Decisions[at]}
	}
	return moves, nil
}

// known is what has been reported of a workload by the end of a tick.
func (p *Placed) known(tick, w int) fleet.Series {
	switch {
	case p.truth != nil:
		return p.exact[w]
	case p.Seen != nil:
		return p.Seen.Series(tick, w)
	}
	return p.newest[w]
}

// outlook replays the past days for the pass of one tick.
func (p *Placed) outlook(tick int) planner.Ahead {
	a := *p.Ahead
	a.Brief = true // nobody reads forecasts and hashes of simulated passes
	if p.truth != nil {
		// It knows an hour, which its forecasts hold, and nothing beyond.
		a.Minutes, a.Scenarios = nil, func(fleet.WorkloadID) []float32 { return nil }
		return a
	}
	a.Minutes = replayMinutes(p.Replay)
	a.Scenarios = func(id fleet.WorkloadID) []float32 {
		if p.rows == nil || p.rowsAt != tick {
			p.replay(tick) // few passes have a host to relieve
		}
		return p.rows[p.workload[id]]
	}
	return a
}

// replay replays the past days of every workload.
func (p *Placed) replay(tick int) {
	p.rows, p.rowsAt = make([][]float32, len(p.history)), tick
	p.par(len(p.rows), func(w int) {
		row := make([]float32, p.Replay.Len())
		if p.Replay.Fill(p.history[w], row) {
			p.rows[w] = row
		}
	})
}

// replayMinutes is what each value of a replay stands for: the minutes to the
// one before, shared among the days.
func replayMinutes(r predictor.Replay) []float64 {
	var out []float64
	for range r.Days {
		last := Ahead // the coming hour is the forecasts' own
		for _, k := range r.Offsets {
			out = append(out, float64(k-last)*tickSeconds/60/float64(r.Days))
			last = k
		}
	}
	return out
}

func (p *Placed) par(n int, do func(i int)) {
	if p.Par != nil {
		p.Par(n, do)
		return
	}
	for i := range n {
		do(i)
	}
}

// DayOffsets are the ticks that a replay looks at: one in three of the day beyond
// the coming hour.
func DayOffsets() []int {
	var out []int
	for k := Ahead + 3; k <= int(ticksPerDay); k += 3 {
		out = append(out, k)
	}
	return out
}
