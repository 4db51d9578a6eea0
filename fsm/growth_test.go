package fsm

import (
	"errors"
	"testing"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// Load that grows is written and expanded from its feature level on; what the level
// before knows of the calendar needs no newer one.
func TestGrowthNeedsItsLevel(t *testing.T) {
	w := newFleet(t)
	w.must(t, "h1", RaiseFeatureLevel{Level: levelSources})
	grows := fleet.CalendarEntry{ID: "shop", Kind: fleet.LoadGrows, Groups: []string{"shop"}, Change: fleet.Vector{CPU: 200}}
	source := PutCalendarSource{Source: fleet.CalendarSource{Entry: grows, Start: "2026-01-01T00:00", Duration: 365 * 24 * time.Hour}, By: "alice"}
	interval := grows
	interval.From, interval.Until = epoch, epoch.Add(365*24*time.Hour)
	expanded := SetCalendar{Source: "rules", Entries: []fleet.CalendarEntry{interval}}
	for _, op := range []Operation{source, expanded} {
		if err := w.apply(t, "h1", op).Refused(); !errors.Is(err, ErrLevel) || w.state.Allows(op) == nil {
			t.Errorf("%T at level %d: %v", op, levelSources, err)
		}
	}
	w.must(t, "h1", everyOperation()["put-calendar-source"], everyOperation()["set-calendar"])
	w.must(t, "h1", RaiseFeatureLevel{Level: levelGrowth})
	w.must(t, "h1", source, expanded)
	if got := w.state.CalendarOf("rules"); len(got) != 1 || got[0].Kind != fleet.LoadGrows || got[0].Change.CPU != 200 {
		t.Errorf("%+v", got)
	}
	shrinks := source
	shrinks.Source.Entry.Change.CPU = -1000
	if err := w.apply(t, "h1", shrinks).Refused(); !errors.Is(err, ErrRule) {
		t.Errorf("load that is gone after a month: %v", err)
	}
}
