package main

import (
	"bufio"
	"compress/gzip"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/placed-dev/placed/config"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/planner"
	"github.com/placed-dev/placed/predictor"
	"github.com/placed-dev/placed/simulator"
	"github.com/placed-dev/placed/trace"
)

// fleetRun is one run of a scenario: a seed, a budget and a decider.
type fleetRun struct {
	Seed   int              `json:"seed"`
	Budget float64          `json:"moves_per_workload_day_allowed"`
	Result simulator.Result `json:"result"`
}

// playFleet plays every seed, budget and decider of a scenario, as many at a
// time as there are threads; the order of the results is that of the file.
func playFleet(ctx context.Context, s config.Scenario, title string) ([]fleetRun, error) {
	sets, err := readSets(s.Traces)
	if err != nil {
		return nil, err
	}
	if len(s.Seeds) == 0 {
		s.Seeds = []int{1}
	}
	budgets := []float64{0}
	burst := 0.0
	if s.Budget != nil {
		budgets, burst = s.Budget.PerDay, s.Budget.Burst
	}
	runs := make([]fleetRun, len(s.Seeds)*len(budgets)*len(s.Deciders))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	at := 0
	for _, seed := range s.Seeds {
		made, err := buildFleet(s, sets, uint64(seed))
		if err != nil {
			return nil, err
		}
		if needsObservations(s.Deciders, len(budgets)) {
			c := made.config
			made.seen = simulator.NewObservations(c.Workloads, fleet.TickOf(c.Start), c.From-warmTicks, c.From, c.To, threads)
		}
		for _, budget := range budgets {
			for _, d := range s.Deciders {
				run := &runs[at]
				at++
				group.Go(func() error {
					c := made.config
					c.Budget = simulator.Budget{PerDay: budget, Burst: burst}
					c.Interrupted = ctx.Err
					c.Decider = made.decider(d, title+d.Name)
					simulation, err := simulator.New(c)
					if err != nil {
						return err
					}
					result, err := simulation.Run()
					*run = fleetRun{Seed: seed, Budget: budget, Result: result}
					return err
				})
			}
		}
	}
	return runs, group.Wait()
}

// traceSet is a set of recorded loads in percent.
type traceSet struct {
	names   []string
	percent [][]float64
}

func readSets(blocks []config.ScenarioTraces) (map[string]traceSet, error) {
	sets := map[string]traceSet{}
	for _, b := range blocks {
		scale := b.Scale
		if scale == 0 {
			scale = 1
		}
		var set traceSet
		var all []trace.Trace
		longest := 0
		for i, file := range b.Files {
			traces, err := readTraceFile(file, b.Layout)
			if err != nil {
				return nil, err
			}
			for _, t := range traces {
				if len(b.Files) > 1 {
					t.Name = fmt.Sprintf("%d.%s", i+1, t.Name)
				}
				longest = max(longest, len(t.Values))
				all = append(all, t)
			}
		}
		for _, t := range all {
			values := make([]float64, longest)
			for k := range values {
				values[k] = math.NaN()
				if k < len(t.Values) {
					values[k] = t.Values[k] * scale
				}
			}
			t.Values = values
			missing := 1 - float64(t.Known())/float64(longest)
			if t.Mean() <= b.MinMean && b.MinMean > 0 || b.MaxMissing > 0 && missing >= b.MaxMissing {
				continue
			}
			set.names = append(set.names, workloadName(b.Name, t.Name))
			set.percent = append(set.percent, simulator.Filled(values, max(b.Bridge, 1)))
		}
		if len(set.names) == 0 {
			return nil, fmt.Errorf("traces %s: no load is left", b.Name)
		}
		sets[b.Name] = set
	}
	return sets, nil
}

// workloadName makes an id of a trace's name.
func workloadName(set, name string) string {
	clean := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '-' || r == '_' || r == '.' {
			return r
		}
		return '-'
	}, name)
	return set + "." + clean
}

// readTraceFile reads a trace file, gzipped or not.
func readTraceFile(file, layout string) ([]trace.Trace, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read the traces: %w", err)
	}
	defer f.Close()
	in := bufio.NewReader(f)
	if strings.HasSuffix(file, ".gz") {
		unpacked, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		defer unpacked.Close()
		in = bufio.NewReader(unpacked)
	}
	read := trace.ReadRows
	if layout == "columns" {
		read = trace.ReadColumns
	}
	traces, err := read(in, trace.Options{})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Base(file), err)
	}
	return traces, nil
}

// madeFleet is a fleet ready to be simulated; seen, if not nil, is shared by the
// runs that forecast.
type madeFleet struct {
	config simulator.Config
	seen   *simulator.Observations
}

