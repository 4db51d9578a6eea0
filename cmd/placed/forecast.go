package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/placed-dev/placed/api"
)

func newForecast() *cobra.Command {
	var offline offlineForecast
	cmd := asking("forecast [HOST|WORKLOAD]", "The demand the leader expects of one host, of all, or of a workload; or forecasts of a file", cobra.MaximumNArgs(1), askForecast)
	online := cmd.RunE
	offline.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if offline.file == "" {
			return online(cmd, args)
		}
		if len(args) > 0 {
			return fmt.Errorf("--csv forecasts a file: leave the host %q out", args[0])
		}
		return offline.run(cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
	}
	cmd.AddCommand(newBacktest(), newContention(), newForecastZone())
	return cmd
}

func askForecast(cmd *cobra.Command, a *asker, c *api.Client, args []string) error {
	host := ""
	if len(args) == 1 {
		host = args[0]
	}
	hosts, _, err := c.Hosts(cmd.Context(), a.query())
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if host != "" && !slices.ContainsFunc(hosts, func(h api.Host) bool { return h.ID == host || h.Name == host }) {
		return forecastWorkload(cmd, a, c, host)
	}
	forecasts, _, err := c.Forecasts(cmd.Context(), host, a.query())
	if err != nil {
		return err
	}
	if a.json {
		return printJSON(out, forecasts)
	}
	name := hostNames(hosts)
	for _, f := range forecasts {
		if err := printForecast(out, f, name); err != nil {
			return err
		}
	}
	return nil
}

// forecastWorkload shows what is foreseen of one workload, by resource.
func forecastWorkload(cmd *cobra.Command, a *asker, c *api.Client, id string) error {
	why, _, err := c.Why(cmd.Context(), id, a.query())
	if err != nil {
		return fmt.Errorf("%q is no host: as a workload: %w", id, err)
	}
	if a.json {
		return printJSON(cmd.OutOrStdout(), why.Forecasts)
	}
	return printGates(cmd.OutOrStdout(), why.Category, why.Forecasts)
}

func printForecast(out io.Writer, f api.HostForecast, name func(string) string) error {
	scale, unit := shownIn(f.Unit)
	fmt.Fprintf(out, "%s %s, allocatable %.3f %s, model %s\n", name(f.Host), f.Resource, f.Allocatable/scale, unit, f.Model)
	head := "AT"
	for _, level := range f.Levels {
		head += fmt.Sprintf("\tq%g", level)
	}
	err := table(out, head+"\tP(SHORT)\tEXCESS", func(w io.Writer) {
		for _, s := range f.Steps {
			row := []string{s.T.UTC().Format("15:04:05")}
			for _, v := range s.Quantiles {
				row = append(row, fmt.Sprintf("%.3f", v/scale))
			}
			row = append(row, fmt.Sprintf("%.1f %%", 100*s.Over), fmt.Sprintf("%.3f", s.Excess/scale))
			fmt.Fprintln(w, strings.Join(row, "\t"))
		}
	})
	if err != nil {
		return err
	}
	if c := f.Contention; c != nil {
		fmt.Fprintf(out, "breach predicted for %s (probability %.0f %%)", c.Breach.UTC().Format("15:04:05"), 100*c.Probability)
		if !f.LeaveBy.IsZero() {
			fmt.Fprintf(out, ", leave by %s", f.LeaveBy.UTC().Format("15:04:05"))
		}
		fmt.Fprintln(out)
	}
	for _, a := range f.Ahead {
		fmt.Fprintf(out, "contention %d min ahead: %.1f %%, calibrated %.1f %% (fleet: %.0f judged, Brier skill %s, precision %s, recall %s)\n",
			a.LeadMinutes, 100*a.Probability, 100*a.Calibrated, a.Judged, figureText(a.BrierSkill), figureText(a.Precision), figureText(a.Recall))
	}
	for _, e := range f.Effects {
		fmt.Fprintln(out, effectText(e))
	}
	fmt.Fprintln(out)
	return nil
}

// figureText shows a figure that may not be known yet.
func figureText(v *float64) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf("%.2f", *v)
}
