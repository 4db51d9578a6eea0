package calendar

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/placed-dev/placed/fleet"
)

var maintenance = fleet.CalendarEntry{Kind: fleet.CapacityFalls, Change: fleet.Vector{CPU: -1000}}

// TestStories: rules and files in, intervals out, shown in their zone and with
// their length in real hours.
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			arg := func(name, otherwise string) string {
				if d.HasArg(name) {
					d.ScanArgs(t, name, &otherwise)
				}
				return otherwise
			}
			zoneName := arg("zone", "")
			zone, err := time.LoadLocation(zoneName)
			if err != nil {
				return err.Error()
			}
			from, err := time.ParseInLocation(time.DateOnly, arg("from", "2026-01-01"), zone)
			if err != nil {
				d.Fatalf(t, "from: %v", err)
			}
			var days int
			d.MaybeScanArgs(t, "days", &days)
			until := from.AddDate(0, 0, days)
			var entries []fleet.CalendarEntry
			switch d.Cmd {
			case "rule":
				length, err := time.ParseDuration(arg("duration", "1h"))
				if err != nil {
					d.Fatalf(t, "duration: %v", err)
				}
				r := Rule{Start: arg("start", ""), Zone: zoneName, Duration: length, Recurrence: strings.TrimSpace(d.Input), Entry: maintenance}
				r.Entry.ID = "r"
				if e := arg("except", ""); e != "" {
					r.Except = []string{e}
				}
				entries, err = r.expand(zone, from, until)
				if err != nil {
					return err.Error()
				}
			case "ics":
				text := strings.ReplaceAll(d.Input, "\n", "\r\n") + "\r\n"
				if !d.HasArg("bare") {
					text = "BEGIN:VCALENDAR\r\n" + text + "END:VCALENDAR\r\n"
				}
				entries, err = ReadICS("f.ics", strings.NewReader(text), zone, maintenance, from, until)
				if err != nil {
					return err.Error()
				}
			default:
				d.Fatalf(t, "unknown command %s", d.Cmd)
			}
			var out strings.Builder
			for _, e := range entries {
				fmt.Fprintf(&out, "%s to %s (%s) %s\n", e.From.In(zone).Format("Mon 2006-01-02 15:04 MST"), e.Until.In(zone).Format("Mon 15:04"), e.Until.Sub(e.From), e.Label)
			}
			if out.Len() == 0 {
				return "nothing"
			}
			return out.String()
		})
	})
}

const goodICS = "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:a\r\nDTSTART:20260302T100000Z\r\nDTEND:20260302T120000Z\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"

func feedFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f.ics")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestExpand: a damaged source is named with file and line, and the others are
// expanded all the same; a second look at the same day gives the same entries.
func TestExpand(t *testing.T) {
	good, bad := feedFile(t, goodICS), feedFile(t, strings.Replace(goodICS, "DTEND:2026", "DTEND:20x6", 1))
	nightly := maintenance
	nightly.ID = "nightly"
	c, err := New(Config{
		Rules: []Rule{{Entry: nightly, Start: "2026-01-01T02:00", Zone: "Europe/Berlin", Duration: time.Hour, Recurrence: "FREQ=DAILY"}},
		Feeds: []Feed{{Name: "good", Path: good, Entry: maintenance}, {Name: "bad", Path: bad, Entry: maintenance}, {Name: "gone", Path: good + ".gone", Entry: maintenance}},
	})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	sources, err := c.Expand(now)
	for _, want := range []string{"calendar feed bad: " + bad + ":5: DTEND", "calendar feed gone: open "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q in %v", want, err)
		}
	}
	var at *FileError
	if !errors.As(err, &at) || at.Line != 5 {
		t.Errorf("the line is not in %#v", err)
	}
	if len(sources) != 2 || sources[0].Name != RuleSource || len(sources[0].Entries) != 14 || len(sources[1].Entries) != 1 {
		t.Fatalf("expanded to %+v", sources)
	}
	for _, s := range sources {
		for _, e := range s.Entries {
			if err := e.Validate(); err != nil {
				t.Error(err)
			}
		}
	}
	later, _ := c.Expand(now.Add(time.Hour))
	if got, want := fmt.Sprint(later), fmt.Sprint(sources); got != want {
		t.Errorf("an hour later, with the same intervals ahead: %s, before %s", got, want)
	}
}

// TestUnderWay: what began before now and is not over belongs to the days ahead.
func TestUnderWay(t *testing.T) {
	entry := maintenance
	entry.ID = "long"
	c, err := New(Config{Rules: []Rule{{Entry: entry, Start: "2026-03-01T00:00", Duration: 48 * time.Hour}}})
	if err != nil {
		t.Fatal(err)
	}
	for hours, want := range map[int]int{-400: 0, -24: 1, 24: 1, 47: 1, 48: 0, 100: 0} {
		sources, err := c.Expand(time.Date(2026, 3, 1, hours, 0, 0, 0, time.UTC))
		if err != nil {
			t.Fatal(err)
		}
		if got := len(sources[0].Entries); got != want {
			t.Errorf("%d hours after its beginning: %d intervals, want %d", hours, got, want)
		}
	}
}

