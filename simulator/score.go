package simulator

import (
	"cmp"
	"math"
	"slices"
)

// Result is what a run came to. Times are load time.
type Result struct {
	Decider   string  `json:"decider"`
	Hosts     int     `json:"hosts"`
	Workloads int     `json:"workloads"`
	Days      float64 `json:"days"`
	// ContendedPerDay is contended VM-minutes per day: minutes × the share of
	// the demand that is above capacity, summed over the workloads of the host.
	ContendedPerDay float64 `json:"contended_vm_minutes_per_day"`
	// OverloadPerDay is how many minutes a day hosts were above capacity,
	// summed over the hosts; Unserved the share of the demand above capacity.
	OverloadPerDay float64 `json:"overload_host_minutes_per_day"`
	Unserved       float64 `json:"unserved_share"`
	Moves          int     `json:"moves"`
	MovesPerVMDay  float64 `json:"moves_per_vm_day"`
	// False counts moves whose source would not have been contended within an
	// hour had the workload stayed, Harmful those whose target is contended
	// within an hour only because of them.
	False   int `json:"false_moves"`
	Harmful int `json:"harmful_moves"`
	// Returns counts moves back to a host that the workload left within a
	// day (thrash).
	Returns int `json:"returns"`
	// LeadMinutes: from the decision to the contention that it prevents, over
	// the moves that are not false; 5 means the very next tick.
	LeadMinutes Spread `json:"lead_minutes"`
	// Utilisation of the fleet, and Imbalance: the standard deviation of the
	// hosts' utilisation, both as means over the ticks.
	Utilisation float64 `json:"utilisation"`
	Imbalance   float64 `json:"imbalance"`
	// Refused counts what the books refused, by reason; BrokenOff the moves
	// that faults ended.
	Refused   []Refusal `json:"refused,omitempty"`
	BrokenOff int       `json:"broken_off,omitempty"`
	// Warnings say what makes the load implausible.
	Warnings []string `json:"warnings,omitempty"`
	// Timeline has one point per hour.
	Timeline []Point `json:"timeline,omitempty"`
}

// Spread of a distribution; zero without values.
type Spread struct {
	P10 float64 `json:"p10"`
	P50 float64 `json:"p50"`
	P90 float64 `json:"p90"`
}

// Refusal of the books and how often it was given.
type Refusal struct {
	Reason string `json:"reason"`
	Count  int    `json:"count"`
}

// Point of the timeline: the hour it begins, after the window's begin.
type Point struct {
	Hour        int     `json:"hour"`
	Contended   float64 `json:"contended_vm_minutes"`
	Moves       int     `json:"moves"`
	Utilisation float64 `json:"utilisation"`
	// Busiest is the utilisation of the busiest host.
	Busiest float64 `json:"busiest"`
}

// score gathers the figures of a run.
type score struct {
	contended, overload, unserved, asked float64
	utilisation, imbalance               float64
	samples                              int
	moves, falseMoves, harmful           int
	returns, brokenOff                   int
	leads                                []float64
	refused                              map[string]int
	left                                 map[[2]int]int // workload, host → tick of leaving
	timeline                             []Point

	load  []float64
	count []int
}

func newScore(c Config) score {
	return score{
		refused: map[string]int{}, left: map[[2]int]int{},
		load: make([]float64, len(c.Hosts)), count: make([]int, len(c.Hosts)),
	}
}

// charge counts a stretch of so many minutes in which nothing changes.
func (r *score) charge(s *Simulation, minutes float64) {
	if minutes <= 0 {
		return
	}
	clear(r.load)
	clear(r.count)
	for w, h := range s.at {
		r.load[h] += s.demand[w]
		r.count[h]++
	}
	for _, f := range s.flights {
		if f.begun {
			extra := s.cfg.Migration.Degradation * s.demand[f.workload]
			r.load[f.from] += extra
			r.load[f.to] += extra
		}
	}
	for h, load := range r.load {
		r.asked += load * minutes
		if load > s.capacity[h] {
			share := (load - s.capacity[h]) / load
			contended := minutes * share * float64(r.count[h])
			r.contended += contended
			r.point().Contended += contended
			r.overload += minutes
			r.unserved += (load - s.capacity[h]) * minutes
		}
	}
}