// needsObservations: several runs forecast the same loads, which are then
// observed once.
func needsObservations(deciders []config.ScenarioDecider, budgets int) bool {
	runs := 0
	for _, d := range deciders {
		if d.Kind == "placed" || d.Kind == "ahead" {
			runs += budgets
		}
	}
	return runs > 1
}

// threads runs do(0) … do(n-1) on as many threads as there are.
func threads(n int, do func(i int)) {
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i := range n {
		group.Go(func() error { do(i); return nil })
	}
	_ = group.Wait() // do has no errors
}

// scenarioBegin is the load time of the first sample where a scenario names
// none: a Monday.
var scenarioBegin = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)

func buildFleet(s config.Scenario, sets map[string]traceSet, seed uint64) (*madeFleet, error) {
	c := simulator.Config{
		Start: scenarioBegin, Policy: scenarioPolicy(*s.Policy),
		Migration: simulator.Migration{Bandwidth: 1.1e9, Rounds: 1.3, Degradation: 0.1},
	}
	if text := s.Window.Begin; text != "" {
		begin, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return nil, fmt.Errorf("window: begin: %q is no time: write it as 2026-03-02T00:00:00Z", text)
		}
		c.Start = begin.UTC()
	}
	if m := s.Migration; m != nil {
		c.Migration = simulator.Migration{Bandwidth: float64(m.Bandwidth.Value()), Rounds: max(m.Rounds, 1), Degradation: m.Degradation}
	}
	ticks := func(d config.Duration) int { return int(d.Value() / fleet.Tick) }
	total := ticks(s.Window.Start) + ticks(s.Window.Length) + simulator.Ahead
	if s.Pool != nil {
		total = len(sets[s.Pool.Traces].percent[0])
	}
	for _, w := range s.Workloads {
		if w.Traces != "" {
			total = len(sets[w.Traces].percent[0])
			break
		}
	}
	c.From = total - ticks(s.Window.Skip) - ticks(s.Window.Length)
	if s.Window.Start != "" {
		c.From = ticks(s.Window.Start)
	}
	c.To = c.From + ticks(s.Window.Length) - simulator.Ahead
	if s.Window.Start != "" {
		c.To = min(c.From+ticks(s.Window.Length), total-simulator.Ahead)
	}
	if c.From < 0 || c.To <= c.From {
		return nil, fmt.Errorf("window: %d ticks of load are too few for a length of %s", total, s.Window.Length)
	}
	var err error
	if s.Pool != nil {
		c.Hosts, c.Workloads, err = buildPool(*s.Pool, sets, seed, c.From)
	} else {
		c.Hosts, c.Workloads, err = buildBlocks(s, sets, seed, total)
	}
	if err != nil {
		return nil, err
	}
	for _, f := range s.Faults {
		c.Faults = append(c.Faults, simulator.Fault{Host: fleet.HostID(f.Host), Kind: simulator.FaultKind(f.Kind),
			From: c.From + ticks(f.From), Until: c.From + ticks(f.Until)})
	}
	return &madeFleet{config: c}, nil
}

func buildPool(p config.ScenarioPool, sets map[string]traceSet, seed uint64, training int) ([]fleet.Host, []simulator.Workload, error) {
	set := sets[p.Traces]
	return simulator.Pool{
		Names: set.names, Percent: set.percent, Seed: seed, Cores: p.Cores, Probability: p.Probability,
		MemoryPerCore: p.MemoryPerCore.Value(), PerHost: p.PerHost, Training: training,
		Quantile: p.Quantile, Fill: p.Fill, MemoryRoom: p.MemoryRoom,
	}.Build()
}

// buildBlocks makes the hosts and workloads that are named one by one.
func buildBlocks(s config.Scenario, sets map[string]traceSet, seed uint64, total int) ([]fleet.Host, []simulator.Workload, error) {
	var hosts []fleet.Host
	for _, b := range s.Hosts {
		for i := range max(b.Count, 1) {
			name := b.Name
			if b.Count > 1 {
				name = fmt.Sprintf("%s-%d", b.Name, i+1)
			}
			zone := b.Zone
			if zone == "" {
				zone = "default"
			}
			hosts = append(hosts, fleet.Host{ID: fleet.HostID(name), Name: name, Zone: zone, Address: "192.0.2.1:4100",
				Capacity: fleet.Vector{CPU: int64(math.Round(b.CPU * 1000)), Memory: b.Memory.Value(), Net: fleet.Unknown, Disk: fleet.Unknown}})
		}
	}
	random := rand.New(rand.NewPCG(seed, 0x776176657321))
	booked := make([]int64, len(hosts))
	var workloads []simulator.Workload
	for _, b := range s.Workloads {
		for i := range max(b.Count, 1) {
			name := b.Name
			if b.Count > 1 {
				name = fmt.Sprintf("%s-%d", b.Name, i+1)
			}
			w := simulator.Workload{Workload: fleet.Workload{ID: fleet.WorkloadID(name), Driver: "recorded", Owner: fleet.HostID(b.Host),
				Priority: int64(b.Priority), Tolerance: int64(b.Tolerance * 1000), Pinned: b.Pinned, Group: b.Group,
				Reservation: fleet.Vector{Memory: b.Memory.Value()}}}
			if b.Host == "" {
				least := 0
				for h := range booked {
					if booked[h] < booked[least] {
						least = h
					}
				}
				w.Owner = hosts[least].ID
			}
			for h := range hosts {
				if hosts[h].ID == w.Owner {
					booked[h] += w.Reservation.Memory
				}
			}
			if b.Wave != nil {
				w.Demand = wave(*b.Wave, b.CPU, total, random)
			} else {
				percent := sets[b.Traces].percent[i%len(sets[b.Traces].percent)]
				w.Demand = make([]float64, len(percent))
				for t, v := range percent {
					w.Demand[t] = v / 100 * b.CPU
				}
			}
			workloads = append(workloads, w)
		}
	}
	return hosts, workloads, nil
}

