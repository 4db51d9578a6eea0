package fsm

import (
	"maps"
	"slices"

	"github.com/placed-dev/placed/fleet"
)

// maxWritten bounds the calendar sources that operators wrote; all that come once
// or recur share one source of intervals, each iCalendar file has its own.
const maxWritten = 256

// PutCalendarSource keeps what an operator wrote of the days ahead, in place of
// what was written under the same id. It changes no forecast by itself: the
// leader expands it and proposes the intervals with SetCalendar.
type PutCalendarSource struct {
	Source fleet.CalendarSource `json:"source"`
	By     string               `json:"by"`
}

func (PutCalendarSource) number() uint64 { return numPutCalendarSource }
func (o *PutCalendarSource) code(c *coder) {
	c.calendarSource(&o.Source)
	str(c, &o.By)
}

func (o PutCalendarSource) apply(e *entry) OpResult {
	if r := o.refusal(e); r != nil {
		return OpResult{Err: r}
	}
	if same := e.putSource(&sourceRecord{CalendarSource: o.Source}); !same {
		e.calendarEvent("calendar.written", o.Source.Entry.ID+" is written: "+o.Source.Entry.Kind.String(), o.By)
	}
	return OpResult{}
}

func (o PutCalendarSource) refusal(e *entry) *Refusal {
	if r := checkText("by", o.By); r != nil {
		return r
	}
	if err := o.Source.Validate(); err != nil {
		return refuse(CodeRule, "%v", err)
	}
	whom := slices.Concat(texts(o.Source.Entry.Hosts), o.Source.Entry.Zones, texts(o.Source.Entry.Workloads), o.Source.Entry.Groups)
	if len(whom) > maxRuleMembers {
		return refuse(CodeRule, "calendar %s names %d hosts, zones, workloads and groups: at most %d are allowed; use zones and groups", o.Source.Entry.ID, len(whom), maxRuleMembers)
	}
	for _, name := range whom {
		if r := checkName("calendar "+o.Source.Entry.ID+": whom", name); r != nil {
			return r
		}
	}
	if e.sources[o.Source.Entry.ID] == nil && len(e.sources) >= maxWritten {
		return refuse(CodeRule, "%d calendar sources are written already: drop one first", len(e.sources))
	}
	return nil
}

// DropCalendarSource forgets what was written under an id; the intervals follow
// when the leader expands what is left.
type DropCalendarSource struct {
	ID string `json:"id"`
	By string `json:"by"`
}

func (DropCalendarSource) number() uint64 { return numDropCalendarSource }
func (o *DropCalendarSource) code(c *coder) {
	str(c, &o.ID)
	str(c, &o.By)
}

func (o DropCalendarSource) apply(e *entry) OpResult {
	if r := checkText("by", o.By); r != nil {
		return OpResult{Err: r}
	}
	old := e.sources[o.ID]
	if old == nil {
		return OpResult{Err: refuse(CodeNotFound, "nothing is written in the calendar under %q", shorten(o.ID))}
	}
	e.replace(old.digest, digest{})
	delete(e.sources, o.ID)
	e.calendarEvent("calendar.unwritten", o.ID+" is no longer written", o.By)
	return OpResult{}
}

type sourceRecord struct {
	fleet.CalendarSource
	digest digest
}

func (s *State) putSource(r *sourceRecord) (same bool) {
	var before digest
	if old := s.sources[r.Entry.ID]; old != nil {
		before = old.digest
	}
	r.digest = s.digestOf(sourceKind, func(c *coder) { c.calendarSource(&r.CalendarSource) })
	if before == r.digest {
		return true
	}
	s.replace(before, r.digest)
	s.sources[r.Entry.ID] = r
	return false
}

// CalendarSources returns what operators wrote of the days ahead, by id.
func (s *State) CalendarSources() []fleet.CalendarSource {
	var out []fleet.CalendarSource
	for _, id := range slices.Sorted(maps.Keys(s.sources)) {
		out = append(out, s.sources[id].CalendarSource)
	}
	return out
}

// CalendarOf returns the intervals that one source has in the books, by time.
func (s *State) CalendarOf(source string) []fleet.CalendarEntry {
	if r := s.calendars[source]; r != nil {
		return slices.Clone(r.Entries)
	}
	return nil
}

func (c *coder) calendarSource(s *fleet.CalendarSource) {
	c.message(func() {
		c.calendarEntry(&s.Entry)
		str(c, &s.Zone)
		str(c, &s.Start)
		c.duration(&s.Duration)
		str(c, &s.Recurrence)
		list(c, &s.Except, func(t *string) { str(c, t) })
		str(c, &s.ICS)
	})
}
