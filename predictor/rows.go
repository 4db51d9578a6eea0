package predictor

import (
	"encoding/binary"
	"slices"

	"github.com/placed-dev/placed/fleet"
)

// RowSize is the length of a residual in Series.Rows: its tick (int64), then what a
// report carries of it. In fleet.Residual it takes 80 bytes, and a voter keeps a day of
// them of every series in the fleet.
const RowSize = 8 + packSize + Steps

// RowTicks lists the ticks of the residuals in rows.
func RowTicks(rows []byte) []int64 {
	out := make([]int64, len(rows)/RowSize)
	for i := range out {
		out[i] = rowTick(rows[i*RowSize:])
	}
	return out
}

func rowTick(row []byte) int64 { return int64(binary.LittleEndian.Uint64(row)) }

// MergeRows keeps one residual per tick, the newest day of them, ascending. What it
// returns may share have's array behind its end, never what have holds.
func MergeRows(have, more []byte) []byte {
	if len(more) == 0 {
		return have
	}
	ticks := RowTicks(more)
	if slices.IsSorted(ticks) && len(have) > 0 && ticks[0] > rowTick(have[len(have)-RowSize:]) && len(slices.Compact(slices.Clone(ticks))) == len(ticks) {
		have = append(have, more...)
	} else {
		byTick := map[int64][]byte{}
		for _, rows := range [][]byte{have, more} {
			for row := range slices.Chunk(rows, RowSize) {
				byTick[rowTick(row)] = row
			}
		}
		ticks = ticks[:0]
		for tick := range byTick {
			ticks = append(ticks, tick)
		}
		slices.Sort(ticks)
		have = make([]byte, 0, len(ticks)*RowSize)
		for _, tick := range ticks {
			have = append(have, byTick[tick]...)
		}
	}
	if extra := len(have) - Window*RowSize; extra > 0 {
		have = slices.Clone(have[extra:])
	}
	return have
}

// residualCount and residualAt read what a series knows of its past errors, in either
// form; errors are nil where they have another layout.
func residualCount(s fleet.Series) int {
	if len(s.Rows) > 0 {
		return len(s.Rows) / RowSize
	}
	return len(s.Residuals)
}

func residualAt(s fleet.Series, i int, buffer *[Steps]float32) (tick int64, errors *[Steps]float32) {
	if len(s.Rows) > 0 {
		row := s.Rows[i*RowSize:][:RowSize]
		readErrors(row[8:], buffer[:])
		return rowTick(row), buffer
	}
	r := s.Residuals[i]
	if len(r.Errors) != Steps {
		return r.Tick, nil
	}
	return r.Tick, (*[Steps]float32)(r.Errors)
}
