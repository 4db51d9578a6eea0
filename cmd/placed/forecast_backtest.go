package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/predictor"
)

// backtestOptions are the flags of `placed forecast backtest`.
type backtestOptions struct {
	file, layout, step, test, horizons string
	threads                            int
	seed                               uint64
	json                               bool
}

func newBacktest() *cobra.Command {
	var o backtestOptions
	cmd := &cobra.Command{
		Use:   "backtest --csv FILE",
		Short: "How good forecasts of these series would have been",
		Long: `Forecasts the last part of every series from rolling origins, with models that were
trained on what lies before it, the way an agent and its leader do, and prints how
far each method beat the plain one (the newest value and the spread of its errors).
The part of a series' name before a colon is its group.`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.StringVar(&o.file, "csv", "", "the series (.gz too, - = standard input)")
	f.StringVar(&o.layout, "layout", "columns", "columns (a header, one series per column) or rows (a header, then id,v1,v2,…)")
	f.StringVar(&o.step, "step", "5m", "time between two values: 5m, or a part of it whose means are then taken")
	f.StringVar(&o.test, "test", "7d", "how much of the end is forecast")
	f.StringVar(&o.horizons, "horizons", "15m,1h,24h,peak:1h,peak:24h", "how far ahead; peak: = the largest value up to there")
	f.Uint64Var(&o.seed, "seed", 1, "the same seed gives the same bytes")
	f.IntVar(&o.threads, "threads", 0, "threads, 0 = one per processor; the result is the same")
	f.BoolVar(&o.json, "json", false, "print JSON, with every series")
	if err := cmd.MarkFlagRequired("csv"); err != nil {
		panic(err)
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return o.run(cmd.InOrStdin(), cmd.OutOrStdout()) }
	return cmd
}

func (o backtestOptions) run(in io.Reader, out io.Writer) error {
	step, err := parseSpan(o.step)
	if err != nil || step > fleet.Tick || fleet.Tick%step != 0 {
		return fmt.Errorf("--step %s: want %s or a part of it", o.step, fleet.Tick)
	}
	test, err := parseSpan(o.test)
	if err != nil || test < 24*time.Hour {
		return fmt.Errorf("--test %s: want at least a day, as 7d", o.test)
	}
	horizons, err := parseHorizons(o.horizons, fleet.Tick)
	if err != nil {
		return err
	}
	traces, err := readSeries(o.file, o.layout, in)
	if err != nil {
		return err
	}
	values, names := make([][]float64, len(traces)), make([]string, len(traces))
	for i, t := range traces {
		values[i], names[i] = tickMeans(t.Values, int(fleet.Tick/step)), t.Name
	}
	scores, err := predictor.Trial(values, predictor.TrialConfig{
		Test: int(test / fleet.Tick), Horizons: horizons, Pool: predictor.PoolConfig{Seed: o.seed},
	}, threadsFor(o.threads))
	if err != nil {
		return fmt.Errorf("%s: %w", o.file, err)
	}
	summaries := predictor.Summarise(scores, groupsOf(names))
	if o.json {
		return printJSON(out, backtestAnswer(o, horizons, names, scores, summaries))
	}
	return printBacktest(out, horizons, summaries)
}

// tickMeans averages every `per` values; a tick without any is missing.
func tickMeans(values []float64, per int) []float64 {
	if per <= 1 {
		return values
	}
	out := make([]float64, len(values)/per)
	for i := range out {
		sum, n := 0.0, 0.0
		for _, v := range values[i*per : (i+1)*per] {
			if v == v {
				sum, n = sum+v, n+1
			}
		}
		out[i] = sum / n
	}
	return out
}

// groupsOf takes what stands before the colon of every name, nil when a name has
// none.
func groupsOf(names []string) []string {
	groups := make([]string, len(names))
	for i, name := range names {
		group, _, ok := strings.Cut(name, ":")
		if !ok {
			return nil
		}
		groups[i] = group
	}
	return groups
}

// backtestReport is what --json prints.
type backtestReport struct {
	File      string            `json:"file"`
	Step      string            `json:"step"`
	Test      string            `json:"test"`
	Quantiles []float64         `json:"quantiles"`
	Pooled    []backtestSummary `json:"pooled"`
	Groups    []backtestSummary `json:"groups,omitempty"`
	Series    []backtestScore   `json:"per_series"`
}

type backtestSummary struct {
	Group    string    `json:"group,omitempty"`
	Horizon  string    `json:"horizon"`
	Method   string    `json:"method"`
	Series   int       `json:"series"`
	Relative float64   `json:"pinball_vs_persistence"`
	MASE     float64   `json:"median_mase"`
	Pinball  []float64 `json:"pinball"`
	Coverage []float64 `json:"coverage"`
}

type backtestScore struct {
	Series   string    `json:"series"`
	Horizon  string    `json:"horizon"`
	Method   string    `json:"method"`
	Origins  int       `json:"origins"`
	MASE     float64   `json:"mase"`
	Pinball  []float64 `json:"pinball"`
	Coverage []float64 `json:"coverage"`
}

func backtestAnswer(o backtestOptions, horizons []predictor.Horizon, names []string, scores []predictor.Score, summaries []predictor.Summary) backtestReport {
	r := backtestReport{File: o.file, Step: o.step, Test: o.test, Quantiles: predictor.Levels[:]}
	for _, s := range summaries {
		row := backtestSummary{s.Group, horizons[s.Horizon].String(), s.Method, s.Series, s.Relative, s.MASE, slices.Clone(s.Pinball[:]), slices.Clone(s.Coverage[:])}
		if s.Group == "" {
			r.Pooled = append(r.Pooled, row)
		} else {
			r.Groups = append(r.Groups, row)
		}
	}
	for _, s := range scores {
		r.Series = append(r.Series, backtestScore{names[s.Series], horizons[s.Horizon].String(), s.Method, s.Origins, s.MASE, slices.Clone(s.Pinball[:]), slices.Clone(s.Coverage[:])})
	}
	return r
}

func printBacktest(out io.Writer, horizons []predictor.Horizon, summaries []predictor.Summary) error {
	head := "GROUP\tHORIZON\tMETHOD\tSERIES\tPINBALL/PERSISTENCE\tMEDIAN MASE"
	for _, level := range predictor.Levels {
		head += fmt.Sprintf("\tCOVER %g", level)
	}
	return table(out, head, func(w io.Writer) {
		for _, s := range summaries {
			group := s.Group
			if group == "" {
				group = "all"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%.3f\t%.3f", group, horizons[s.Horizon], s.Method, s.Series, s.Relative, s.MASE)
			for _, c := range s.Coverage {
				fmt.Fprintf(w, "\t%.3f", c)
			}
			fmt.Fprintln(w)
		}
	})
}
