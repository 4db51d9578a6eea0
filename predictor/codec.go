package predictor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
)

// seriesVersion is the first byte of an encoded Series.
const seriesVersion = 1

// seriesSize is the length of a full encoding: version, tick, values, centres,
// errors, checksum.
const seriesSize = 1 + 8 + 4*(ringTicks+Steps*Steps+Window*Steps) + 4

// MarshalBinary encodes the history, so that it can follow the workload to
// another host: version, newest tick, the values, standing forecasts and errors
// oldest first, CRC-32C; little endian. A series without history is its version
// and checksum alone. The features are not in it: they follow from the values.
func (s *Series) MarshalBinary() ([]byte, error) {
	out := make([]byte, 0, seriesSize)
	out = append(out, seriesVersion)
	if s.started {
		out = binary.LittleEndian.AppendUint64(out, uint64(s.tick))
		for t := s.tick - ringTicks + 1; t <= s.tick; t++ {
			out = appendFloat(out, s.at(t))
		}
		for t := s.tick - Steps + 1; t <= s.tick; t++ {
			for _, v := range s.centres[slot(t, Steps)] {
				out = appendFloat(out, v)
			}
		}
		for t := s.tick - Window + 1; t <= s.tick; t++ {
			for _, v := range s.errors[slot(t, Window)] {
				out = appendFloat(out, v)
			}
		}
	}
	return binary.LittleEndian.AppendUint32(out, checksum(out)), nil
}

// UnmarshalBinary replaces the series by an encoded one and leaves it untouched
// when it cannot be read. The series then goes on exactly as the other one would
// have.
func (s *Series) UnmarshalBinary(data []byte) error {
	read, err := decodeSeries(data)
	if err != nil {
		return fmt.Errorf("decode the history of a series: %w", err)
	}
	*s = *read
	return nil
}

func decodeSeries(data []byte) (*Series, error) {
	if len(data) < 5 {
		return nil, fmt.Errorf("%d bytes are too short", len(data))
	}
	if data[0] != seriesVersion {
		return nil, fmt.Errorf("version %d is unknown, this build reads %d: upgrade the host that receives it", data[0], seriesVersion)
	}
	body, sum := data[:len(data)-4], binary.LittleEndian.Uint32(data[len(data)-4:])
	if checksum(body) != sum {
		return nil, errors.New("the checksum does not match: it was damaged on its way")
	}
	s := NewSeries()
	if len(data) == 5 {
		return s, nil
	}
	if len(data) != seriesSize {
		return nil, fmt.Errorf("%d bytes, want %d", len(data), seriesSize)
	}
	s.started, s.tick = true, int64(binary.LittleEndian.Uint64(body[1:]))
	if s.tick > maxTick || s.tick < -maxTick {
		return nil, fmt.Errorf("tick %d is out of range", s.tick)
	}
	floats := body[9:]
	next := func() float32 {
		v := math.Float32frombits(binary.LittleEndian.Uint32(floats))
		floats = floats[4:]
		return v
	}
	for t := s.tick - ringTicks + 1; t <= s.tick; t++ {
		v := next()
		if v < 0 || math.IsInf(float64(v), 0) {
			return nil, fmt.Errorf("the value of tick %d is %v", t, v)
		}
		s.set(t, v)
	}
	if newest := s.at(s.tick); newest != newest {
		return nil, errors.New("its newest tick has no value")
	}
	for t := s.tick - Steps + 1; t <= s.tick; t++ {
		for k := range Steps {
			s.centres[slot(t, Steps)][k] = next()
		}
	}
	for t := s.tick - Window + 1; t <= s.tick; t++ {
		row := &s.errors[slot(t, Window)]
		for k := range Steps {
			row[k] = next()
		}
		for k := range Steps {
			if row[0] == row[0] && (row[k] != row[k] || math.IsInf(float64(row[k]), 0)) {
				return nil, fmt.Errorf("the errors of tick %d are not finite", t)
			}
		}
	}
	s.features = s.computeFeatures()
	return s, nil
}

func appendFloat(out []byte, v float32) []byte {
	return binary.LittleEndian.AppendUint32(out, math.Float32bits(v))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(data []byte) uint32 { return crc32.Checksum(data, castagnoli) }
