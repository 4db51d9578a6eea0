package simulator

import (
	"slices"
	"time"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
)

// Simulation is one run. It is used once.
type Simulation struct {
	cfg      Config
	books    *ledger
	hosts    map[fleet.HostID]int
	capacity []float64 // cores
	memory   []int64   // of the workloads
	at       []int     // the host that runs the workload
	bound    []int     // the host that runs it or, under way, its destination
	demand   []float64 // of the tick being played
	silent   []bool
	flights  []*flight // granted, in the order of the grants
	tokens   float64
	score    score
}

// flight is a granted move.
type flight struct {
	workload, from, to int
	lease              fleet.Lease
	begun              bool
	end                float64 // seconds since tick 0, once begun
}

// New checks the configuration and registers the fleet with the books.
func New(c Config) (*Simulation, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	c.Faults = slices.Clone(c.Faults)
	s := &Simulation{cfg: c, hosts: map[fleet.HostID]int{}, silent: make([]bool, len(c.Hosts)), demand: make([]float64, len(c.Workloads))}
	for i, h := range c.Hosts {
		s.hosts[h.ID] = i
		s.capacity = append(s.capacity, float64(h.Allocatable().CPU)/1000)
	}
	for _, w := range c.Workloads {
		s.at = append(s.at, s.hosts[w.Owner])
		s.memory = append(s.memory, max(w.Reservation.Memory, 0))
	}
	s.bound = slices.Clone(s.at)
	s.score = newScore(c)
	var err error
	s.books, err = newLedger(c)
	return s, err
}

// Run plays the window and returns its figures. The same configuration gives the
// same result, bit for bit.
func (s *Simulation) Run() (Result, error) {
	for tick := range s.cfg.From {
		if err := s.interrupted(); err != nil {
			return Result{}, err
		}
		s.look(tick)
		s.cfg.Decider.Observe(tick, s.demand)
	}
	for tick := s.cfg.From; tick < s.cfg.To; tick++ {
		if err := s.interrupted(); err != nil {
			return Result{}, err
		}
		s.look(tick)
		if err := s.faults(tick); err != nil {
			return Result{}, err
		}
		if err := s.play(tick); err != nil {
			return Result{}, err
		}
		s.cfg.Decider.Observe(tick, s.demand)
		if err := s.decide(tick); err != nil {
			return Result{}, err
		}
	}
	return s.score.result(s), nil
}

func (s *Simulation) interrupted() error {
	if s.cfg.Interrupted == nil {
		return nil
	}
	return s.cfg.Interrupted()
}

func (s *Simulation) look(tick int) {
	for i := range s.demand {
		s.demand[i] = s.cfg.Workloads[i].Demand[tick]
	}
}

// tickSeconds is the length of a tick.
const tickSeconds = float64(fleet.Tick / time.Second)

// clock is the load time at so many seconds after tick 0 began.
func (s *Simulation) clock(seconds float64) time.Time {
	return s.cfg.Start.Add(time.Duration(seconds * float64(time.Second)))
}

// faults begins and ends what befalls hosts with this tick.
func (s *Simulation) faults(tick int) error {
	now := s.clock(float64(tick) * tickSeconds)
	for _, f := range s.cfg.Faults {
		h := s.hosts[f.Host]
		begins, ends := f.From == tick, f.Until == tick
		switch {
		case f.Kind == FaultSilent && begins:
			s.silent[h] = true
			if err := s.breakOff(now, h); err != nil {
				return err
			}
		case f.Kind == FaultSilent && ends:
			s.silent[h] = false
		case f.Kind == FaultDrain && (begins || ends):
			state := fleet.HostActive
			if begins {
				state = fleet.HostDraining
			}
			if err := s.books.must(now, s.books.voter, fsm.SetHostState{Host: f.Host, State: state, By: "scenario"}); err != nil {
				return err
			}
		}
	}
	return nil
}

// breakOff ends the moves that a host takes part in.
func (s *Simulation) breakOff(now time.Time, h int) error {
	for _, f := range s.flights {
		if f.from != h && f.to != h {
			continue
		}
		s.bound[f.workload] = f.from
		s.score.brokenOff++
		if err := s.books.cancel(now, f.lease, f.begun, "the agent of a host fell silent"); err != nil {
			return err
		}
	}
	s.flights = slices.DeleteFunc(s.flights, func(f *flight) bool { return f.from == h || f.to == h })
	return nil
}

