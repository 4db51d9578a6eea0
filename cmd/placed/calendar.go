package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/placed-dev/placed/api"
)

const calendarLong = `What is known of the days ahead. It bends forecasts, and forbids moves.

  --no-moves       nothing moves but what an operator requests
  --capacity 0.5   maintenance: hosts have half of what they have; cpu=0.5,memory=0 for single resources
  --load 1.5       a known event: workloads want half as much again
  --growth 1.2     load grows by a fifth in 30 days, beyond what the history shows, for the
                   whole interval; it shows in forecasts of a day and in the days until a zone is full

Who is meant: --hosts, --zones, --workloads, --groups; without any of them everything.
A workload is meant by its id, its group, or the host or zone it runs on. Times are load
time (in production that is wall time) in the time zone of --tz.`

func newCalendar() *cobra.Command {
	cmd := &cobra.Command{Use: "calendar", Short: "Maintenance, known events and windows without moves", Long: calendarLong}
	cmd.AddCommand(
		asking("list", "What is written, and what comes next", cobra.NoArgs, listCalendar),
		asking("show ID", "One source with its intervals of the coming two weeks", cobra.ExactArgs(1), showCalendar),
		newCalendarPut(), newCalendarImport(),
		asking("delete ID", "Take a source out of the calendar", cobra.ExactArgs(1),
			func(cmd *cobra.Command, a *asker, c *api.Client, args []string) error {
				accepted, err := c.DropCalendar(cmd.Context(), args[0])
				return printAccepted(cmd.OutOrStdout(), a, accepted, err)
			}),
	)
	return cmd
}

func newCalendarPut() *cobra.Command {
	var meaning calendarMeaning
	var start, recurrence string
	var except []string
	var length time.Duration
	put := asking("put ID", "Write an interval that comes once or again and again", cobra.ExactArgs(1),
		func(cmd *cobra.Command, a *asker, c *api.Client, args []string) error {
			request, err := meaning.request()
			if err != nil {
				return err
			}
			request.Start, request.DurationS, request.Recurrence, request.Except = start, length.Seconds(), recurrence, except
			accepted, err := c.PutCalendar(cmd.Context(), args[0], request)
			return printAccepted(cmd.OutOrStdout(), a, accepted, err)
		})
	put.Long = calendarLong
	put.Example = `  placed calendar put backup --no-moves --start 2026-01-05T22:00 --duration 2h --rrule FREQ=DAILY --tz Europe/Berlin
  placed calendar put dimm-swap --capacity 0.5 --hosts hv-03 --start 2026-03-02T08:00 --duration 4h
  placed calendar put payday --load 1.8 --groups shop --start 2026-01-30T06:00 --duration 18h --rrule "FREQ=MONTHLY;BYMONTHDAY=-1"
  placed calendar put shop-grows --growth cpu=1.2,net=1.3 --groups shop --start 2026-01-01T00:00 --duration 8760h`
	meaning.flags(put)
	f := put.Flags()
	f.StringVar(&start, "start", "", "first start, 2006-01-02T15:04")
	f.DurationVar(&length, "duration", 0, "how long each interval is, for example 90m")
	f.StringVar(&recurrence, "rrule", "", "recurrence as in RFC 5545, for example FREQ=WEEKLY;BYDAY=SU; without it once")
	f.StringSliceVar(&except, "except", nil, "starts that are left out, written like --start")
	must(put.MarkFlagRequired("start"))
	must(put.MarkFlagRequired("duration"))
	return put
}

func newCalendarImport() *cobra.Command {
	var meaning calendarMeaning
	var id string
	cmd := asking("import FILE.ics", "Write an iCalendar file: each of its events becomes an interval; import it again when it changes", cobra.ExactArgs(1),
		func(cmd *cobra.Command, a *asker, c *api.Client, args []string) error {
			request, err := meaning.request()
			if err != nil {
				return err
			}
			file, err := os.ReadFile(args[0])
			if err != nil {
				return exitIfMissing(err)
			}
			if len(file) == 0 {
				return fmt.Errorf("%s is empty", args[0])
			}
			request.ICS = string(file)
			if id == "" {
				id = strings.TrimSuffix(filepath.Base(args[0]), filepath.Ext(args[0]))
			}
			accepted, err := c.PutCalendar(cmd.Context(), id, request)
			return printAccepted(cmd.OutOrStdout(), a, accepted, err)
		})
	cmd.Long = calendarLong
	cmd.Example = "  placed calendar import holidays.ics --load 0.4 --groups office --tz Europe/Berlin"
	meaning.flags(cmd)
	cmd.Flags().StringVar(&id, "id", "", "under which id it is written; without it the file's name")
	return cmd
}

func exitIfMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return exit{code: exitNotFound, err: err}
	}
	return err
}

// calendarMeaning is what an interval does, and to whom.
type calendarMeaning struct {
	noMoves                         bool
	capacity, load, growth          string
	label, zone                     string
	hosts, zones, workloads, groups []string
}

