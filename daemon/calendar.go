package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/calendar"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/httpapi"
)

// calendarEvery is how soon the intervals follow what an operator wrote.
const calendarEvery = time.Second

// expandCalendar keeps the intervals of the coming days in the books, while this
// host leads: anew when an operator has changed the calendar, and once a load day.
func (d *Daemon) expandCalendar(ctx context.Context) error {
	tick := time.NewTicker(calendarEvery)
	defer tick.Stop()
	var known []fleet.CalendarSource
	var expanded time.Time // the day of the last expansion
	told := ""
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		now := d.clock.At(time.Now()).UTC()
		var sources []fleet.CalendarSource
		d.replica.Read(func(s *fsm.State) { sources = s.CalendarSources() })
		if day := now.Truncate(24 * time.Hour); !day.Equal(expanded) || !reflect.DeepEqual(sources, known) {
			if err := d.proposeCalendar(ctx, sources, now); err != nil {
				if text := err.Error(); text != told && ctx.Err() == nil {
					d.log.Warn("part of the calendar is not in force", "error", err)
					told = text
				}
				if certain := new(calendarUnread); !errors.As(err, &certain) {
					continue // the books did not take it: again with the next tick
				}
			}
			known, expanded = sources, day
		}
	}
}

// calendarUnread: a source cannot be read, and trying again would not help.
type calendarUnread struct{ error }

func (e *calendarUnread) Unwrap() error { return e.error }

// proposeCalendar brings the intervals in the books into line with what is
// written. While a source cannot be read, none is taken away: its old intervals
// are better than none.
func (d *Daemon) proposeCalendar(ctx context.Context, sources []fleet.CalendarSource, now time.Time) error {
	expanded, unread := calendar.Written(sources, now)
	have := map[string][]fleet.CalendarEntry{}
	d.replica.Read(func(s *fsm.State) {
		for _, name := range s.Calendars() {
			have[name] = s.CalendarOf(name)
		}
	})
	wanted := map[string]bool{}
	var changes []fsm.SetCalendar
	for _, source := range expanded {
		wanted[source.Name] = true
		if !sameEntries(have[source.Name], source.Entries) {
			changes = append(changes, fsm.SetCalendar{Source: source.Name, Entries: source.Entries})
		}
	}
	for name := range have {
		if !wanted[name] && unread == nil {
			changes = append(changes, fsm.SetCalendar{Source: name})
		}
	}
	slices.SortFunc(changes, func(a, b fsm.SetCalendar) int { return strings.Compare(a.Source, b.Source) })
	for _, change := range changes {
		if err := d.propose(ctx, change); err != nil {
			return fmt.Errorf("calendar %s: %w", change.Source, err)
		}
	}
	if unread != nil {
		return &calendarUnread{unread}
	}
	return nil
}

// sameEntries compares what would be written: a list that is empty and one that
// is nil are the same to the books.
func sameEntries(a, b []fleet.CalendarEntry) bool {
	if len(a) != len(b) {
		return false
	}
	one, err := entryBytes(a)
	two, err2 := entryBytes(b)
	return err == nil && err2 == nil && bytes.Equal(one, two)
}

func entryBytes(entries []fleet.CalendarEntry) ([]byte, error) {
	return fsm.Encode(fsm.Header{ID: "compare"}, fsm.SetCalendar{Source: "compare", Entries: entries})
}

// Calendar shows what is written, each with its intervals in the books.
func (b backend) Calendar(context.Context) ([]api.CalendarSource, error) {
	out := []api.CalendarSource{}
	now := b.d.clock.At(time.Now())
	b.d.replica.Read(func(s *fsm.State) {
		series := s.CalendarOf(calendar.RuleSource)
		for _, source := range s.CalendarSources() {
			entries := series
			if source.ICS != "" {
				entries = s.CalendarOf(source.Entry.ID)
			} else {
				entries = slices.DeleteFunc(slices.Clone(entries), func(e fleet.CalendarEntry) bool { return !calendar.Of(source.Entry.ID, e) })
			}
			out = append(out, httpapi.CalendarSourceOf(source, entries, now))
		}
	})
	return out, nil
}

// PutCalendar writes a source, after it has been expanded for a try: what cannot
// be read, or does not fit beside the others, is refused here, not by a leader
// days later.
func (b backend) PutCalendar(ctx context.Context, w httpapi.Write, source fleet.CalendarSource) (api.Accepted, error) {
	if err := b.Sync(ctx); err != nil {
		return api.Accepted{}, err
	}
	var others []fleet.CalendarSource
	b.d.replica.Read(func(s *fsm.State) { others = s.CalendarSources() })
	now := b.d.clock.At(time.Now())
	entries, err := calendar.Check(source, others, now)
	if err == nil {
		_, err = entryBytes(entries)
	}
	if err != nil {
		return api.Accepted{}, fmt.Errorf("%w: %w", httpapi.ErrInvalid, err)
	}
	message := fmt.Sprintf("calendar %s is written: %s, %s", source.Entry.ID, source.Entry.Kind, aheadText(entries, now))
	if slices.ContainsFunc(others, func(o fleet.CalendarSource) bool { return sameSource(o, source) }) {
		return api.Accepted{Index: b.d.replica.Applied(), Message: message}, nil
	}
	return b.propose(ctx, w, fsm.PutCalendarSource{Source: source, By: w.By}, message)
}

func sameSource(a, b fleet.CalendarSource) bool {
	header := fsm.Header{ID: "compare"}
	one, err := fsm.Encode(header, fsm.PutCalendarSource{Source: a})
	two, err2 := fsm.Encode(header, fsm.PutCalendarSource{Source: b})
	return err == nil && err2 == nil && bytes.Equal(one, two)
}

// aheadText tells an operator at once whether the rule means what was meant.
func aheadText(entries []fleet.CalendarEntry, now time.Time) string {
	ahead := slices.DeleteFunc(slices.Clone(entries), func(e fleet.CalendarEntry) bool { return !e.Until.After(now) })
	if len(ahead) == 0 {
		return "no interval within two weeks"
	}
	return fmt.Sprintf("intervals within two weeks: %d, next from %s to %s", len(ahead), ahead[0].From.Format(time.RFC3339), ahead[0].Until.Format(time.RFC3339))
}

// DropCalendar takes a source out of the calendar.
func (b backend) DropCalendar(ctx context.Context, w httpapi.Write, id string) (api.Accepted, error) {
	return b.propose(ctx, w, fsm.DropCalendarSource{ID: id, By: w.By}, fmt.Sprintf("calendar %s is no longer written", id))
}

// calendarNow puts what holds at a load time into words.
func (b backend) calendarNow(now time.Time) (sources int, holds []string) {
	holds = []string{}
	b.d.replica.Read(func(s *fsm.State) {
		sources = len(s.CalendarSources())
		for _, e := range s.Calendar() {
			if e.At(now) {
				holds = append(holds, fmt.Sprintf("%s until %s", e, e.Until.UTC().Format(time.RFC3339)))
			}
		}
	})
	return sources, holds
}