// sample takes the state at the end of a tick.
func (r *score) sample(s *Simulation) {
	total, all, square, busiest := 0.0, 0.0, 0.0, 0.0
	for h, load := range r.load {
		u := load / s.capacity[h]
		busiest = max(busiest, u)
		total, all, square = total+load, all+s.capacity[h], square+u*u
	}
	mean := 0.0
	for h, load := range r.load {
		mean += load / s.capacity[h] / float64(len(r.load))
	}
	r.utilisation += total / all
	r.imbalance += math.Sqrt(max(square/float64(len(r.load))-mean*mean, 0))
	p := r.point()
	p.Utilisation += total / all / (ticksPerDay / 24)
	p.Busiest = max(p.Busiest, busiest)
	r.samples++
}

// point is the hour of the timeline that is being played.
func (r *score) point() *Point {
	hour := r.samples / int(ticksPerDay/24)
	if hour == len(r.timeline) {
		r.timeline = append(r.timeline, Point{Hour: hour})
	}
	return &r.timeline[hour]
}

func (r *score) refuse(reason string) { r.refused[reason]++ }

func (r *score) arrived(*flight) {}

// judge looks at the true hour after a move was granted: at the workloads that
// are bound to the two hosts now, with the one that moves and without it.
func (r *score) judge(s *Simulation, tick int, m Move, from int) {
	r.moves++
	r.timeline[len(r.timeline)-1].Moves++
	if at, ok := r.left[[2]int{m.Workload, m.To}]; ok && float64(tick-at) <= ticksPerDay {
		r.returns++
	}
	r.left[[2]int{m.Workload, from}] = tick
	lead, harmful := 0, false
	for k := 1; k <= Ahead; k++ {
		source, target := 0.0, 0.0
		for w, h := range s.bound {
			switch h {
			case from:
				source += s.cfg.Workloads[w].Demand[tick+k]
			case m.To:
				target += s.cfg.Workloads[w].Demand[tick+k]
			}
		}
		if lead == 0 && source > s.capacity[from] {
			lead = k
		}
		if target <= s.capacity[m.To] && target+s.cfg.Workloads[m.Workload].Demand[tick+k] > s.capacity[m.To] {
			harmful = true
		}
	}
	if lead == 0 {
		r.falseMoves++
	} else {
		r.leads = append(r.leads, float64(lead)*tickSeconds/60)
	}
	if harmful {
		r.harmful++
	}
}

func (r *score) result(s *Simulation) Result {
	days := float64(r.samples) / ticksPerDay
	out := Result{
		Decider: s.cfg.Decider.Name(), Hosts: len(s.cfg.Hosts), Workloads: len(s.cfg.Workloads), Days: days,
		ContendedPerDay: r.contended / days, OverloadPerDay: r.overload / days,
		Moves: r.moves, MovesPerVMDay: float64(r.moves) / days / float64(len(s.cfg.Workloads)),
		False: r.falseMoves, Harmful: r.harmful, Returns: r.returns, BrokenOff: r.brokenOff,
		LeadMinutes: spread(r.leads),
		Utilisation: r.utilisation / float64(r.samples), Imbalance: r.imbalance / float64(r.samples),
		Timeline: r.timeline, Warnings: s.implausible(),
	}
	if r.asked > 0 {
		out.Unserved = r.unserved / r.asked
	}
	for reason, n := range r.refused {
		out.Refused = append(out.Refused, Refusal{reason, n})
	}
	slices.SortFunc(out.Refused, func(a, b Refusal) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Reason, b.Reason))
	})
	return out
}

func spread(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	sorted := slices.Sorted(slices.Values(values))
	at := func(q float64) float64 { return sorted[int(q*float64(len(sorted)-1)+0.5)] }
	return Spread{at(0.1), at(0.5), at(0.9)}
}
