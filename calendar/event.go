package calendar

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/emersion/go-ical"

	"github.com/placed-dev/placed/fleet"
)

// event is one VEVENT, with where it stands in the file.
type event struct {
	*ical.Component
	file  string
	zone  *time.Location
	lines map[string]int

	uid, summary string
	cancelled    bool
	series       series
	// replaces is the start of the instance of a recurring event that this
	// one stands for (RECURRENCE-ID); zero for an event of its own.
	replaces time.Time
}

// fail names the line of the property, or else that of the event.
func (e *event) fail(property string, reason error) error {
	line := e.lines[property]
	if line == 0 {
		line = e.lines[""]
	}
	return &FileError{File: e.file, Line: line, Err: reason}
}

func (e *event) read() error {
	uid, err := e.Props.Text(ical.PropUID)
	if err != nil || uid == "" {
		return e.fail(ical.PropUID, errors.New("the event has no UID"))
	}
	e.uid = uid
	if e.summary, err = e.Props.Text(ical.PropSummary); err != nil {
		return e.fail(ical.PropSummary, err)
	}
	status, err := e.Props.Text(ical.PropStatus)
	if err != nil {
		return e.fail(ical.PropStatus, err)
	}
	e.cancelled = strings.EqualFold(status, string(ical.EventCancelled))
	if e.replaces, _, err = e.time(ical.PropRecurrenceID); err != nil {
		return err
	}
	if p := e.Props.Get(ical.PropRecurrenceID); p != nil && p.Params.Get(ical.ParamRange) != "" {
		return e.fail(ical.PropRecurrenceID, errors.New("RANGE is not understood: end the series with UNTIL and begin another"))
	}
	if e.Props.Get(ical.PropDateTimeStart) == nil {
		return e.fail(ical.PropDateTimeStart, errors.New("the event has no DTSTART"))
	}
	if e.series.start, _, err = e.time(ical.PropDateTimeStart); err != nil {
		return err
	}
	if err := e.readEnd(); err != nil {
		return err
	}
	return e.readRecurrence()
}

// time reads a date or a time; day tells which.
func (e *event) time(property string) (t time.Time, day bool, err error) {
	p := e.Props.Get(property)
	if p == nil {
		return time.Time{}, false, nil
	}
	return e.timeOf(*p)
}

func (e *event) timeOf(p ical.Prop) (t time.Time, day bool, err error) {
	if id := p.Params.Get(ical.ParamTimezoneID); id != "" {
		if _, err := time.LoadLocation(id); err != nil {
			return t, false, e.fail(p.Name, fmt.Errorf("time zone %q is unknown: write the name of the IANA database, such as Europe/Berlin", id))
		}
	}
	if t, err = p.DateTime(e.zone); err != nil {
		return t, false, e.fail(p.Name, fmt.Errorf("%s %q is not a time: %w", p.Name, p.Value, err))
	}
	return t, len(p.Value) == len("20060102"), nil
}

// readEnd finds how long each instance is. A DTEND gives the exact duration of
// all of them; a DURATION counts days and weeks by the calendar, and a whole day
// ends at midnight, however many hours later (RFC 5545, 3.3.6 and 3.8.5.3).
func (e *event) readEnd() error {
	start, whole, _ := e.time(ical.PropDateTimeStart)
	end, _, err := e.time(ical.PropDateTimeEnd)
	if err != nil {
		return err
	}
	days, rest := 0, time.Duration(0)
	switch p := e.Props.Get(ical.PropDuration); {
	case e.Props.Get(ical.PropDateTimeEnd) != nil && whole:
		days = int(end.Sub(start).Round(24*time.Hour) / (24 * time.Hour))
	case e.Props.Get(ical.PropDateTimeEnd) != nil:
		rest = end.Sub(start)
	case p != nil:
		length, err := p.Duration()
		if err != nil {
			return e.fail(ical.PropDuration, fmt.Errorf("DURATION %q is not a duration: %w", p.Value, err))
		}
		if strings.ContainsAny(strings.ToUpper(p.Value), "DW") {
			days = int(length / (24 * time.Hour))
		}
		rest = length - time.Duration(days)*24*time.Hour
	case whole:
		days = 1
	default:
		return e.fail(ical.PropDateTimeStart, errors.New("the event has neither DTEND nor DURATION and is no whole day"))
	}
	if days < 0 || rest < 0 || days == 0 && rest == 0 || days > 366 {
		return e.fail(ical.PropDateTimeEnd, errors.New("the event ends before it begins, at once, or after more than a year"))
	}
	e.series.end = func(t time.Time) time.Time { return t.AddDate(0, 0, days).Add(rest) }
	return nil
}

func (e *event) readRecurrence() error {
	if p := e.Props.Get(ical.PropRecurrenceRule); p != nil {
		option, err := parseRecurrence(p.Value, e.series.start)
		if err != nil {
			return e.fail(ical.PropRecurrenceRule, err)
		}
		e.series.option = option
	}
	var err error
	if e.series.except, err = e.times(ical.PropExceptionDates); err != nil {
		return err
	}
	e.series.extra, err = e.times(ical.PropRecurrenceDates)
	return err
}

// times reads a property that may come often and hold lists.
func (e *event) times(property string) ([]time.Time, error) {
	var out []time.Time
	for _, p := range e.Props[property] {
		for _, value := range strings.Split(p.Value, ",") {
			one := p
			one.Value = value
			t, day, err := e.timeOf(one)
			if err != nil {
				return nil, err
			}
			if h, m, s := e.series.start.Clock(); day && property == ical.PropExceptionDates {
				// Many programs write the day alone.
				t = time.Date(t.Year(), t.Month(), t.Day(), h, m, s, 0, e.series.start.Location())
			}
			out = append(out, t)
		}
	}
	return out, nil
}

// expandEvents makes the intervals of all events; an instance that was replaced or
// cancelled leaves the series that it belongs to.
func expandEvents(events []event, template fleet.CalendarEntry, from, until time.Time) ([]fleet.CalendarEntry, error) {
	replaced := map[string][]time.Time{}
	for _, e := range events {
		if !e.replaces.IsZero() {
			replaced[e.uid] = append(replaced[e.uid], e.replaces)
		}
	}
	var out []fleet.CalendarEntry
	for _, e := range events {
		if e.cancelled {
			continue
		}
		s := e.series
		if e.replaces.IsZero() {
			s.except = append(s.except, replaced[e.uid]...)
		}
		starts, err := s.starts(from, until)
		if err != nil {
			return nil, e.fail(ical.PropRecurrenceRule, err)
		}
		for _, t := range starts {
			entry := instance(template, uidName(e.uid), t, s.end(t))
			if l := label(e.summary); l != "" {
				entry.Label = l
			}
			if err := entry.Validate(); err != nil {
				return nil, e.fail("", err)
			}
			out = append(out, entry)
		}
	}
	sortEntries(out)
	return out, nil
}
