package predictor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Lesson says which moments of a history are to teach.
type Lesson struct {
	// From and Until bound the origins and what came after them, in ticks:
	// nothing at or after Until is looked at.
	From  int64 `json:"from"`
	Until int64 `json:"until"`
	// Limit is how many examples are wanted at most; Phase shifts which of the
	// moments are taken, so that series do not all teach the same ones.
	Limit int    `json:"limit"`
	Phase uint64 `json:"phase"`
}

// minTeachTicks of history lie before every example: with less, half of an
// outlook is missing.
const minTeachTicks = 2 * ticksPerDay

// TrackDays is how many of the newest days stay out of every training, so that
// what was learned can be judged on them.
const TrackDays = 2

// Examples samples moments of a history, one value per tick from the tick first
// on, NaN = missing, evenly over the lesson's time.
func Examples(first int64, values []float32, l Lesson) []Example {
	from := max(l.From, first+minTeachTicks)
	until := min(l.Until, first+int64(len(values)))
	if l.Limit <= 0 || until <= from {
		return nil
	}
	targets := make([]float64, until-first)
	for i := range targets {
		targets[i] = float64(values[i])
	}
	stride := max((until-from+int64(l.Limit)-1)/int64(l.Limit), 1)
	next := from + int64(l.Phase%uint64(stride))
	s := NewSeries()
	var out []Example
	for tick := first; tick < until; tick++ {
		s.record(tick, targets[tick-first])
		if tick < next {
			continue
		}
		next += stride
		if s.Empty() || s.Tick() != tick {
			continue
		}
		e := Example{Outlook: s.Outlook()}
		known := false
		for h := range Horizons {
			e.Targets[h] = float32(Horizons[h].target(targets, int(tick-first)))
			known = known || e.Targets[h] == e.Targets[h]
		}
		if known {
			out = append(out, e)
		}
	}
	return out
}

// NewTrack judges the forecasts of the end of a history, from the tick `from` on,
// as if the host had followed it: pool may be nil, and must not have seen what
// comes after `from`. The series and the track then go on together.
func NewTrack(first int64, values []float32, from int64, pool *Pool, all *SharedShifts, series int) (*Series, *Track) {
	s, t := NewSeries(), &Track{}
	last := first + int64(len(values))
	// The errors of the last day and what the plain forecast is judged by come
	// from features; before that the bare values do.
	features := min(from, last-1) - Window - Steps
	for i, v := range values {
		tick := first + int64(i)
		if tick < features {
			s.record(tick, float64(v))
			continue
		}
		s.Observe(tick, float64(v))
		if tick >= from && s.tick == tick {
			t.Observe(s, pool, all, series)
		}
	}
	return s, t
}

const (
	examplesVersion = 1
	exampleSize     = 4 * (OutlookCount + HorizonCount)
)

// EncodeExamples packs examples for the way to a leader: version, outlook
// version, float32 values of each, CRC-32C; little endian.
func EncodeExamples(examples []Example) []byte {
	out := make([]byte, 0, 6+len(examples)*exampleSize)
	out = append(out, examplesVersion, OutlookVersion)
	for i := range examples {
		for _, v := range examples[i].Outlook {
			out = appendFloat(out, v)
		}
		for _, v := range examples[i].Targets {
			out = appendFloat(out, v)
		}
	}
	return binary.LittleEndian.AppendUint32(out, checksum(out))
}

// DecodeExamples reads what EncodeExamples wrote. Targets and outlooks that are
// infinite or negative where they cannot be are refused: one host must not be
// able to spoil the models of all.
func DecodeExamples(data []byte) ([]Example, error) {
	if len(data) < 6 || data[0] != examplesVersion || data[1] != OutlookVersion {
		return nil, fmt.Errorf("decode examples: version unknown, this build reads %d with outlook %d", examplesVersion, OutlookVersion)
	}
	body := data[2 : len(data)-4]
	switch {
	case len(body)%exampleSize != 0:
		return nil, fmt.Errorf("decode examples: %d bytes are no multiple of %d", len(body), exampleSize)
	case checksum(data[:len(data)-4]) != binary.LittleEndian.Uint32(data[len(data)-4:]):
		return nil, errors.New("decode examples: the checksum does not match")
	}
	out := make([]Example, len(body)/exampleSize)
	for i := range out {
		values := make([]float32, OutlookCount+HorizonCount)
		for k := range values {
			values[k] = math.Float32frombits(binary.LittleEndian.Uint32(body[i*exampleSize+4*k:]))
			if math.IsInf(float64(values[k]), 0) {
				return nil, fmt.Errorf("decode examples: value %d of example %d is not finite", k, i)
			}
		}
		out[i].Outlook = values[:OutlookCount:OutlookCount]
		copy(out[i].Targets[:], values[OutlookCount:])
		for h, target := range out[i].Targets {
			if target < 0 {
				return nil, fmt.Errorf("decode examples: the target %s of example %d is negative", Horizons[h], i)
			}
		}
	}
	return out, nil
}