// TestByteOrderMark: some programs write one, and it is no damage.
func TestByteOrderMark(t *testing.T) {
	from := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	entries, err := ReadICS("f.ics", strings.NewReader("\xef\xbb\xbf"+goodICS), time.UTC, maintenance, from, from.AddDate(0, 0, 14))
	if err != nil || len(entries) != 1 {
		t.Errorf("%d entries, %v", len(entries), err)
	}
}

// TestTooMany: a source that the books would refuse is refused with the remedy.
func TestTooMany(t *testing.T) {
	var rules []Rule
	for i := range 4 {
		entry := maintenance
		entry.ID = fmt.Sprint("r", i)
		rules = append(rules, Rule{Entry: entry, Start: "2026-01-01T00:00", Duration: time.Minute, Recurrence: "FREQ=HOURLY"})
	}
	c, err := New(Config{Rules: rules})
	if err != nil {
		t.Fatal(err)
	}
	sources, err := c.Expand(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC))
	if len(sources) != 0 || err == nil || !strings.Contains(err.Error(), "1344 intervals in 336h0m0s, at most 1024 are allowed: expand fewer days or split the source") {
		t.Errorf("%d sources, %v", len(sources), err)
	}
}

func TestRefusals(t *testing.T) {
	entry := maintenance
	entry.ID = "r"
	rule := func(change func(*Rule)) Config {
		r := Rule{Entry: entry, Start: "2026-01-01T00:00", Duration: time.Hour, Recurrence: "FREQ=DAILY"}
		change(&r)
		return Config{Rules: []Rule{r}}
	}
	feed := func(f Feed) Config { return Config{Feeds: []Feed{f}} }
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{rule(func(r *Rule) { r.Start = "tomorrow" }), `calendar rule r: start "tomorrow" is not a time like 2006-01-02T15:04`},
		{rule(func(r *Rule) { r.Zone = "Mars/Olympus" }), `time zone "Mars/Olympus" is unknown: use a name of the IANA database`},
		{rule(func(r *Rule) { r.Duration = 0 }), "duration 0s is not positive"},
		{rule(func(r *Rule) { r.Recurrence = "FREQ=SOMETIMES" }), `recurrence "FREQ=SOMETIMES"`},
		{rule(func(r *Rule) { r.Recurrence = "FREQ=SECONDLY" }), "SECONDLY is too often for a calendar"},
		{rule(func(r *Rule) { r.Start = "1970-01-01T00:00" }), "it starts in 1970, before 1990"},
		{rule(func(r *Rule) { r.Except = []string{"never"} }), `except "never" is not a time`},
		{rule(func(r *Rule) { r.Entry.ID = "no spaces" }), `contains ' '`},
		{rule(func(r *Rule) { r.Entry.Change = fleet.Vector{} }), "says by how many thousandths"},
		{Config{Rules: append(rule(func(*Rule) {}).Rules, rule(func(*Rule) {}).Rules...)}, "calendar rule r: the id is doubled"},
		{feed(Feed{Name: "rules", Entry: maintenance}), `calendar feed "rules" (): the name is empty, doubled or "rules"`},
		{feed(Feed{Name: "f", Zone: "x", Entry: maintenance}), `calendar feed f: time zone "x" is unknown`},
		{feed(Feed{Name: "f"}), "calendar feed f: calendar entry f: capacity-falls says by how many"},
	} {
		if _, err := New(c.cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want %q, got %v", c.want, err)
		}
	}
}

// FuzzICS: whatever a file holds, the answer is valid entries within the window
// or an error with a line, never a crash.
func FuzzICS(f *testing.F) {
	f.Add(goodICS)
	f.Add("BEGIN:VCALENDAR\nBEGIN:VEVENT\nUID:x\nDTSTART;TZID=Europe/Berlin:20260328T023000\nDURATION:P1DT2H\nRRULE:FREQ=DAILY;COUNT=9\nEXDATE:20260330T003000Z\nRDATE;VALUE=DATE:20260401\nEND:VEVENT\nEND:VCALENDAR")
	f.Add("BEGIN:VCALENDAR\nBEGIN:VEVENT\nUID;")
	from := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	until := from.AddDate(0, 0, 14)
	f.Fuzz(func(t *testing.T, text string) {
		entries, err := ReadICS("f", strings.NewReader(text), time.UTC, maintenance, from, until)
		var at *FileError
		if err != nil && (!errors.As(err, &at) || at.Line < 1 || at.Line > strings.Count(text, "\n")+1) {
			t.Fatalf("%v has no line of the file", err)
		}
		for _, e := range entries {
			if e.Validate() != nil || !e.Until.After(from) || !e.From.Before(until) {
				t.Fatalf("entry %+v", e)
			}
		}
	})
}
