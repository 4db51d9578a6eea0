package fsm

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// What an operator writes of the days ahead is kept until it is dropped, says so
// once, and is refused below its level and out of its bounds.
func TestCalendarSources(t *testing.T) {
	w := newFleet(t)
	w.must(t, "h1", RaiseFeatureLevel{Level: levelHash})
	backup := everyOperation()["put-calendar-source"].(PutCalendarSource)
	if err := w.apply(t, "h2", backup).Refused(); !errors.Is(err, ErrLevel) {
		t.Fatalf("at level %d: %v", levelHash, err)
	}
	w.must(t, "h1", RaiseFeatureLevel{Level: FeatureLevel})
	said := func(kind string) (n int) {
		for _, ev := range w.state.EventsSince(0, 0) {
			if ev.Type == kind {
				n++
			}
		}
		return n
	}
	w.must(t, "h2", backup)
	w.must(t, "h2", backup)
	if got := w.state.CalendarSources(); len(got) != 1 || got[0].Recurrence != "FREQ=DAILY" || said("calendar.written") != 1 {
		t.Fatalf("%+v, said %d times", got, said("calendar.written"))
	}
	before := w.state.Hash()
	changed := backup
	changed.Source.Duration = time.Hour
	w.must(t, "h2", changed)
	if w.state.Hash() == before || said("calendar.written") != 2 {
		t.Error("a change left no trace")
	}
	for want, bad := range map[string]func(*fleet.CalendarSource){
		"keep one":           func(s *fleet.CalendarSource) { s.ICS = "BEGIN:VCALENDAR" },
		"positive duration":  func(s *fleet.CalendarSource) { s.Duration = 0 },
		"not from and until": func(s *fleet.CalendarSource) { s.Entry.From = epoch },
		"iCalendar file has": func(s *fleet.CalendarSource) {
			*s = fleet.CalendarSource{Entry: s.Entry, ICS: strings.Repeat("x", fleet.MaxICS+1)}
		},
		"changes no amount":       func(s *fleet.CalendarSource) { s.Entry.Change.CPU = 5 },
		"exceptions":              func(s *fleet.CalendarSource) { s.Except = make([]string, 300) },
		"at most 512 are allowed": func(s *fleet.CalendarSource) { s.Recurrence = strings.Repeat("x", 513) },
		"letters, digits and":     func(s *fleet.CalendarSource) { s.Entry.Hosts = []fleet.HostID{"a b"} },
	} {
		source := backup.Source
		bad(&source)
		if err := w.apply(t, "h2", PutCalendarSource{Source: source}).Refused(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not said: %v", want, err)
		}
	}
	w.must(t, "h3", DropCalendarSource{ID: "backup", By: "alice"})
	if err := w.apply(t, "h3", DropCalendarSource{ID: "backup"}).Refused(); !errors.Is(err, ErrNotFound) || len(w.state.CalendarSources()) != 0 {
		t.Errorf("dropped twice: %v", err)
	}
}

// A group that an operator changes reaches the books from the level on that knows
// it; below, every member must go on deciding as before.
func TestGroupChanges(t *testing.T) {
	w := newFleet(t)
	w.must(t, "h1", RaiseFeatureLevel{Level: levelHash})
	grouped, _ := w.state.Workload("w1")
	grouped.Group = "web"
	w.must(t, "h1", RegisterWorkloads{Host: "h1", Workloads: append(w.owned("h1")[1:], grouped)})
	if got, _ := w.state.Workload("w1"); got.Group != "" {
		t.Errorf("group %q at level %d", got.Group, levelHash)
	}
	w.must(t, "h1", RaiseFeatureLevel{Level: FeatureLevel})
	w.must(t, "h1", RegisterWorkloads{Host: "h1", Workloads: append(w.owned("h1")[1:], grouped)})
	if got, _ := w.state.Workload("w1"); got.Group != "web" {
		t.Errorf("group %q at level %d", got.Group, FeatureLevel)
	}
}
