package daemon

import (
	"context"
	"fmt"
	"time"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/predictor"
	"github.com/placed-dev/placed/transport"
)

// replayTicks is how much of the end of a history is judged after a restart.
const replayTicks = predictor.TrackDays * int64(24*time.Hour/fleet.Tick)

// use takes a pool that has seen load up to a tick. Histories that no pool has been
// judged on are replayed; others go on with what they have learned, because a pool
// is much like the one of an hour before.
func (s *seriesSet) use(pool *predictor.Pool, trained int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pool, s.unseen = pool, trained
	for _, o := range s.loads {
		for _, track := range o.tracks {
			o.behind = o.behind || !track.Pooled()
		}
	}
}

// replay judges the newest days of every history that is behind, one after the
// other, as if forecasts had been made all along.
func (s *seriesSet) replay(ctx context.Context) {
	for ctx.Err() == nil {
		s.mu.Lock()
		next, pool, unseen := fleet.WorkloadID(""), s.pool, s.unseen
		for id, o := range s.loads {
			if o.behind && (next == "" || id < next) {
				next = id
			}
		}
		s.mu.Unlock()
		if next == "" {
			return
		}
		s.catchUp(next, pool, unseen)
	}
}

// catchUp replays one history without the lock, and puts the result in place with
// what has been observed meanwhile.
func (s *seriesSet) catchUp(id fleet.WorkloadID, pool *predictor.Pool, unseen int64) {
	type replayed struct {
		series *predictor.Series
		track  *predictor.Track
		shared predictor.SharedShifts
	}
	done := map[fleet.Resource]*replayed{}
	for _, r := range forecastResources {
		first, values := s.ticks(id, r)
		if len(values) == 0 {
			continue
		}
		from := first + int64(len(values)) - replayTicks
		if pool != nil {
			from = max(from, unseen)
		}
		// Shifts that all series have in common come from live judging alone.
		one := &replayed{}
		one.series, one.track = predictor.NewTrack(first, values, from, pool, &one.shared, 1)
		done[r] = one
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.loads[id]
	if o == nil || pool != s.pool {
		return // it left, or a newer pool came: then it is replayed again
	}
	o.behind = false
	o.replays++
	for r, one := range done {
		live := o.series[r]
		if live == nil {
			continue
		}
		first, values := live.Values(predictor.SeriesDays * int(24*time.Hour/fleet.Tick))
		for i, v := range values {
			if tick := first + int64(i); v == v && tick > one.series.Tick() {
				one.series.Observe(tick, float64(v))
				one.track.Observe(one.series, pool, &one.shared, 1)
			}
		}
		one.track.Absorb(&one.shared, s.shared[r])
		o.tracks[r] = one.track
	}
}

// examples are rows of a workload's history for training, twice the lesson's limit
// at most: half of them are cpu's, the other resources share the rest.
func (s *seriesSet) examples(id fleet.WorkloadID, l predictor.Lesson) []predictor.Example {
	type column struct {
		first  int64
		values []float32
	}
	var used []column
	var out []predictor.Example
	for _, r := range forecastResources {
		first, values := s.ticks(id, r)
		switch {
		case r == fleet.CPU:
			out = append(out, predictor.Examples(first, values, l)...)
		case len(values) > 0:
			used = append(used, column{first, values})
		}
	}
	for _, c := range used {
		share := l
		share.Limit = l.Limit / len(used)
		out = append(out, predictor.Examples(c.first, c.values, share)...)
	}
	return out
}

// lessonRequest asks a host for rows of one workload's history, lessonAnswer
// carries them in predictor's bytes.
type lessonRequest struct {
	Workload fleet.WorkloadID `json:"workload"`
	Lesson   predictor.Lesson `json:"lesson"`
}

type lessonAnswer struct {
	Examples []byte `json:"examples"`
}

// maxLesson bounds what one call may ask for, in rows of cpu; as many again are
// of the other resources together.
const maxLesson = 2000

func (d *Daemon) serveExamples(_ context.Context, _ transport.Identity, r lessonRequest) (lessonAnswer, error) {
	if r.Lesson.Limit > maxLesson {
		return lessonAnswer{}, fmt.Errorf("%d rows of %s are asked for: at most %d are given", r.Lesson.Limit, r.Workload, maxLesson)
	}
	return lessonAnswer{Examples: predictor.EncodeExamples(d.series.examples(r.Workload, r.Lesson))}, nil
}
