package daemon

import (
	"fmt"
	"time"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/predictor"
	"github.com/placed-dev/placed/telemetry"
)

// carried is what follows a workload to its next host, in the bytes of predictor
// and telemetry. Sources of an older version send the series alone.
type carried struct {
	Series map[fleet.Resource][]byte `json:"series"`
	// Tracks say how past forecasts have fared, with those still on their way;
	// Shared are the shifts that they counted with there.
	Tracks map[fleet.Resource][]byte                  `json:"tracks,omitempty"`
	Shared map[fleet.Resource]*predictor.SharedShifts `json:"shared,omitempty"`
	// Days are the blocks of the whole history.
	Days [][]byte `json:"days,omitempty"`
}

// departedFor is how long the memory of a workload outlives its leaving: its next
// host asks for it after the cutover.
const departedFor = 10 * time.Minute

// export gives a workload's history to the host it has moved to.
func (s *seriesSet) export(id fleet.WorkloadID) (carried, error) {
	days, err := s.history.Blocks(string(id))
	if err != nil {
		// The series below reach back eight days; that is worth more than none.
		s.log.Warn("part of a workload's history cannot follow it", "workload", id, "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.of(id)
	out := carried{Series: map[fleet.Resource][]byte{}, Tracks: map[fleet.Resource][]byte{}, Shared: map[fleet.Resource]*predictor.SharedShifts{}, Days: days}
	for r, series := range o.series {
		if out.Series[r], err = series.MarshalBinary(); err != nil {
			return carried{}, fmt.Errorf("history of %s: %w", id, err)
		}
		if o.behind {
			continue // the next host judges the newest days itself
		}
		if out.Tracks[r], err = o.tracks[r].MarshalBinary(); err != nil {
			return carried{}, fmt.Errorf("history of %s: %w", id, err)
		}
		shared := *s.shared[r]
		out.Shared[r] = &shared
	}
	if out.Series[fleet.CPU] == nil { // an older version expects it
		if out.Series[fleet.CPU], err = predictor.NewSeries().MarshalBinary(); err != nil {
			return carried{}, fmt.Errorf("history of %s: %w", id, err)
		}
	}
	return out, nil
}

// adopt takes in what export gave. Ticks that were observed here meanwhile follow
// on it; on disk the values are stored like any others.
func (s *seriesSet) adopt(id fleet.WorkloadID, from carried) error {
	moved := &observed{series: map[fleet.Resource]*predictor.Series{}, tracks: map[fleet.Resource]*predictor.Track{}}
	for _, r := range forecastResources {
		if err := moved.take(r, from); err != nil {
			return fmt.Errorf("%s history of %s: %w", r, id, err)
		}
	}
	if moved.series[fleet.CPU] == nil {
		return fmt.Errorf("history of %s: it has no cpu", id)
	}
	if err := s.store(id, moved, from.Days); err != nil {
		return err
	}
	moved.habits = s.habitsOf(id) // with what was observed here
	s.mu.Lock()
	defer s.mu.Unlock()
	here := s.loads[id]
	s.loads[id] = moved
	for r, track := range moved.tracks {
		if there := from.Shared[r]; there != nil {
			track.Absorb(there, s.shared[r])
		}
	}
	if here != nil {
		moved.member = here.member
		for r, series := range here.series {
			first, since := series.Values(predictor.SeriesDays * int(24*time.Hour/fleet.Tick))
			for i, v := range since {
				if v == v && (moved.series[r] == nil || first+int64(i) > moved.series[r].Tick()) {
					s.follow(moved, r, first+int64(i), float64(v))
				}
			}
		}
	}
	if moved.behind {
		s.nudge()
	}
	return nil
}

// take decodes one resource.
func (o *observed) take(r fleet.Resource, from carried) error {
	data, ok := from.Series[r]
	if !ok {
		return nil
	}
	series, track := predictor.NewSeries(), &predictor.Track{}
	if err := series.UnmarshalBinary(data); err != nil {
		return err
	}
	if data, ok := from.Tracks[r]; !ok {
		o.behind = true
	} else if err := track.UnmarshalBinary(data); err != nil {
		return err
	}
	o.series[r], o.tracks[r] = series, track
	return nil
}

// store puts on disk what came. Without the days themselves, from an older
// version, the values that the series remember have to do.
func (s *seriesSet) store(id fleet.WorkloadID, moved *observed, days [][]byte) error {
	if len(days) > 0 {
		if err := s.history.AddBlocks(string(id), days); err != nil {
			return fmt.Errorf("history of %s: %w", id, err)
		}
		return nil
	}
	first, values := moved.series[fleet.CPU].Values(predictor.SeriesDays * int(24*time.Hour/fleet.Tick))
	var records []telemetry.Record
	for i, v := range values {
		if v == v { // not missing
			records = append(records, telemetry.Record{Series: string(id),
				Sample: fleet.Sample{At: fleet.TickStart(first + int64(i)), Usage: fleet.Vector{CPU: int64(v)}}})
		}
	}
	return s.history.AppendBatch(records)
}
