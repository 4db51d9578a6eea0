package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/placed-dev/placed/api"
)

const featureLong = `A feature is a workload that belongs to an instance and moves without it.

Its thresholds say what it may use or suffer where it is. When one has been crossed for
as long as it is held, or its crossing is foretold by a forecast that has earned trust,
the feature moves to a host that gives it more; where none would, it stays, and
"placed why" says so. Metrics that placed does not measure are pushed.`

func newFeature() *cobra.Command {
	feature := &cobra.Command{Use: "feature", Short: "Register, list and move features; set their thresholds", Long: featureLong}
	var instance string
	register := asking("register WORKLOAD", "Let a workload move without its instance", cobra.ExactArgs(1),
		func(cmd *cobra.Command, a *asker, c *api.Client, args []string) error {
			accepted, err := c.PutFeature(cmd.Context(), args[0], api.FeatureRequest{Instance: instance})
			return printAccepted(cmd.OutOrStdout(), a, accepted, err)
		})
	register.Flags().StringVar(&instance, "instance", "", "the instance it is a feature of")
	must(register.MarkFlagRequired("instance"))
	feature.AddCommand(register,
		asking("list", "The features, their thresholds and the newest values", cobra.NoArgs, listFeatures),
		asking("deregister WORKLOAD", "Make a feature an instance again; it goes on", cobra.ExactArgs(1),
			func(cmd *cobra.Command, a *asker, c *api.Client, args []string) error {
				accepted, err := c.DropFeature(cmd.Context(), args[0])
				return printAccepted(cmd.OutOrStdout(), a, accepted, err)
			}),
		newThreshold(), newMeasure(), moving("move FEATURE", "Move a feature now, without its instance; without a destination the planner chooses"))
	return feature
}

func newThreshold() *cobra.Command {
	var metric, limit string
	var clear float64
	var hold time.Duration
	var remove bool
	cmd := asking("threshold FEATURE", "Set, change or remove one threshold of a feature", cobra.ExactArgs(1),
		func(cmd *cobra.Command, a *asker, c *api.Client, args []string) error {
			all, _, err := c.Features(cmd.Context(), api.QueryOptions{})
			if err != nil {
				return err
			}
			i := slices.IndexFunc(all, func(f api.Feature) bool { return f.Workload == args[0] })
			if i < 0 {
				return fmt.Errorf("%s is no feature: placed feature register %s --instance INSTANCE", args[0], args[0])
			}
			thresholds := slices.DeleteFunc(all[i].Thresholds, func(t api.FeatureThreshold) bool { return t.Metric == metric })
			switch {
			case remove && len(thresholds) == len(all[i].Thresholds):
				return fmt.Errorf("%s has no threshold of %s", args[0], metric)
			case !remove:
				amount, err := metricAmount(metric, limit)
				if err != nil {
					return err
				}
				thresholds = append(thresholds, api.FeatureThreshold{Metric: metric, Limit: amount, Clear: clear, HoldS: hold.Seconds()})
			}
			accepted, err := c.PutFeature(cmd.Context(), args[0], api.FeatureRequest{Thresholds: &thresholds})
			return printAccepted(cmd.OutOrStdout(), a, accepted, err)
		})
	cmd.Example = "  placed feature threshold vm-1/search --metric cpu --limit 1.5\n  placed feature threshold vm-1/search --metric latency_ms --limit 20 --hold 15m\n  placed feature threshold vm-1/search --metric memory --limit 2GiB\n  placed feature threshold vm-1/search --metric cpu --remove"
	f := cmd.Flags()
	f.StringVar(&metric, "metric", "", "cpu (cores), memory (bytes), net, disk (bytes per second), or a pushed one such as latency_ms")
	f.StringVar(&limit, "limit", "", "above which the feature is to move: 1.5, 512MiB")
	f.Float64Var(&clear, "clear", 0.9, "fraction of the limit below which a crossing is over")
	f.DurationVar(&hold, "hold", 10*time.Minute, "load time that a crossing must last")
	f.BoolVar(&remove, "remove", false, "take the threshold of this metric away")
	must(cmd.MarkFlagRequired("metric"))
	cmd.MarkFlagsMutuallyExclusive("limit", "remove")
	cmd.MarkFlagsOneRequired("limit", "remove")
	return cmd
}

// metricAmount reads a limit as people write it.
func metricAmount(metric, text string) (float64, error) {
	factor := 1.0
	number := text
	if metric == "memory" || metric == "net" || metric == "disk" {
		for _, unit := range []struct {
			name   string
			factor float64
		}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1}} {
			if cut, ok := strings.CutSuffix(text, unit.name); ok {
				number, factor = strings.TrimSpace(cut), unit.factor
				break
			}
		}
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !(n > 0) {
		return 0, fmt.Errorf("--limit %q: want a number above 0, such as 1.5 for cpu or 512MiB for memory", text)
	}
	return n * factor, nil
}

func newMeasure() *cobra.Command {
	cmd := asking("measure WORKLOAD METRIC=VALUE…", "Push what was measured of a workload; it counts for two minutes", cobra.MinimumNArgs(2),
		func(cmd *cobra.Command, a *asker, c *api.Client, args []string) error {
			values := map[string]float64{}
			for _, pair := range args[1:] {
				name, text, ok := strings.Cut(pair, "=")
				n, err := strconv.ParseFloat(text, 64)
				if !ok || err != nil {
					return fmt.Errorf("%q: want METRIC=VALUE, such as latency_ms=12.5", pair)
				}
				values[name] = n
			}
			accepted, err := c.Measure(cmd.Context(), api.MeasureRequest{Workload: args[0], Values: values})
			return printAccepted(cmd.OutOrStdout(), a, accepted, err)
		})
	cmd.Example = "  placed feature measure vm-1/search latency_ms=12.5 queue=3"
	return cmd
}

func listFeatures(cmd *cobra.Command, a *asker, c *api.Client, _ []string) error {
	return listed(cmd, a, c, c.Features, "FEATURE\tINSTANCE\tHOST\tMETRIC\tLIMIT\tNOW\tHOLD\tNOTE", func(w io.Writer, all []api.Feature, name func(string) string) {
		for _, f := range all {
			if len(f.Thresholds) == 0 {
				fmt.Fprintf(w, "%s\t%s\t%s\t-\t-\t-\t-\t\n", f.Workload, f.Instance, name(f.Host))
			}
			for _, t := range f.Thresholds {
				now, note := "-", ""
				if t.Value != nil {
					now = fmt.Sprintf("%g", *t.Value)
				}
				if t.Crossed {
					note = "crossed"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%g\t%s\t%s\t%s\n", f.Workload, f.Instance, name(f.Host), t.Metric, t.Limit, now, time.Duration(t.HoldS*float64(time.Second)), note)
			}
		}
	})
}

// listAdjusted shows what is changed of workloads in place.
func listAdjusted(cmd *cobra.Command, a *asker, c *api.Client, _ []string) error {
	return listed(cmd, a, c, c.Adjustments, "WORKLOAD\tHOST\tKIND\tIS\tSTATE\tSINCE\tREASON", func(w io.Writer, all []api.Adjustment, name func(string) string) {
		for _, x := range all {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", x.Workload, name(x.Host), x.Kind, x.Text, x.State, x.Since.UTC().Format("15:04:05"), x.Reason)
		}
	})
}
