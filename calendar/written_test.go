package calendar

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/placed-dev/placed/fleet"
)

func written(id string, change func(*fleet.CalendarSource)) fleet.CalendarSource {
	s := fleet.CalendarSource{Entry: maintenance, Zone: "Europe/Berlin", Start: "2026-01-05T22:00", Duration: time.Hour, Recurrence: "FREQ=DAILY"}
	s.Entry.ID = id
	change(&s)
	return s
}

// What is written into the books becomes the same intervals all day; one source
// that cannot be read keeps no other out.
func TestWritten(t *testing.T) {
	sources := []fleet.CalendarSource{
		written("nightly", func(*fleet.CalendarSource) {}),
		written("once", func(s *fleet.CalendarSource) { s.Start, s.Recurrence = "2026-03-02T08:00", "" }),
		written("feed", func(s *fleet.CalendarSource) { *s = fleet.CalendarSource{Entry: s.Entry, ICS: goodICS} }),
		written("nowhere", func(s *fleet.CalendarSource) { s.Zone = "Atlantis/Center" }),
		written("broken", func(s *fleet.CalendarSource) { *s = fleet.CalendarSource{Entry: s.Entry, ICS: "BEGIN:VCALENDAR\r\n"} }),
	}
	morning := time.Date(2026, 3, 1, 6, 0, 0, 0, time.UTC)
	out, err := Written(sources, morning)
	for _, want := range []string{"nowhere: time zone", "broken: broken:1"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	if len(out) != 2 || out[0].Name != RuleSource || len(out[0].Entries) != 16 || out[1].Name != "feed" || len(out[1].Entries) != 1 {
		t.Fatalf("%+v", out)
	}
	evening, _ := Written(sources, morning.Add(17*time.Hour))
	if fmt.Sprint(evening) != fmt.Sprint(out) {
		t.Error("the intervals change within a day")
	}
	tomorrow, _ := Written(sources, morning.Add(24*time.Hour))
	if fmt.Sprint(tomorrow) == fmt.Sprint(out) {
		t.Error("the intervals of tomorrow are those of today")
	}
	if out, err := Written(nil, morning); len(out) != 0 || err != nil {
		t.Errorf("of nothing: %+v, %v", out, err)
	}
}

// A source is refused before it is written: by itself, and when it would push the
// others out of the books.
func TestCheck(t *testing.T) {
	now := time.Date(2026, 3, 1, 6, 0, 0, 0, time.UTC)
	hourly := func(id string) fleet.CalendarSource {
		return written(id, func(s *fleet.CalendarSource) { s.Recurrence, s.Duration = "FREQ=HOURLY", time.Minute })
	}
	if entries, err := Check(hourly("a"), nil, now); err != nil || len(entries) != 15*24 {
		t.Errorf("%d intervals, %v", len(entries), err)
	}
	others := []fleet.CalendarSource{hourly("a"), hourly("b")}
	if _, err := Check(hourly("b"), others, now); err != nil {
		t.Errorf("in place of itself: %v", err)
	}
	for want, s := range map[string]fleet.CalendarSource{
		"together with what is written already": hourly("c"),
		"FREQ=MINUTELY":                         written("m", func(s *fleet.CalendarSource) { s.Recurrence = "FREQ=MINUTELY" }),
		"is not a time like":                    written("s", func(s *fleet.CalendarSource) { s.Start = "tomorrow" }),
		"positive duration":                     written("d", func(s *fleet.CalendarSource) { s.Duration = 0 }),
		"give each feed a name of its own":      written("rules", func(s *fleet.CalendarSource) { *s = fleet.CalendarSource{Entry: s.Entry, ICS: goodICS} }),
	} {
		if _, err := Check(s, others, now); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not said: %v", want, err)
		}
	}
}