func (m *calendarMeaning) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&m.noMoves, "no-moves", false, "nothing moves but what an operator requests")
	f.StringVar(&m.capacity, "capacity", "", "share of its capacity that a host keeps: 0.5, or cpu=0.5,memory=0")
	f.StringVar(&m.load, "load", "", "factor of load: 1.5, or cpu=1.5,net=3")
	f.StringVar(&m.growth, "growth", "", "factor of load per 30 days: 1.2, or cpu=1.2,net=1.3")
	f.StringVar(&m.label, "label", "", "words for people; without it the id, or the event's own summary")
	f.StringVar(&m.zone, "tz", "", "time zone (IANA) of times that name none; without it UTC")
	f.StringSliceVar(&m.hosts, "hosts", nil, "hosts, by name or id")
	f.StringSliceVar(&m.zones, "zones", nil, "zones of hosts")
	f.StringSliceVar(&m.workloads, "workloads", nil, "ids of workloads")
	f.StringSliceVar(&m.groups, "groups", nil, "groups of workloads")
}

func (m *calendarMeaning) request() (r api.CalendarRequest, err error) {
	r = api.CalendarRequest{Label: m.label, TimeZone: m.zone, Hosts: m.hosts, Zones: m.zones, Workloads: m.workloads, Groups: m.groups}
	given := 0
	for _, set := range []bool{m.noMoves, m.capacity != "", m.load != "", m.growth != ""} {
		if set {
			given++
		}
	}
	switch {
	case given != 1:
		return r, errors.New("say what it does with one of --no-moves, --capacity, --load and --growth")
	case m.noMoves:
		r.Kind = "no-moves"
	case m.capacity != "":
		r.Kind = "capacity-falls"
		r.Factor, err = factors("--capacity", m.capacity)
	case m.growth != "":
		r.Kind = "load-grows"
		r.Factor, err = factors("--growth", m.growth)
	default:
		r.Kind = "load-changes"
		r.Factor, err = factors("--load", m.load)
	}
	return r, err
}

// factors reads "0.5", which is that of every built-in resource, or
// "cpu=0.5,net=2".
func factors(flag, text string) (map[string]float64, error) {
	out := map[string]float64{}
	if all, err := strconv.ParseFloat(text, 64); err == nil {
		for _, resource := range []string{"cpu", "memory", "net", "disk"} {
			out[resource] = all
		}
		return out, nil
	}
	for _, pair := range strings.Split(text, ",") {
		name, value, _ := strings.Cut(pair, "=")
		factor, err := strconv.ParseFloat(value, 64)
		if name == "" || err != nil {
			return nil, fmt.Errorf("%s %q: want a factor, or RESOURCE=FACTOR pairs such as cpu=0.5,net=2", flag, text)
		}
		out[name] = factor
	}
	return out, nil
}

func listCalendar(cmd *cobra.Command, a *asker, c *api.Client, _ []string) error {
	return listed(cmd, a, c, c.Calendar, "ID\tKIND\tFACTOR\tWHOM\tCOMES\tAHEAD\tNEXT (LOAD TIME, UTC)", func(w io.Writer, sources []api.CalendarSource, name func(string) string) {
		for _, s := range sources {
			next := "-"
			if len(s.Intervals) > 0 {
				next = intervalText(s.Intervals[0])
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%s\n", s.ID, s.Kind, factorText(s.Factor), whom(s, name), comes(s), s.Ahead, next)
		}
	})
}

func showCalendar(cmd *cobra.Command, a *asker, c *api.Client, args []string) error {
	s, _, err := c.CalendarSource(cmd.Context(), args[0], a.query())
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if a.json {
		return printJSON(out, s)
	}
	fmt.Fprintf(out, "%s: %s %s, %s, %s\n", s.ID, s.Kind, factorText(s.Factor), whom(s, func(id string) string { return id }), comes(s))
	for _, i := range s.Intervals {
		fmt.Fprintf(out, "  %s", intervalText(i))
		if i.Label != "" {
			fmt.Fprintf(out, "  %s", i.Label)
		}
		fmt.Fprintln(out)
	}
	return nil
}

func intervalText(i api.CalendarInterval) string {
	return i.From.UTC().Format("2006-01-02 15:04") + " to " + i.Until.UTC().Format("2006-01-02 15:04")
}

func factorText(factors map[string]float64) string {
	var parts []string
	for _, resource := range slices.Sorted(maps.Keys(factors)) {
		parts = append(parts, fmt.Sprintf("%s ×%g", resource, factors[resource]))
	}
	return orDash(parts)
}

func whom(s api.CalendarSource, name func(string) string) string {
	var parts []string
	for _, id := range s.Hosts {
		parts = append(parts, "host "+name(id))
	}
	for what, list := range map[string][]string{"zone ": s.Zones, "": s.Workloads, "group ": s.Groups} {
		for _, item := range list {
			parts = append(parts, what+item)
		}
	}
	if len(parts) == 0 {
		return "everything"
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

func comes(s api.CalendarSource) string {
	zone := s.TimeZone
	if zone == "" {
		zone = "UTC"
	}
	switch {
	case s.ICSBytes > 0:
		return fmt.Sprintf("as in an iCalendar file of %d bytes", s.ICSBytes)
	case s.Recurrence == "":
		return fmt.Sprintf("once, %s %s for %s", s.Start, zone, time.Duration(s.DurationS*float64(time.Second)))
	}
	return fmt.Sprintf("%s from %s %s for %s", s.Recurrence, s.Start, zone, time.Duration(s.DurationS*float64(time.Second)))
}
