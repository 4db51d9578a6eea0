package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/placed-dev/placed/api"
)

// printGates shows what kind of load a workload is, what is foreseen of it and what
// of that may be acted upon.
func printGates(out io.Writer, category *api.WorkloadCategory, forecasts []api.WorkloadForecast) error {
	if c := category; c != nil {
		fmt.Fprintf(out, "\ncategory %s, confidence %.2f, from %d days of history", c.Name, c.Confidence, c.History)
		if c.Diurnal && c.Name != "diurnal" {
			fmt.Fprint(out, ", repeats every day")
		}
		if c.Candidate != "" {
			fmt.Fprintf(out, "; looked %s for %d days", c.Candidate, c.Days)
		}
		fmt.Fprintln(out)
		for _, ch := range c.Changes {
			fmt.Fprintf(out, "  %s  %s → %s\n", ch.Day.UTC().Format("2006-01-02"), ch.From, ch.To)
		}
	}
	for _, f := range forecasts {
		scale, unit := shownIn(f.Unit)
		fmt.Fprintf(out, "\nforecast of %s in %s, acted upon: %s\n", f.Resource, unit, f.Model)
		if f.Reason != "" {
			fmt.Fprintf(out, "  %s\n", f.Reason)
		}
		head := "  AHEAD"
		for _, level := range f.Levels {
			head += fmt.Sprintf("\tq%g", level)
		}
		err := table(out, head+"\tJUDGED\tCOVERAGE\tSKILL\tGATE", func(w io.Writer) {
			for _, h := range f.Horizons {
				row := []string{"  " + h.Horizon}
				for _, v := range h.Quantiles {
					if v /= scale; v < 1e-6 {
						v = 0 // the rest of a difference, not a load
					}
					row = append(row, fmt.Sprintf("%.3g", v))
				}
				gate := "open"
				if !h.Open {
					gate = h.Reason
				}
				fmt.Fprintf(w, "%s\t%.0f\t%.3f\t%.2f\t%s\n", strings.Join(row, "\t"), h.Judged, h.Coverage, h.Skill, gate)
			}
		})
		if err != nil {
			return err
		}
		for _, e := range f.Effects {
			fmt.Fprintf(out, "  %s\n", effectText(e))
		}
	}
	return nil
}

// effectText says what the calendar does to a forecast.
func effectText(e api.ForecastEffect) string {
	return fmt.Sprintf("%s ×%.3g from %s to %s: %s", e.Of, e.Factor, e.From.UTC().Format("2006-01-02 15:04"), e.Until.UTC().Format("2006-01-02 15:04"), e.Why)
}
