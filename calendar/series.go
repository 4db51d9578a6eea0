package calendar

import (
	"fmt"
	"time"

	"github.com/teambition/rrule-go"

	"github.com/placed-dev/placed/fleet"
)

// localTime is how rules write times: in their zone.
const localTime = "2006-01-02T15:04"

// Rule is an interval that comes once or again and again.
type Rule struct {
	// Entry is what each interval becomes; its id gets the time appended.
	Entry fleet.CalendarEntry
	// Start of the first interval, 2006-01-02T15:04 in Zone (IANA) [UTC].
	Start, Zone string
	Duration    time.Duration
	// Recurrence is the value of an RRULE (RFC 5545), empty = once.
	Recurrence string
	// Except are starts that are left out, written like Start.
	Except []string
}

// series is a first start, how it recurs, and how long each interval is.
type series struct {
	start  time.Time
	option *rrule.ROption // nil = once
	extra  []time.Time    // further starts
	except []time.Time
	end    func(start time.Time) time.Time
}

func (r Rule) series(zone *time.Location) (series, error) {
	start, err := time.ParseInLocation(localTime, r.Start, zone)
	if err != nil {
		return series{}, fmt.Errorf("start %q is not a time like %s", r.Start, localTime)
	}
	if r.Duration <= 0 {
		return series{}, fmt.Errorf("duration %s is not positive", r.Duration)
	}
	s := series{start: start, end: func(t time.Time) time.Time { return t.Add(r.Duration) }}
	for _, text := range r.Except {
		t, err := time.ParseInLocation(localTime, text, zone)
		if err != nil {
			return series{}, fmt.Errorf("except %q is not a time like %s", text, localTime)
		}
		s.except = append(s.except, t)
	}
	if r.Recurrence != "" {
		if s.option, err = parseRecurrence(r.Recurrence, start); err != nil {
			return series{}, err
		}
	}
	return s, nil
}

// parseRecurrence reads an RRULE. What would take the library for ever or for an
// hour is refused: the steps from the start to now are walked one by one.
func parseRecurrence(text string, start time.Time) (*rrule.ROption, error) {
	option, err := rrule.StrToROptionInLocation(text, start.Location())
	if err != nil {
		return nil, fmt.Errorf("recurrence %q: %w", text, err)
	}
	if option.Freq > rrule.HOURLY {
		return nil, fmt.Errorf("recurrence %q: %s is too often for a calendar, HOURLY is the most", text, option.Freq)
	}
	if start.Year() < 1990 {
		return nil, fmt.Errorf("recurrence %q: it starts in %d, before 1990", text, start.Year())
	}
	option.Dtstart = start
	if _, err := rrule.NewRRule(*option); err != nil {
		return nil, fmt.Errorf("recurrence %q: %w", text, err)
	}
	return option, nil
}

// starts returns the starts of all intervals that touch [from, until), ascending.
func (s series) starts(from, until time.Time) ([]time.Time, error) {
	length := s.end(s.start).Sub(s.start) + 2*time.Hour // days may be 25 hours long
	var set rrule.Set
	set.DTStart(s.start)
	if s.option == nil {
		set.RDate(s.start)
	} else {
		option := *s.option
		// Nothing later is wanted; without this a rule that never comes
		// true would be followed to the year 9999.
		if option.Until.IsZero() || option.Until.After(until) {
			option.Until = until
		}
		rule, err := rrule.NewRRule(option)
		if err != nil {
			return nil, err
		}
		set.RRule(rule)
	}
	for _, t := range s.extra {
		set.RDate(t)
	}
	for _, t := range s.except {
		set.ExDate(t)
	}
	var out []time.Time
	next := set.Iterator()
	for t, more := next(); more && t.Before(until); t, more = next() {
		t = firstOfTwo(t)
		if t.Before(from.Add(-length)) || !s.end(t).After(from) || len(out) > 0 && !t.After(out[len(out)-1]) {
			continue
		}
		if len(out) > maxEntries {
			return nil, fmt.Errorf("more than %d intervals until %s", maxEntries, until.Format(time.DateOnly))
		}
		out = append(out, t)
	}
	return out, nil
}

// firstOfTwo returns the earlier of the two moments that show the same local
// time when clocks are set back: RFC 5545, 3.3.5 means that one.
func firstOfTwo(t time.Time) time.Time {
	earlier := t.Add(-time.Hour)
	if h, m, _ := t.Clock(); earlier.Day() == t.Day() {
		if eh, em, _ := earlier.Clock(); eh == h && em == m {
			return earlier
		}
	}
	return t
}

func (r Rule) expand(zone *time.Location, from, until time.Time) ([]fleet.CalendarEntry, error) {
	s, err := r.series(zone)
	if err != nil {
		return nil, err
	}
	starts, err := s.starts(from, until)
	if err != nil {
		return nil, err
	}
	var out []fleet.CalendarEntry
	for _, t := range starts {
		out = append(out, instance(r.Entry, r.Entry.ID, t, s.end(t)))
	}
	return out, nil
}

// instance makes the entry of one interval. Its id depends on nothing but the
// series and the start, so that a refresh of the same calendar is no change.
func instance(template fleet.CalendarEntry, id string, from, until time.Time) fleet.CalendarEntry {
	e := template
	e.ID = id + "-" + from.UTC().Format("20060102T1504")
	e.From, e.Until = from.UTC(), until.UTC()
	return e
}
