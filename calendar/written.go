package calendar

import (
	"errors"
	"fmt"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// Written expands what operators wrote into the books: every interval that
// touches the days from the beginning of now's day (UTC, load time) on, ahead of
// it by DefaultAhead. The result stays the same for a day, so that the books
// change at most once a day.
//
// A source that cannot be read is left out and named in the error. Then nothing
// may be concluded from an absent source: half a calendar would look like no
// maintenance.
func Written(sources []fleet.CalendarSource, now time.Time) ([]Source, error) {
	cfg := Config{Ahead: DefaultAhead + 24*time.Hour}
	var failures []error
	for _, s := range sources {
		rule, feed := parts(s)
		// Each is tried alone first: one that this build cannot read must
		// not keep the others out.
		if _, err := New(Config{Rules: rule, Feeds: feed}); err != nil {
			failures = append(failures, err)
			continue
		}
		cfg.Rules, cfg.Feeds = append(cfg.Rules, rule...), append(cfg.Feeds, feed...)
	}
	c, err := New(cfg)
	if err != nil {
		return nil, errors.Join(append(failures, err)...)
	}
	year, month, day := now.UTC().Date()
	out, err := c.Expand(time.Date(year, month, day, 0, 0, 0, 0, time.UTC))
	return out, errors.Join(append(failures, err)...)
}

// Check says what is wrong with a source that is to be written beside others, and
// returns its own intervals of the coming days.
func Check(source fleet.CalendarSource, others []fleet.CalendarSource, now time.Time) ([]fleet.CalendarEntry, error) {
	if err := source.Validate(); err != nil {
		return nil, err
	}
	alone, err := Written([]fleet.CalendarSource{source}, now)
	if err != nil {
		return nil, err
	}
	all := []fleet.CalendarSource{source}
	for _, o := range others {
		if o.Entry.ID != source.Entry.ID {
			all = append(all, o)
		}
	}
	if source.ICS == "" {
		// What comes once or recurs shares one source and its bound.
		if _, err := Written(all, now); err != nil {
			return nil, fmt.Errorf("together with what is written already: %w", err)
		}
	}
	var entries []fleet.CalendarEntry
	for _, s := range alone {
		entries = append(entries, s.Entries...)
	}
	return entries, nil
}

func parts(s fleet.CalendarSource) (rules []Rule, feeds []Feed) {
	if s.ICS != "" {
		entry := s.Entry
		entry.ID = ""
		return nil, []Feed{{Name: s.Entry.ID, Text: s.ICS, Zone: s.Zone, Entry: entry}}
	}
	return []Rule{{Entry: s.Entry, Start: s.Start, Zone: s.Zone, Duration: s.Duration, Recurrence: s.Recurrence, Except: s.Except}}, nil
}

// Of says whether an interval under RuleSource comes from the source of that id.
func Of(source string, e fleet.CalendarEntry) bool {
	return e.ID == instance(fleet.CalendarEntry{}, source, e.From, e.Until).ID
}
