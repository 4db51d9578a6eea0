package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/placed-dev/placed/api"
)

func newForecastZone() *cobra.Command {
	return asking("zone [ZONE]", "How full zones are and when they will be, what the loss of one would do, and what rises together", cobra.MaximumNArgs(1), forecastZone)
}

func forecastZone(cmd *cobra.Command, a *asker, c *api.Client, args []string) error {
	all, _, err := c.ZoneForecasts(cmd.Context(), a.query())
	if err != nil {
		return err
	}
	zones := []api.ZoneForecast{}
	for _, z := range all {
		if len(args) == 0 || z.Zone == args[0] {
			zones = append(zones, z)
		}
	}
	if len(args) == 1 && len(zones) == 0 {
		return fmt.Errorf("no zone %q: `placed host list` shows the zones", args[0])
	}
	out := cmd.OutOrStdout()
	if a.json {
		return printJSON(out, zones)
	}
	err = table(out, "ZONE\tRESOURCE\tHOSTS\tALLOCATABLE\tNOW\tDAY'S PEAK\tHOUR q.95\tP(FULL)\tGROWTH/DAY\tDAYS TO FULL", func(w io.Writer) {
		for _, z := range zones {
			scale, unit := shownIn(z.Unit)
			hour, chance, growth := "-", "-", "-"
			if len(z.Hour) == len(z.Levels) && len(z.Hour) > 2 {
				hour, chance = fmt.Sprintf("%.2f", z.Hour[2]/scale), fmt.Sprintf("%.1f %%", 100*z.Probability)
			}
			if z.GrowthKnown || z.HistoryNeeded == 0 {
				growth = fmt.Sprintf("%+.3f", z.Growth/scale)
			}
			fmt.Fprintf(w, "%s\t%s\t%d\t%.2f %s\t%.2f\t%.2f\t%s\t%s\t%s\t%s\n", z.Zone, z.Resource, z.Hosts, z.Allocatable/scale, unit,
				z.Now/scale, z.Peak/scale, hour, chance, growth, daysText(z))
		}
	})
	if err != nil {
		return err
	}
	for _, z := range zones {
		if !z.Breach.IsZero() {
			scale, unit := shownIn(z.Unit)
			fmt.Fprintf(out, "%s is expected to be short of %s from %s on, by %.3f %s on average at the worst time\n", z.Zone, z.Resource,
				z.Breach.UTC().Format("15:04:05"), z.Excess/scale, unit)
		}
		if z.Declared != 0 && z.Declared != 1 {
			fmt.Fprintf(out, "in %s the calendar makes %s grow to %.3f of itself in 30 days\n", z.Zone, z.Resource, z.Declared)
		}
		if z.Loss != nil {
			fmt.Fprintf(out, "without %s the others would have to carry %.2f of %.2f %s (full with probability %.1f %%)\n",
				z.Zone, z.Loss.Demand, z.Loss.Allocatable, z.Unit, 100*z.Loss.Probability)
		}
		for _, p := range z.Coupled {
			kept := ""
			if p.Declared {
				kept = ", kept together by a rule"
			}
			fmt.Fprintf(out, "in %s %s and %s rise together (correlation %.2f%s)\n", z.Zone, p.A, p.B, p.Correlation, kept)
		}
	}
	return nil
}

// shownIn is what people read an amount in, and by what it is divided for that.
func shownIn(unit string) (scale float64, name string) {
	switch unit {
	case "bytes":
		return 1 << 30, "GiB"
	case "bytes/s":
		return 1 << 20, "MiB/s"
	}
	return 1, unit
}

// daysText shows a band of days: "41 (29 to 80)"; below two days it is in hours. Where
// too few days were seen to tell, or the zone is full already, it says that.
func daysText(z api.ZoneForecast) string {
	show := func(d *float64) string {
		switch {
		case d == nil:
			return "never"
		case *d < 2:
			return fmt.Sprintf("%.0f h", 24**d)
		}
		return fmt.Sprintf("%.0f", *d)
	}
	switch {
	case z.Now >= z.Allocatable:
		return "full now"
	case z.Peak >= z.Allocatable:
		return "full at the day's peak"
	case !z.GrowthKnown && z.HistoryNeeded > 0: // an older agent says neither
		return fmt.Sprintf("needs %d days of history", z.HistoryNeeded)
	case z.DaysToFull == nil && z.DaysEarly == nil:
		return "not within a year"
	}
	return fmt.Sprintf("%s (%s to %s)", show(z.DaysToFull), show(z.DaysEarly), show(z.DaysLate))
}