// play lives through one tick: demand is what was recorded of it, moves begin
// and end inside it, one at a time per host in the order of their grants.
func (s *Simulation) play(tick int) error {
	now, end := float64(tick)*tickSeconds, float64(tick+1)*tickSeconds
	for now < end {
		if err := s.depart(now); err != nil {
			return err
		}
		next := end
		for _, f := range s.flights {
			if f.begun {
				next = min(next, f.end)
			}
		}
		s.score.charge(s, (next-now)/60)
		now = next
		if err := s.arrive(now); err != nil {
			return err
		}
	}
	s.score.sample(s)
	return nil
}

// depart begins the moves whose hosts are both free.
func (s *Simulation) depart(now float64) error {
	if len(s.flights) == 0 {
		return nil
	}
	occupied := map[int]bool{}
	for _, f := range s.flights {
		if f.begun {
			occupied[f.from], occupied[f.to] = true, true
		}
	}
	for _, f := range s.flights {
		if f.begun || occupied[f.from] || occupied[f.to] {
			continue
		}
		occupied[f.from], occupied[f.to] = true, true
		f.begun = true
		f.end = now + s.cfg.Migration.Duration(s.memory[f.workload]).Seconds()
		if err := s.books.begin(s.clock(now), f.lease); err != nil {
			return err
		}
	}
	return nil
}

// arrive ends the moves that are done.
func (s *Simulation) arrive(now float64) error {
	for _, f := range s.flights {
		if f.begun && f.end <= now {
			if err := s.books.finish(s.clock(now), f.lease); err != nil {
				return err
			}
			s.at[f.workload] = f.to
			s.score.arrived(f)
		}
	}
	s.flights = slices.DeleteFunc(s.flights, func(f *flight) bool { return f.begun && f.end <= now })
	return nil
}

// decide asks the decider and takes its moves to the books.
func (s *Simulation) decide(tick int) error {
	allowed := len(s.cfg.Workloads)
	if b := s.cfg.Budget; b.PerDay > 0 {
		perDay := b.PerDay * float64(len(s.cfg.Workloads))
		s.tokens = min(s.tokens+perDay/ticksPerDay, max(perDay*b.Burst, 1))
		allowed = int(s.tokens)
	}
	now := s.clock(float64(tick+1) * tickSeconds)
	moves, err := s.cfg.Decider.Decide(s.situation(tick, now, allowed))
	if err != nil {
		return err
	}
	for _, m := range moves {
		if allowed == 0 {
			break
		}
		from := s.bound[m.Workload]
		op := fsm.Grant{Workload: s.cfg.Workloads[m.Workload].ID, Destination: s.cfg.Hosts[m.To].ID, Kind: fleet.LeaseMigration, Type: m.Type}
		if m.Decision != nil {
			op.Decision = m.Decision.ID
		}
		lease, refused, err := s.books.grant(now, op)
		if err != nil {
			return err
		}
		if refused != "" {
			s.score.refuse(refused)
			continue
		}
		s.score.judge(s, tick, m, from)
		s.bound[m.Workload] = m.To
		s.flights = append(s.flights, &flight{workload: m.Workload, from: from, to: m.To, lease: lease})
		allowed--
		s.tokens--
	}
	return nil
}

const ticksPerDay = float64(24 * time.Hour / fleet.Tick)

func (s *Simulation) situation(tick int, now time.Time, allowed int) Situation {
	out := Situation{
		Tick: tick, Demand: s.demand, At: s.bound, Busy: make([]bool, len(s.bound)),
		Capacity: s.capacity, Free: make([]int64, len(s.capacity)), Memory: s.memory, Allowed: allowed, Policy: s.cfg.Policy,
		View: func() fleet.View { return s.view(now) },
	}
	for i, h := range s.cfg.Hosts {
		out.Free[i] = h.Allocatable().Memory - s.books.state.Held(h.ID).Memory
	}
	for _, f := range s.flights {
		out.Busy[f.workload] = true
	}
	return out
}

// view joins the books with what the hosts would have reported.
func (s *Simulation) view(now time.Time) fleet.View {
	v := s.books.state.View()
	v.Now, v.TimeScale = now, 1
	usage := make([]float64, len(s.capacity))
	for i := range s.at {
		usage[s.at[i]] += s.demand[i]
	}
	for i := range v.Hosts {
		h := &v.Hosts[i]
		h.Usage, h.Reported = fleet.Vector{CPU: millicores(usage[s.hosts[h.ID]])}, now
		h.Bandwidth = int64(s.cfg.Migration.Bandwidth / s.cfg.Migration.Rounds)
		h.Liveness = fleet.Alive
		if s.silent[s.hosts[h.ID]] {
			h.Liveness = fleet.Stale
		}
	}
	return v
}

func millicores(cores float64) int64 { return int64(cores*1000 + 0.5) }
