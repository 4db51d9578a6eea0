package fsm

import (
	"maps"
	"slices"
	"time"

	"github.com/placed-dev/placed/fleet"
)

const (
	maxSources         = 64
	maxCalendarEntries = 1024 // of one source
)

// SetCalendar replaces what one source (a file, a feed, an operator) says of the
// days ahead; no entries forget the source. Intervals are load time.
type SetCalendar struct {
	Source  string                `json:"source"`
	Entries []fleet.CalendarEntry `json:"entries"`
	By      string                `json:"by"`
}

func (SetCalendar) number() uint64 { return numSetCalendar }
func (o *SetCalendar) code(c *coder) {
	str(c, &o.Source)
	list(c, &o.Entries, c.calendarEntry)
	str(c, &o.By)
}

func (o SetCalendar) apply(e *entry) OpResult {
	if r := o.refusal(e); r != nil {
		return OpResult{Err: r}
	}
	old := e.calendars[o.Source]
	if len(o.Entries) == 0 {
		if old != nil {
			e.dropCalendar(old)
			e.calendarEvent("calendar.dropped", o.Source+" is forgotten", o.By)
		}
		return OpResult{}
	}
	entries := slices.Clone(o.Entries)
	slices.SortFunc(entries, compareCalendar)
	next := &calendarRecord{Source: o.Source, Entries: entries}
	if same := e.putCalendar(next); !same { // a daily refresh of the same is no news
		e.calendarEvent("calendar.set", o.Source+" is set, entries: "+number(uint64(len(entries))), o.By)
	}
	return OpResult{}
}

func (e *entry) calendarEvent(kind, what, who string) {
	e.emit(fleet.Event{Topic: fleet.TopicPolicy, Type: kind, Message: "calendar " + what + by(who)}, nil)
}

func (o SetCalendar) refusal(e *entry) *Refusal {
	if r := checkName("calendar source", o.Source); r != nil {
		return r
	}
	if r := checkText("by", o.By); r != nil {
		return r
	}
	if len(o.Entries) > maxCalendarEntries {
		return refuse(CodeRule, "calendar %s has %d entries: at most %d are allowed; expand fewer days ahead", o.Source, len(o.Entries), maxCalendarEntries)
	}
	if e.calendars[o.Source] == nil && len(e.calendars) >= maxSources {
		return refuse(CodeRule, "there are %d calendars already: at most %d are allowed", len(e.calendars), maxSources)
	}
	ids := make(map[string]bool, len(o.Entries))
	for _, x := range o.Entries {
		if err := x.Validate(); err != nil {
			return refuse(CodeRule, "calendar %s: %v", o.Source, err)
		}
		if ids[x.ID] {
			return refuse(CodeRule, "calendar %s has two entries %s", o.Source, x.ID)
		}
		ids[x.ID] = true
	}
	return nil
}

func compareCalendar(a, b fleet.CalendarEntry) int {
	if c := a.From.Compare(b.From); c != 0 {
		return c
	}
	return compareText(a.ID, b.ID)
}

type calendarRecord struct {
	Source  string
	Entries []fleet.CalendarEntry // by From, then ID
	digest  digest
}

func (c *coder) calendarRecord(r *calendarRecord) {
	c.message(func() {
		str(c, &r.Source)
		list(c, &r.Entries, c.calendarEntry)
	})
}

func (s *State) putCalendar(r *calendarRecord) (same bool) {
	r.digest = s.digestOf(calendarKind, func(c *coder) { c.calendarRecord(r) })
	if old := s.calendars[r.Source]; old != nil {
		if old.digest == r.digest {
			return true
		}
		s.dropCalendar(old)
	}
	s.replace(digest{}, r.digest)
	s.calendars[r.Source] = r
	s.indexCalendar()
	return false
}

func (s *State) dropCalendar(r *calendarRecord) {
	s.replace(r.digest, digest{})
	delete(s.calendars, r.Source)
	s.indexCalendar()
}

// indexCalendar lists the no-move windows, by source and time.
func (s *State) indexCalendar() {
	s.windows = s.windows[:0:0]
	for _, source := range slices.Sorted(maps.Keys(s.calendars)) {
		for _, x := range s.calendars[source].Entries {
			if x.Kind == fleet.NoMoves {
				s.windows = append(s.windows, x)
			}
		}
	}
}

// checkCalendar refuses a migration within a no-move window of the workload or
// of its destination; like a pin, that does not bind an operator's request.
func (o *Grant) checkCalendar(e *entry) *Refusal {
	w := e.workloads[o.Workload]
	if len(e.windows) == 0 || o.Kind != fleet.LeaseMigration || o.Type == fleet.Requested || w == nil {
		return nil
	}
	owner, destination := e.hosts[w.Owner], e.hosts[o.Destination]
	for _, x := range e.windows {
		if x.At(e.load) && (owner != nil && x.OnWorkload(w.Workload, owner.Host) || x.OnHost(destination.Host)) {
			return refuse(CodeRule, "workload %s may not move to host %s before %s (load time): %s", w.ID, destination.Name, x.Until.Format(time.RFC3339), x)
		}
	}
	return nil
}

func (c *coder) calendarEntry(x *fleet.CalendarEntry) {
	c.message(func() {
		str(c, &x.ID)
		enum(c, &x.Kind)
		str(c, &x.Label)
		c.time(&x.From)
		c.time(&x.Until)
		list(c, &x.Hosts, func(id *fleet.HostID) { str(c, id) })
		list(c, &x.Zones, func(z *string) { str(c, z) })
		list(c, &x.Workloads, func(id *fleet.WorkloadID) { str(c, id) })
		list(c, &x.Groups, func(g *string) { str(c, g) })
		c.vector(&x.Change)
	})
}
