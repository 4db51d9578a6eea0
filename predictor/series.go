package predictor

import (
	"math"

	"github.com/placed-dev/placed/fleet"
)

// SeriesDays is how many days of ticks a Series remembers: a week for the
// weekly lag and one day more, so that the lag exists for every step ahead.
const SeriesDays = 8

// Steps is how many ticks ahead a forecast reaches (one hour).
const Steps = 12

const (
	ticksPerDay  = 288
	ticksPerWeek = 7 * ticksPerDay
	ringTicks    = SeriesDays * ticksPerDay
	// Window is how many past errors of a series a forecast takes its spread
	// from: one day, so that every hour of the day is in it once.
	Window = ticksPerDay
	// maxTick bounds tick numbers, so that differences never wrap round; it
	// is ten million years away.
	maxTick = int64(1) << 40
)

// Series is the history of one workload and resource on the host that runs it:
// eight days of values, the features of the newest tick, and the errors that
// the baseline would have made on the last day. It is not safe for concurrent
// use. The memory it holds is constant (about 24 KiB).
type Series struct {
	started bool
	tick    int64 // newest observed tick
	known   int   // values that are not missing
	weekly  weekly
	week    weekOfTargets
	// values holds tick t at t mod ringTicks; NaN is missing.
	values [ringTicks]float32
	// centres holds at t mod Steps what was forecast at tick t; NaN where no
	// forecast was made.
	centres [Steps][Steps]float32
	// errors holds at t mod Window the residual of tick t; its first entry is
	// NaN where there is none.
	errors   [Window][Steps]float32
	features []float32
}

// NewSeries returns a series without history.
func NewSeries() *Series {
	s := &Series{}
	s.clear()
	return s
}

func (s *Series) clear() {
	nan := float32(math.NaN())
	fill(s.values[:], nan)
	s.known, s.weekly, s.week = 0, weekly{}, weekOfTargets{}
	for i := range s.centres {
		fill(s.centres[i][:], nan)
	}
	for i := range s.errors {
		s.errors[i][0] = nan
	}
}

// Observe records the mean of one complete tick, in base units. Ticks between
// the last one and this one become missing; a tick that is not newer than the
// last is ignored, and so is a value that is NaN or infinite (the tick stays
// missing). A negative value is a measuring error and counts as zero.
func (s *Series) Observe(tick int64, value float64) {
	if !s.record(tick, value) {
		return
	}
	v := s.at(tick)
	s.recordErrors(v)
	s.features = s.computeFeatures()
	for k := 1; k <= Steps; k++ {
		s.centres[slot(tick, Steps)][k-1] = float32(Baseline{}.Centre(s.features, k))
	}
}

// record puts the value of one tick into the ring, without features; false when
// it is not taken.
func (s *Series) record(tick int64, value float64) bool {
	v := float32(value)
	if math.IsNaN(value) || math.IsInf(float64(v), 0) || tick > maxTick || tick < -maxTick {
		return false
	}
	if s.started && tick <= s.tick {
		return false
	}
	if s.started {
		s.skip(tick)
	}
	s.started, s.tick = true, tick
	s.set(tick, max(v, 0))
	return true
}

// skip marks the ticks between the newest and next as missing. In a gap of less
// than an hour the forecast of the last observed tick is the one that stood, so
// its later steps serve as the forecasts of the missing ticks.
func (s *Series) skip(next int64) {
	if next-s.tick > ringTicks {
		s.clear()
		return
	}
	nan := float32(math.NaN())
	last := s.centres[slot(s.tick, Steps)]
	for t := s.tick + 1; t < next; t++ {
		s.set(t, nan)
		s.errors[slot(t, Window)][0] = nan
		age := int(t - s.tick)
		for k := range Steps {
			centre := nan
			if age < Steps {
				centre = last[min(k+age, Steps-1)]
			}
			s.centres[slot(t, Steps)][k] = centre
		}
	}
}

// recordErrors compares the newest value with the forecasts that were made for
// its tick. The residual exists only when all of them do: a joint distribution
// over the steps has no use for half a row.
func (s *Series) recordErrors(v float32) {
	row := &s.errors[slot(s.tick, Window)]
	for k := range Steps {
		row[k] = v - s.centres[slot(s.tick-int64(k)-1, Steps)][k]
	}
	for k := range Steps {
		if row[k] != row[k] || math.IsInf(float64(row[k]), 0) {
			row[0] = float32(math.NaN())
			return
		}
	}
}

// Tick returns the newest observed tick, 0 when there is none.
func (s *Series) Tick() int64 { return s.tick }

// Empty reports whether nothing has been observed yet.
func (s *Series) Empty() bool { return !s.started }

// Features returns a copy of the features of the newest tick in the layout of
// FeatureVersion, nil when nothing has been observed.
func (s *Series) Features() []float32 { return append([]float32(nil), s.features...) }

// LastResidual returns the errors of the forecasts for the newest tick; false
// when no full row of forecasts reaches it (a new series, or after a gap).
func (s *Series) LastResidual() (fleet.Residual, bool) { return s.residual(s.tick) }

// Residuals returns up to n residuals of the last day, oldest first. Ticks
// without one are left out.
func (s *Series) Residuals(n int) []fleet.Residual {
	var out []fleet.Residual
	if s.started {
		out = make([]fleet.Residual, 0, Window)
	}
	rows := make([]float32, 0, Window*Steps) // one array for all: a report per tick and series adds up
	for t := s.tick - Window + 1; s.started && t <= s.tick; t++ {
		if row := &s.errors[slot(t, Window)]; row[0] == row[0] {
			rows = append(rows, row[:]...)
			out = append(out, fleet.Residual{Tick: t, Errors: rows[len(rows)-Steps:][:Steps:Steps]})
		}
	}
	if len(out) > max(n, 0) {
		out = out[len(out)-max(n, 0):]
	}
	return out
}

func (s *Series) residual(tick int64) (fleet.Residual, bool) {
	row := s.errors[slot(tick, Window)]
	if !s.started || row[0] != row[0] {
		return fleet.Residual{}, false
	}
	return fleet.Residual{Tick: tick, Errors: append([]float32(nil), row[:]...)}, true
}

// Values returns the last n ticks (at most SeriesDays), oldest first, and the
// tick of the first one. NaN is missing.
func (s *Series) Values(n int) (first int64, values []float32) {
	if !s.started {
		return 0, nil
	}
	n = min(max(n, 0), ringTicks)
	first = s.tick - int64(n) + 1
	values = make([]float32, n)
	for i := range values {
		values[i] = s.at(first + int64(i))
	}
	return first, values
}

// at returns the value of a tick inside the ring.
func (s *Series) at(tick int64) float32 { return s.values[slot(tick, ringTicks)] }

// set puts a value into the ring, in the place of the one eight days before.
func (s *Series) set(tick int64, v float32) {
	place := &s.values[slot(tick, ringTicks)]
	if *place == *place {
		s.known--
	}
	if v == v {
		s.known++
	}
	*place = v
}

// Report returns what the host sends of the series: its newest features and up
// to n residuals.
func (s *Series) Report(of fleet.WorkloadID, r fleet.Resource, n int) fleet.Series {
	return fleet.Series{
		Workload: of, Resource: r, Tick: s.tick,
		Features: s.Features(), FeatureVersion: FeatureVersion,
		Residuals: s.Residuals(n),
	}
}

// slot is the place of a tick in a ring; ticks may be negative.
func slot(tick int64, size int64) int64 {
	m := tick % size
	if m < 0 {
		m += size
	}
	return m
}

func fill(values []float32, v float32) {
	for i := range values {
		values[i] = v
	}
}
