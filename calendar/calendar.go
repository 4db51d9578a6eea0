package calendar

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // a hypervisor need not have zone files

	"github.com/placed-dev/placed/fleet"
)

const (
	// DefaultAhead is how far the calendar is expanded.
	DefaultAhead = 14 * 24 * time.Hour
	// maxEntries of one source: the books take no more.
	maxEntries = 1024
	// maxFeedBytes of one ICS file.
	maxFeedBytes = 8 << 20
	// RuleSource is the source under which all rules are proposed.
	RuleSource = "rules"
)

// Config says where the calendar comes from.
type Config struct {
	Rules []Rule
	Feeds []Feed
	// Ahead is how many days to expand [14 days].
	Ahead time.Duration
}

// Feed is an ICS file each of whose events means the same kind of thing.
type Feed struct {
	// Name of the source, unique.
	Name, Path string
	// Text is the file itself, in place of a path.
	Text string
	// Zone (IANA) of times that name none [UTC].
	Zone string
	// Entry is what every event becomes: kind, whom it is about and the
	// change. Id, label and times come from the event.
	Entry fleet.CalendarEntry
}

// Source is what one origin says of the days ahead.
type Source struct {
	Name    string
	Entries []fleet.CalendarEntry // by beginning
}

// Calendar expands its sources when asked. It holds no state.
type Calendar struct {
	cfg   Config
	zones map[string]*time.Location
}

// New checks rules and feeds. It reads no file: one that is damaged or missing is
// an error of Expand, so that an agent starts without it.
func New(cfg Config) (*Calendar, error) {
	if cfg.Ahead == 0 {
		cfg.Ahead = DefaultAhead
	}
	c := &Calendar{cfg: cfg, zones: map[string]*time.Location{}}
	names := map[string]bool{RuleSource: true}
	for _, f := range cfg.Feeds {
		if f.Name == "" || names[f.Name] {
			return nil, fmt.Errorf("calendar feed %q (%s): the name is empty, doubled or %q: give each feed a name of its own", f.Name, f.Path, RuleSource)
		}
		names[f.Name] = true
		if err := c.zone(f.Zone); err != nil {
			return nil, fmt.Errorf("calendar feed %s: %w", f.Name, err)
		}
		if err := checkTemplate(f.Name, f.Entry); err != nil {
			return nil, fmt.Errorf("calendar feed %s: %w", f.Name, err)
		}
	}
	ids := map[string]bool{}
	for _, r := range cfg.Rules {
		if ids[r.Entry.ID] {
			return nil, fmt.Errorf("calendar rule %s: the id is doubled", r.Entry.ID)
		}
		ids[r.Entry.ID] = true
		if err := c.zone(r.Zone); err != nil {
			return nil, fmt.Errorf("calendar rule %s: %w", r.Entry.ID, err)
		}
		if err := checkTemplate(r.Entry.ID, r.Entry); err != nil {
			return nil, fmt.Errorf("calendar rule %s: %w", r.Entry.ID, err)
		}
		if _, err := r.series(c.zones[r.Zone]); err != nil {
			return nil, fmt.Errorf("calendar rule %s: %w", r.Entry.ID, err)
		}
	}
	return c, nil
}

func (c *Calendar) zone(name string) error {
	location, err := time.LoadLocation(name) // "" is UTC
	if err != nil {
		return fmt.Errorf("time zone %q is unknown: use a name of the IANA database, such as Europe/Berlin", name)
	}
	c.zones[name] = location
	return nil
}

// checkTemplate validates what does not come from a date.
func checkTemplate(id string, e fleet.CalendarEntry) error {
	e.ID, e.From, e.Until = id, time.Unix(0, 0), time.Unix(1, 0)
	return e.Validate()
}

// Expand returns, per source, every interval that touches the days from now (load
// time) on. A source that cannot be read is left out and named in the error; the
// others are returned all the same.
func (c *Calendar) Expand(now time.Time) ([]Source, error) {
	until := now.Add(c.cfg.Ahead)
	var sources []Source
	var failures []error
	rules := Source{Name: RuleSource}
	for _, r := range c.cfg.Rules {
		entries, err := r.expand(c.zones[r.Zone], now, until)
		if err != nil {
			failures = append(failures, fmt.Errorf("calendar rule %s: %w", r.Entry.ID, err))
			continue
		}
		rules.Entries = append(rules.Entries, entries...)
	}
	if len(c.cfg.Rules) > 0 {
		sources = append(sources, rules)
	}
	for _, f := range c.cfg.Feeds {
		entries, err := f.expand(c.zones[f.Zone], now, until)
		if err != nil {
			failures = append(failures, fmt.Errorf("calendar feed %s: %w", f.Name, err))
			continue
		}
		sources = append(sources, Source{Name: f.Name, Entries: entries})
	}
	kept := sources[:0]
	for _, s := range sources {
		sortEntries(s.Entries)
		if n := len(s.Entries); n > maxEntries {
			failures = append(failures, fmt.Errorf("calendar source %s: %d intervals in %s, at most %d are allowed: expand fewer days or split the source", s.Name, n, c.cfg.Ahead, maxEntries))
			continue
		}
		kept = append(kept, s)
	}
	return kept, errors.Join(failures...)
}

func (f Feed) expand(zone *time.Location, now, until time.Time) ([]fleet.CalendarEntry, error) {
	if f.Text != "" {
		return ReadICS(f.Name, strings.NewReader(f.Text), zone, f.Entry, now, until)
	}
	file, err := os.Open(f.Path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return ReadICS(f.Path, file, zone, f.Entry, now, until)
}

func sortEntries(entries []fleet.CalendarEntry) {
	slices.SortFunc(entries, func(a, b fleet.CalendarEntry) int {
		if order := a.From.Compare(b.From); order != 0 {
			return order
		}
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
}
