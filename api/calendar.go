package api

import (
	"context"
	"net/http"
	"time"
)

// CalendarSource is what an operator wrote of the days ahead: an interval of load
// time that comes once or again and again, or an iCalendar file. The leader
// expands it into the intervals of the coming two weeks.
type CalendarSource struct {
	ID string `json:"id"`
	// Kind says what an interval does: capacity-falls (maintenance),
	// load-changes (a known event), no-moves (only what an operator requests
	// moves), load-grows (beyond what the history shows).
	Kind  string `json:"kind"`
	Label string `json:"label,omitempty"`
	// Factor by which load or capacity is multiplied, per resource: 1.5 = half
	// as much again, 0 = none left. Of load-grows, in each 30 days.
	Factor map[string]float64 `json:"factor,omitempty"`
	// Whom it is about; all four empty means everything. A workload is meant by
	// its id, its group, or the host or zone it runs on.
	Hosts     []string `json:"hosts"` // ids
	Zones     []string `json:"zones"`
	Workloads []string `json:"workloads"`
	Groups    []string `json:"groups"`
	// TimeZone (IANA) of times that name none; empty means UTC.
	TimeZone string `json:"time_zone,omitempty"`
	// Start of the first interval, 2006-01-02T15:04 in TimeZone, and how long each
	// is; Recurrence is the value of an RRULE (RFC 5545), Except are starts
	// that are left out.
	Start      string   `json:"start,omitempty"`
	DurationS  float64  `json:"duration_s,omitempty"`
	Recurrence string   `json:"recurrence,omitempty"`
	Except     []string `json:"except,omitempty"`
	// ICSBytes is the size of the iCalendar file, when it is one.
	ICSBytes int `json:"ics_bytes,omitempty"`
	// Ahead counts the intervals in the books from now on; Intervals are these,
	// where one source is asked for, else the first of them.
	Ahead     int                `json:"ahead"`
	Intervals []CalendarInterval `json:"intervals"`
}

// CalendarInterval is [From, Until) of load time.
type CalendarInterval struct {
	From  time.Time `json:"from"`
	Until time.Time `json:"until"`
	Label string    `json:"label,omitempty"`
}

// CalendarRequest writes a source. Either Start and DurationS, or ICS.
type CalendarRequest struct {
	Kind       string             `json:"kind"`
	Label      string             `json:"label,omitempty"`
	Factor     map[string]float64 `json:"factor,omitempty"`
	Hosts      []string           `json:"hosts,omitempty"` // ids or names
	Zones      []string           `json:"zones,omitempty"`
	Workloads  []string           `json:"workloads,omitempty"`
	Groups     []string           `json:"groups,omitempty"`
	TimeZone   string             `json:"time_zone,omitempty"`
	Start      string             `json:"start,omitempty"`
	DurationS  float64            `json:"duration_s,omitempty"`
	Recurrence string             `json:"recurrence,omitempty"`
	Except     []string           `json:"except,omitempty"`
	ICS        string             `json:"ics,omitempty"` // an iCalendar file, RFC 5545
}

// Calendar lists what is written of the days ahead, sorted by id.
func (c *Client) Calendar(ctx context.Context, q QueryOptions) ([]CalendarSource, Meta, error) {
	return get[[]CalendarSource](ctx, c, "/v1/calendar", nil, q)
}

// CalendarSource reads one source with all its intervals ahead.
func (c *Client) CalendarSource(ctx context.Context, id string, q QueryOptions) (CalendarSource, Meta, error) {
	return get[CalendarSource](ctx, c, namedPath("/v1/calendar/", id), nil, q)
}

// PutCalendar writes a source, in place of the one of its id.
func (c *Client) PutCalendar(ctx context.Context, id string, r CalendarRequest) (Accepted, error) {
	return c.write(ctx, http.MethodPut, namedPath("/v1/calendar/", id), r)
}

// DropCalendar takes a source out of the calendar.
func (c *Client) DropCalendar(ctx context.Context, id string) (Accepted, error) {
	return c.write(ctx, http.MethodDelete, namedPath("/v1/calendar/", id), struct{}{})
}
