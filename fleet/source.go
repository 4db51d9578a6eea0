package fleet

import (
	"fmt"
	"time"
)

// Bounds of what the books keep of one source.
const (
	// MaxICS is the size of an iCalendar file in the books, in bytes.
	MaxICS     = 96 << 10
	maxExcepts = 256
	maxClause  = 512 // bytes of a recurrence rule
)

// CalendarSource is what an operator wrote of the days ahead: an interval of
// load time that comes once or again and again, or an iCalendar file. The leader
// expands it into the entries of the coming days, time and again.
type CalendarSource struct {
	// Entry is what each interval becomes: its kind, whom it is about and the
	// change. Its ID names the source; From and Until stay empty.
	Entry CalendarEntry `json:"entry"`
	// Zone is that of every time that names none, as in the IANA database;
	// empty means UTC.
	Zone string `json:"zone,omitempty"`
	// Start of the first interval, 2006-01-02T15:04 in Zone, and how long each
	// is. Recurrence is the value of an RRULE (RFC 5545), empty = once; Except
	// are starts that are left out.
	Start      string        `json:"start,omitempty"`
	Duration   time.Duration `json:"duration_ns,omitempty"`
	Recurrence string        `json:"recurrence,omitempty"`
	Except     []string      `json:"except,omitempty"`
	// ICS is an iCalendar file (RFC 5545) instead of these four.
	ICS string `json:"ics,omitempty"`
}

// Validate checks form and bounds. Whether times, zone, recurrence and file can
// be read, package calendar knows.
func (s CalendarSource) Validate() error {
	template := s.Entry
	if !template.From.IsZero() || !template.Until.IsZero() {
		return fmt.Errorf("calendar %s: a source has a start and a duration, not from and until", s.Entry.ID)
	}
	template.From, template.Until = time.Unix(0, 0), time.Unix(1, 0)
	if err := template.Validate(); err != nil {
		return err
	}
	rule := s.Start != "" || s.Duration != 0 || s.Recurrence != "" || len(s.Except) > 0
	switch {
	case rule && s.ICS != "":
		return fmt.Errorf("calendar %s: it has both an iCalendar file and a start, duration, recurrence or exceptions: keep one", s.Entry.ID)
	case s.ICS == "" && (s.Start == "" || s.Duration <= 0):
		return fmt.Errorf("calendar %s: a start and a positive duration are needed, or an iCalendar file", s.Entry.ID)
	case len(s.ICS) > MaxICS:
		return fmt.Errorf("calendar %s: the iCalendar file has %d bytes: at most %d fit into the books; export the coming months only, or split it", s.Entry.ID, len(s.ICS), MaxICS)
	case len(s.Except) > maxExcepts:
		return fmt.Errorf("calendar %s: %d exceptions: at most %d are allowed; begin a new series", s.Entry.ID, len(s.Except), maxExcepts)
	}
	for _, text := range append([]string{s.Zone, s.Start, s.Recurrence}, s.Except...) {
		if len(text) > maxClause {
			return fmt.Errorf("calendar %s: %.20q… has %d bytes: at most %d are allowed", s.Entry.ID, text, len(text), maxClause)
		}
	}
	return nil
}
