package daemon

import (
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/predictor"
	"github.com/placed-dev/placed/telemetry"
)

// forecastResources are those whose series are forecast, cpu first: every built-in
// one. What a workload was never seen to use, but for cpu, has no series and costs
// nothing.
var forecastResources = fleet.Resources()

// seriesSet holds the histories of the workloads on this host: in memory what
// features and profiles are made from and how past forecasts have fared, on disk
// one record per tick for 30 days and more.
type seriesSet struct {
	history *telemetry.History
	log     hclog.Logger
	// behind wakes who replays: a history whose forecasts nobody has judged.
	behind chan struct{}

	mu     sync.Mutex // guards everything below
	loads  map[fleet.WorkloadID]*observed
	shared map[fleet.Resource]*predictor.SharedShifts
	pool   *predictor.Pool
	// unseen is the first tick that the pool was not trained on.
	unseen int64
}

// observed is what is held of one workload.
type observed struct {
	series map[fleet.Resource]*predictor.Series
	tracks map[fleet.Resource]*predictor.Track
	habits *predictor.Habits
	// behind: the newest days have not been judged, or not by the pool.
	behind bool
	// replays counts how often they were judged anew: what voters know of a tick
	// is then out of date.
	replays int
	traits  *description
	member  predictor.Membership
	left    time.Time // when it was last seen to have gone, zero while here
}

func newSeriesSet(history *telemetry.History, log hclog.Logger) *seriesSet {
	s := &seriesSet{history: history, log: log, behind: make(chan struct{}, 1),
		loads: map[fleet.WorkloadID]*observed{}, shared: map[fleet.Resource]*predictor.SharedShifts{}}
	for _, r := range forecastResources {
		s.shared[r] = &predictor.SharedShifts{}
	}
	return s
}

// observe records one complete tick.
func (s *seriesSet) observe(v telemetry.TickValue) error {
	s.mu.Lock()
	o := s.of(v.Workload)
	for _, r := range forecastResources {
		if amount := v.Mean.Get(r); amount != fleet.Unknown {
			s.follow(o, r, v.Tick, float64(amount))
		}
	}
	v.Mean.Each(func(r fleet.Resource, amount int64) {
		if amount != fleet.Unknown {
			o.habits.Observe(r, v.Tick, float64(amount))
		}
	})
	s.mu.Unlock()
	return s.history.Append(string(v.Workload), fleet.Sample{At: fleet.TickStart(v.Tick), Usage: v.Mean, Wait: v.Wait})
}

// follow adds one value to a series and judges what was forecast; needs mu.
func (s *seriesSet) follow(o *observed, r fleet.Resource, tick int64, value float64) {
	if o.series[r] == nil {
		if value == 0 && r != fleet.CPU {
			return // never used: nothing to forecast
		}
		o.series[r], o.tracks[r] = predictor.NewSeries(), &predictor.Track{}
	}
	o.series[r].Observe(tick, value)
	if o.series[r].Tick() == tick {
		o.tracks[r].Observe(o.series[r], s.pool, s.shared[r], len(s.loads))
	}
}

// of returns what is held of a workload, from disk when this agent has not
// touched it yet; needs mu.
func (s *seriesSet) of(id fleet.WorkloadID) *observed {
	if have := s.loads[id]; have != nil {
		return have
	}
	o := &observed{series: map[fleet.Resource]*predictor.Series{}, tracks: map[fleet.Resource]*predictor.Track{}, habits: s.habitsOf(id)}
	for _, r := range forecastResources {
		first, values := s.ticks(id, r)
		if len(values) == 0 {
			continue
		}
		// Nothing is judged here: that takes a while, and reports wait for mu.
		end := first + int64(len(values))
		o.series[r], o.tracks[r] = predictor.NewTrack(first, values, end, nil, s.shared[r], 1)
		o.behind = true
	}
	s.loads[id] = o
	if o.behind {
		s.nudge()
	}
	return o
}

func (s *seriesSet) nudge() {
	select {
	case s.behind <- struct{}{}:
	default: // it will look at all of them anyway
	}
}

// maxHistoryTicks bounds a history in memory: a stray sample of a clock that once
// was wrong must not make one of years.
const maxHistoryTicks = 40 * int64(24*time.Hour/fleet.Tick)

// ticks lays the whole history of one resource out, one value per tick, NaN =
// missing; none when it was never measured or, but for cpu, never used.
func (s *seriesSet) ticks(id fleet.WorkloadID, r fleet.Resource) (first int64, values []float32) {
	// Damaged days are named in the error; the others are good.
	column, err := s.history.ReadColumn(string(id), r, time.Unix(0, 0), time.Unix(1<<40, 0))
	if err != nil {
		s.log.Warn("part of a workload's history cannot be read; forecasts go on without it", "workload", id, "error", err)
	}
	if len(column.Times) == 0 {
		return 0, nil
	}
	tick := func(i int) int64 { return fleet.TickOf(time.UnixMilli(column.Times[i])) }
	last := tick(len(column.Times) - 1)
	first = max(tick(0), last-maxHistoryTicks+1)
	values = make([]float32, last-first+1)
	for i := range values {
		values[i] = float32(math.NaN())
	}
	used := false
	for i, amount := range column.Amounts {
		at := tick(i) - first
		if at < 0 || amount == fleet.Unknown {
			continue
		}
		values[at] = float32(amount)
		used = used || amount != 0
	}
	if !used && r != fleet.CPU {
		return 0, nil
	}
	return first, values
}

// habitsOf reads the habits of a workload from its whole history.
func (s *seriesSet) habitsOf(id fleet.WorkloadID) *predictor.Habits {
	h := &predictor.Habits{}
	for _, r := range fleet.Resources() {
		first, values := s.ticks(id, r)
		for i, v := range values {
			h.Observe(r, first+int64(i), float64(v))
		}
	}
	return h
}

// known reports whether anything was observed of the workload here.
func (s *seriesSet) known(id fleet.WorkloadID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.of(id).known()
}

func (o *observed) known() bool {
	for _, series := range o.series {
		if !series.Empty() {
			return true
		}
	}
	return false
}

// load takes in a history that was recorded elsewhere, oldest first.
func (s *seriesSet) load(id fleet.WorkloadID, samples []fleet.Sample) error {
	records := make([]telemetry.Record, len(samples))
	for i, sample := range samples {
		records[i] = telemetry.Record{Series: string(id), Sample: sample}
	}
	if err := s.history.AppendBatch(records); err != nil {
		return fmt.Errorf("history of %s: %w", id, err)
	}
	if err := s.history.Flush(); err != nil {
		return fmt.Errorf("history of %s: %w", id, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.loads, id) // read again from disk
	return nil
}

// keep forgets what is in memory of workloads that left a while ago; their records
// age out on disk, so that a source can still be asked for them.
func (s *seriesSet) keep(here map[fleet.WorkloadID]bool, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, o := range s.loads {
		switch {
		case here[id]:
			o.left = time.Time{}
		case o.left.IsZero():
			o.left = now
		case now.Sub(o.left) > departedFor:
			delete(s.loads, id)
		}
	}
}
