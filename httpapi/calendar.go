package httpapi

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/fleet"
)

// maxCalendarBody leaves room for an iCalendar file whose lines are quoted.
const maxCalendarBody = 2*fleet.MaxICS + maxBody

func (s *Server) calendar(ctx context.Context, _ *http.Request) (any, error) {
	sources, err := s.backend.Calendar(ctx)
	for i := range sources {
		sources[i].Intervals = sources[i].Intervals[:min(len(sources[i].Intervals), 1)]
	}
	return list(sources), err
}

func (s *Server) calendarSource(ctx context.Context, r *http.Request) (any, error) {
	sources, err := s.backend.Calendar(ctx)
	if err != nil {
		return nil, err
	}
	id := r.PathValue("id")
	i := slices.IndexFunc(sources, func(c api.CalendarSource) bool { return c.ID == id })
	if i < 0 {
		return nil, WithHint(fmt.Errorf("calendar %.150q: %w", id, ErrNotFound), "GET /v1/calendar lists what is written")
	}
	return sources[i], nil
}

func (s *Server) putCalendar(w http.ResponseWriter, r *http.Request) error {
	return s.write(w, r, func(ctx context.Context, id Write, _ func(any) error) (api.Accepted, error) {
		var request api.CalendarRequest
		if err := decodeBounded(w, r, maxCalendarBody, &request); err != nil {
			return api.Accepted{}, err
		}
		source, err := FleetCalendarSource(r.PathValue("id"), request)
		if err != nil {
			return api.Accepted{}, err
		}
		if source.Entry.Hosts, err = s.known(ctx, "calendar "+source.Entry.ID, request.Hosts, request.Workloads); err != nil {
			return api.Accepted{}, err
		}
		return s.backend.PutCalendar(ctx, id, source)
	})
}

func (s *Server) dropCalendar(w http.ResponseWriter, r *http.Request) error {
	return s.write(w, r, func(ctx context.Context, id Write, _ func(any) error) (api.Accepted, error) {
		return s.backend.DropCalendar(ctx, id, r.PathValue("id"))
	})
}

// FleetCalendarSource reads a source from the wire and validates its form; its
// hosts are still names. Errors wrap ErrInvalid.
func FleetCalendarSource(id string, r api.CalendarRequest) (fleet.CalendarSource, error) {
	out := fleet.CalendarSource{
		Entry: fleet.CalendarEntry{ID: id, Label: r.Label, Hosts: ids[fleet.HostID](r.Hosts), Zones: r.Zones,
			Workloads: ids[fleet.WorkloadID](r.Workloads), Groups: r.Groups},
		Zone: r.TimeZone, Start: r.Start, Recurrence: r.Recurrence, Except: r.Except, ICS: r.ICS,
		// Beyond a year a duration is refused when it is expanded; what would
		// overflow must not wrap around before.
		Duration: time.Duration(math.Max(0, math.Min(r.DurationS, 1e9)) * float64(time.Second)),
	}
	if err := out.Entry.Kind.UnmarshalText([]byte(r.Kind)); err != nil {
		return out, fmt.Errorf("calendar %s: %w: %w", id, ErrInvalid, err)
	}
	for resource, factor := range r.Factor {
		if !(factor >= 0 && factor <= 101) {
			return out, fmt.Errorf("calendar %s: factor %g of %s is outside 0 to 101: %w", id, factor, resource, ErrInvalid)
		}
		out.Entry.Change = out.Entry.Change.With(fleet.Resource(resource), int64(math.Round(factor*1000))-1000)
	}
	if err := out.Validate(); err != nil {
		return out, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return out, nil
}

// CalendarSourceOf shows a source with its intervals that end after now (load
// time).
func CalendarSourceOf(s fleet.CalendarSource, intervals []fleet.CalendarEntry, now time.Time) api.CalendarSource {
	e := s.Entry
	out := api.CalendarSource{
		ID: e.ID, Kind: e.Kind.String(), Label: e.Label, Hosts: names(e.Hosts), Zones: names(e.Zones), Workloads: names(e.Workloads), Groups: names(e.Groups),
		TimeZone: s.Zone, Start: s.Start, DurationS: s.Duration.Seconds(), Recurrence: s.Recurrence, Except: s.Except, ICSBytes: len(s.ICS),
		Intervals: []api.CalendarInterval{},
	}
	e.Change.Each(func(r fleet.Resource, thousandths int64) {
		if thousandths != 0 && thousandths != fleet.Unknown {
			if out.Factor == nil {
				out.Factor = map[string]float64{}
			}
			out.Factor[string(r)] = float64(1000+thousandths) / 1000
		}
	})
	for _, i := range intervals {
		if i.Until.After(now) {
			out.Intervals = append(out.Intervals, api.CalendarInterval{From: i.From, Until: i.Until, Label: i.Label})
		}
	}
	out.Ahead = len(out.Intervals)
	return out
}