func wave(b config.ScenarioWave, cores float64, ticks int, random *rand.Rand) []float64 {
	period := b.Period.Value()
	if period == 0 {
		period = 24 * time.Hour
	}
	out := make([]float64, ticks)
	for t := range out {
		at := float64(time.Duration(t)*fleet.Tick-b.Shift.Value()) / float64(period)
		percent := b.Mean + b.Amplitude*math.Sin(2*math.Pi*at) + b.Noise*random.NormFloat64()
		out[t] = max(percent, 0) / 100 * cores
	}
	return out
}

// warmTicks is how much history a series is given before the first decision.
const warmTicks = predictor.SeriesDays * int(24*time.Hour/fleet.Tick)

// decider makes what a decider block names.
func (m *madeFleet) decider(d config.ScenarioDecider, title string) simulator.Decider {
	c := m.config
	switch d.Kind {
	case "nothing":
		return simulator.Named(title)
	case "reactive":
		return &simulator.Greedy{Title: title}
	case "persistence":
		return &simulator.Greedy{Title: title, Outlook: simulator.OutlookMargin, Z: d.Z}
	case "oracle":
		return &simulator.Greedy{Title: title, Outlook: simulator.OutlookTruth, Future: func(w, tick int) float64 { return c.Workloads[w].Demand[tick] }}
	}
	p := &simulator.Placed{Title: title, Model: predictor.Baseline{}, FirstTick: fleet.TickOf(c.Start), Warm: c.From - warmTicks, Seen: m.seen, Every: int(d.ForecastEvery.Value() / fleet.Tick)}
	for _, w := range c.Workloads {
		p.IDs = append(p.IDs, w.ID)
	}
	for _, h := range c.Hosts {
		p.Hosts = append(p.Hosts, h.ID)
	}
	if d.Kind == "ahead" || d.Kind == "oracle-ahead" {
		p.Replay = predictor.Replay{Days: 7, Offsets: simulator.DayOffsets(), HalfLife: 12}
		p.Ahead = &planner.Ahead{MinGain: d.MinGain, SourceRisk: d.SourceRisk, TargetRisk: d.TargetRisk, KeepFree: d.KeepFree}
	}
	if d.Kind == "oracle-ahead" {
		p.Future = func(w, tick int) float64 { return c.Workloads[w].Demand[tick] }
	}
	return p
}

// scenarioPolicy is a policy block as the books hold it.
func scenarioPolicy(p config.Policy) fleet.Policy {
	out := fleet.Policy{
		Quantile: int64(math.Round(p.Quantile * 1000)), Horizon: p.Horizon.Value(), HoldPasses: int64(p.HoldPasses),
		Margin: p.Margin.Value(), Headroom: int64(math.Round(p.Headroom * 1000)),
		Cooldown: p.Cooldown.Value(), CooldownReset: p.CooldownReset.Value(),
		MovesPerPass: int64(p.MovesPerPass), MovesInFlight: int64(p.MovesInFlight), ChurnPerHour: int64(p.ChurnPerHour),
		ReserveHosts: int64(p.ReserveHosts), MovesPerHost: int64(p.MovesPerHost), BandwidthInFlight: p.BandwidthInFlight.Value(), Consolidate: p.Consolidate,
		MovesPerLink: int64(p.MovesPerLink), BandwidthPerLink: p.BandwidthPerLink.Value(),
		InPlace:  fleet.InPlace{CPUWeight: p.InPlaceCPUWeight, CPUQuota: p.InPlaceCPUQuota, VCPUs: p.InPlaceVCPUs, Balloon: p.InPlaceBalloon},
		Standbys: int64(p.Standbys),
	}
	_ = out.Automation.UnmarshalText([]byte(p.Automation)) // LoadScenario has checked the word
	return out
}
