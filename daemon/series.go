package daemon

import (
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/predictor"
	"github.com/placed-dev/placed/telemetry"
)

// seriesSet holds the histories of the workloads on this host: in memory what
// features are made from, on disk one record per tick for 30 days and more.
type seriesSet struct {
	history *telemetry.History
	log     hclog.Logger

	mu     sync.Mutex // guards series
	series map[fleet.WorkloadID]*predictor.Series
}

func newSeriesSet(history *telemetry.History, log hclog.Logger) *seriesSet {
	return &seriesSet{history: history, log: log, series: map[fleet.WorkloadID]*predictor.Series{}}
}

// observe records one complete tick.
func (s *seriesSet) observe(v telemetry.TickValue) error {
	s.mu.Lock()
	s.of(v.Workload).Observe(v.Tick, float64(v.Mean.CPU))
	s.mu.Unlock()
	return s.history.Append(string(v.Workload), fleet.Sample{At: fleet.TickStart(v.Tick), Usage: v.Mean, Wait: v.Wait})
}

// of returns the series of a workload, from disk when this agent has not touched
// it yet; needs mu.
func (s *seriesSet) of(id fleet.WorkloadID) *predictor.Series {
	if have := s.series[id]; have != nil {
		return have
	}
	fresh := predictor.NewSeries()
	// Damaged days are named in the error; the others are good.
	samples, err := s.history.Read(string(id), time.Unix(0, 0), time.Unix(1<<40, 0))
	if err != nil {
		s.log.Warn("part of a workload's history cannot be read; forecasts go on without it", "workload", id, "error", err)
	}
	if most := predictor.SeriesDays * int(24*time.Hour/fleet.Tick); len(samples) > most {
		samples = samples[len(samples)-most:]
	}
	for _, sample := range samples {
		fresh.Observe(fleet.TickOf(sample.At), float64(sample.Usage.CPU))
	}
	s.series[id] = fresh
	return fresh
}

// report returns what the host says of a workload's series: its newest features,
// and up to n residuals.
func (s *seriesSet) report(id fleet.WorkloadID, n int) ([]fleet.Series, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	series := s.of(id)
	if series.Empty() {
		return nil, false
	}
	return []fleet.Series{series.Report(id, fleet.CPU, n)}, true
}

// known reports whether anything was observed of the workload here.
func (s *seriesSet) known(id fleet.WorkloadID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.of(id).Empty()
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
	delete(s.series, id) // read again from disk
	return nil
}

// export gives a workload's history to the host it has moved to.
func (s *seriesSet) export(id fleet.WorkloadID) (map[fleet.Resource][]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	data, err := s.of(id).MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("history of %s: %w", id, err)
	}
	return map[fleet.Resource][]byte{fleet.CPU: data}, nil
}

// adopt takes in what export gave. Ticks that were observed here meanwhile are
// kept; on disk the values are stored like any others.
func (s *seriesSet) adopt(id fleet.WorkloadID, exported map[fleet.Resource][]byte) error {
	moved := predictor.NewSeries()
	if err := moved.UnmarshalBinary(exported[fleet.CPU]); err != nil {
		return fmt.Errorf("history of %s: %w", id, err)
	}
	first, values := moved.Values(predictor.SeriesDays * int(24*time.Hour/fleet.Tick))
	var records []telemetry.Record
	for i, v := range values {
		if v == v { // not missing
			records = append(records, telemetry.Record{Series: string(id),
				Sample: fleet.Sample{At: fleet.TickStart(first + int64(i)), Usage: fleet.Vector{CPU: int64(v)}}})
		}
	}
	s.mu.Lock()
	if here := s.series[id]; here != nil && !here.Empty() {
		from, since := here.Values(predictor.SeriesDays * int(24*time.Hour/fleet.Tick))
		for i, v := range since {
			if v == v && from+int64(i) > moved.Tick() {
				moved.Observe(from+int64(i), float64(v))
			}
		}
	}
	s.series[id] = moved
	s.mu.Unlock()
	return s.history.AppendBatch(records)
}

// keep forgets the in-memory series of workloads that no longer run here; their
// records age out on disk, so that a source can still be asked for them.
func (s *seriesSet) keep(here map[fleet.WorkloadID]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.series {
		if !here[id] {
			delete(s.series, id)
		}
	}
}
