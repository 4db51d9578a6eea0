package telemetry

import (
	"math"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/placed-dev/placed/fleet"
)

// TestColumnIsWhatReadReturns: on disk, waiting or both, overwritten or late, one
// column read on its own is the same as in whole samples.
func TestColumnIsWhatReadReturns(t *testing.T) {
	dir, n := t.TempDir(), 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		h, err := OpenHistory(Config{Path: filepath.Join(dir, string(rune('a'+n%26))+time.Now().Format("150405.000000000"))})
		if err != nil {
			rt.Fatal(err)
		}
		defer h.Close()
		base := time.Date(2026, 3, 1, 22, 0, 0, 0, time.UTC)
		amounts := rapid.OneOf(rapid.Int64Range(0, 100), rapid.Int64Range(0, math.MaxInt64/2), rapid.Just(fleet.Unknown))
		for range rapid.IntRange(1, 60).Draw(rt, "samples") {
			s := fleet.Sample{At: base.Add(time.Duration(rapid.IntRange(0, 500).Draw(rt, "minute")) * time.Minute),
				Usage: fleet.Vector{CPU: amounts.Draw(rt, "cpu"), Memory: amounts.Draw(rt, "memory")}.With("gpu", 3), Wait: 5}
			if err := h.Append("w", s); err != nil {
				rt.Fatal(err)
			}
			if rapid.IntRange(0, 9).Draw(rt, "flush") == 0 {
				if err := h.Flush(); err != nil {
					rt.Fatal(err)
				}
			}
		}
		from := base.Add(time.Duration(rapid.IntRange(0, 300).Draw(rt, "from")) * time.Minute)
		to := from.Add(time.Duration(rapid.IntRange(0, 400).Draw(rt, "long")) * time.Minute)
		want, err := h.Read("w", from, to)
		if err != nil {
			rt.Fatal(err)
		}
		for _, r := range fleet.Resources() {
			got, err := h.ReadColumn("w", r, from, to)
			if err != nil || len(got.Times) != len(want) || len(got.Amounts) != len(want) {
				rt.Fatalf("%s: %d of %d samples, %v", r, len(got.Times), len(want), err)
			}
			for i, s := range want {
				if got.Times[i] != s.At.UnixMilli() || got.Amounts[i] != s.Usage.Get(r) {
					rt.Fatalf("%s: sample %d is %d at %d, want %d at %d", r, i, got.Amounts[i], got.Times[i], s.Usage.Get(r), s.At.UnixMilli())
				}
			}
		}
	})
}

// TestHistoryTravels: the blocks of one host are the history of the next, where its
// own later samples win; rubbish changes nothing.
func TestHistoryTravels(t *testing.T) {
	open := func() *History {
		h, err := OpenHistory(Config{Path: filepath.Join(t.TempDir(), "history.db")})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { h.Close() })
		return h
	}
	source, destination := open(), open()
	base := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	sample := func(minute int, cpu int64) fleet.Sample {
		return fleet.Sample{At: base.Add(time.Duration(minute) * time.Minute), Usage: fleet.Vector{CPU: cpu}}
	}
	for minute := 0; minute < 3*24*60; minute += 5 {
		if err := source.Append("w", sample(minute, int64(minute))); err != nil {
			t.Fatal(err)
		}
	}
	last := 3*24*60 - 5
	if err := destination.Append("w", sample(last, 7)); err != nil {
		t.Fatal(err)
	}
	blocks, err := source.Blocks("w")
	if err != nil || len(blocks) != 3 {
		t.Fatalf("%d blocks of three days, %v", len(blocks), err)
	}
	if err := destination.AddBlocks("w", [][]byte{blocks[0], []byte("rubbish")}); err == nil {
		t.Error("rubbish was taken for a block")
	}
	if got, _ := destination.Read("w", base, base.AddDate(0, 0, 9)); len(got) != 1 {
		t.Errorf("%d samples after rubbish, want the host's own", len(got))
	}
	if err := destination.AddBlocks("w", make([][]byte, maxBlocks+1)); err == nil {
		t.Error("any number of days is taken")
	}
	if err := destination.AddBlocks("w", blocks); err != nil {
		t.Fatal(err)
	}
	got, err := destination.Read("w", base, base.AddDate(0, 0, 9))
	if err != nil || len(got) != 3*24*12 {
		t.Fatalf("%d samples, %v", len(got), err)
	}
	for i, s := range got {
		want := int64(5 * i)
		if i == len(got)-1 {
			want = 7
		}
		if s.Usage.CPU != want {
			t.Fatalf("sample %d is %d, want %d", i, s.Usage.CPU, want)
		}
	}
	if unknown, err := source.Blocks("nobody"); err != nil || len(unknown) != 0 {
		t.Errorf("of an unknown series: %d blocks, %v", len(unknown), err)
	}
}
