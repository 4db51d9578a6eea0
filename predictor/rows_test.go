package predictor

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/placed-dev/placed/fleet"
)

// TestMergeRows: whatever comes in whatever order, there is one residual per tick, the
// newest of each, the newest day of them, ascending; and what was given out before
// does not change.
func TestMergeRows(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var have, before, copied []byte
		newest := map[int64]byte{}
		for range rapid.IntRange(1, 8).Draw(rt, "reports") {
			var more []byte
			first := rapid.Int64Range(0, 400).Draw(rt, "first")
			for i := range rapid.Int64Range(0, 300).Draw(rt, "residuals") {
				tick := first + i
				if rapid.IntRange(0, 20).Draw(rt, "disorder") == 0 {
					tick = rapid.Int64Range(0, 700).Draw(rt, "tick")
				}
				mark := byte(rapid.IntRange(0, 255).Draw(rt, "mark"))
				row := make([]byte, RowSize)
				row[0], row[1], row[RowSize-1] = byte(tick), byte(tick>>8), mark
				more, newest[tick] = append(more, row...), mark
			}
			before, copied = slices.Clip(have), slices.Clone(have)
			have = MergeRows(have, more)
			if !slices.Equal(before, copied) {
				rt.Fatal("what was given out has changed")
			}
		}
		ticks := RowTicks(have)
		if !slices.IsSorted(ticks) || len(slices.Compact(slices.Clone(ticks))) != len(ticks) || len(ticks) > Window {
			rt.Fatalf("%v", ticks)
		}
		if want := min(len(newest), Window); len(ticks) > want {
			rt.Fatalf("%d residuals of %d", len(ticks), want)
		}
		for i, tick := range ticks {
			if have[(i+1)*RowSize-1] != newest[tick] {
				rt.Fatalf("of tick %d an older residual is kept", tick)
			}
		}
	})
}

// TestRowsForecastAlike: residuals in rows make the block that they make in floats, to
// what eight bits leave; with gaps, too.
func TestRowsForecastAlike(t *testing.T) {
	all := &SharedShifts{}
	s, track := tracked(3, 11, nil, all)
	for _, gap := range []int{0, 7} {
		exact := reported(s, track, all)
		exact.Resource = fleet.Disk
		exact.Residuals = slices.Delete(slices.Clone(exact.Residuals), 40, 40+gap)
		rows, err := Unpacked(Packed(exact))
		if err != nil || len(rows.Rows) != len(exact.Residuals)*RowSize || rows.Residuals != nil {
			t.Fatalf("%d bytes of %d residuals, %v", len(rows.Rows), len(exact.Residuals), err)
		}
		floats := rows
		floats.Rows = nil
		var buffer [Steps]float32
		for i := range residualCount(rows) {
			tick, errors := residualAt(rows, i, &buffer)
			floats.Residuals = append(floats.Residuals, fleet.Residual{Tick: tick, Errors: slices.Clone(errors[:])})
		}
		if a, b := NewBlock(rows, Baseline{}), NewBlock(floats, Baseline{}); *a.amounts != *b.amounts || a.shift != b.shift || a.centres != b.centres {
			t.Errorf("with a gap of %d the blocks differ", gap)
		}
	}
}
