package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/placed-dev/placed/config"
)

// simulateOptions are the flags of `placed simulate`.
type simulateOptions struct {
	scenario string
	compare  []string
	snapshot string
	since    string
	policy   string
	vars     []string
	only     []string
	seed     int
	json     bool
	report   string
	plot     string
	quiet    bool
}

func newSimulate() *cobra.Command {
	var o simulateOptions
	cmd := &cobra.Command{
		Use:   "simulate --scenario FILE.hcl",
		Short: "Play a recorded fleet in virtual time and score the outcome",
		Long: `Plays the scenario through the real books, predictor, scorer and planner in
virtual time and prints what came of it: contended minutes, moves, false and
harmful moves, lead times. Nothing real is moved. The same scenario, variables
and seed print the same figures. docs/simulation.md explains scenario files.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.scenario, "scenario", "", "the scenario file")
	f.StringSliceVar(&o.compare, "compare", nil, "scenario files to set side by side, instead of --scenario")
	f.StringVar(&o.snapshot, "snapshot", "", "play a snapshot saved with --with-history, instead of --scenario")
	f.StringVar(&o.since, "since", "", "with --snapshot: the last so long only, such as 7d")
	f.StringVar(&o.policy, "policy", "", "with --snapshot: a file whose policy block is set beside that of the books")
	f.StringArrayVar(&o.vars, "var", nil, "name=value of a variable of the scenario (may be repeated)")
	f.StringSliceVar(&o.only, "only", nil, "play these deciders of the scenario only")
	f.IntVar(&o.seed, "seed", 0, "play this seed only, instead of the scenario's")
	f.BoolVar(&o.json, "json", false, "print JSON")
	f.StringVar(&o.report, "report", "", "write a report to this HTML file, self-contained")
	f.StringVar(&o.plot, "plot", "", "draw contention over time into this file (.svg or .png)")
	f.BoolVar(&o.quiet, "quiet", false, "print no warnings about the load")
	return cmd
}

func (o simulateOptions) run(ctx context.Context, out, errs io.Writer) error {
	files := o.compare
	if o.snapshot != "" {
		if o.scenario != "" || len(files) > 0 || len(o.vars) > 0 || len(o.only) > 0 || o.seed != 0 {
			return fmt.Errorf("--snapshot brings its own fleet: leave out --scenario, --compare, --var, --only and --seed")
		}
		summary, err := playSnapshot(o, ctx.Err)
		if err != nil {
			return err
		}
		return o.show(out, errs, summary)
	}
	switch {
	case o.since != "" || o.policy != "":
		return fmt.Errorf("--since and --policy belong to --snapshot")
	case o.scenario != "" && len(files) > 0, o.scenario == "" && len(files) == 0:
		return fmt.Errorf("give one of --scenario FILE.hcl, --compare A.hcl,B.hcl and --snapshot FILE")
	case o.scenario != "":
		files = []string{o.scenario}
	}
	set, err := variableValues(o.vars)
	if err != nil {
		return err
	}
	var played []fleetRun
	for _, file := range files {
		s, err := config.LoadScenario(file, set)
		if err != nil {
			return err
		}
		if s.Reference != nil {
			if len(files) > 1 || o.report != "" || o.plot != "" {
				return fmt.Errorf("%s: a reference world has no report, plot or comparison: run it by itself with --json", file)
			}
			return playReference(out, s, o.json)
		}
		if o.seed != 0 {
			s.Seeds = []int{o.seed}
		}
		if err := keepDeciders(&s, o.only); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		title := ""
		if len(files) > 1 {
			title = strings.TrimSuffix(filepath.Base(file), filepath.Ext(file)) + "/"
		}
		runs, err := playFleet(ctx, s, title)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		played = append(played, runs...)
	}
	return o.show(out, errs, summarise(strings.Join(files, ", "), played))
}

// show prints the figures and writes the files that were asked for.
func (o simulateOptions) show(out, errs io.Writer, summary simulationSummary) error {
	if !o.quiet {
		for _, w := range summary.Warnings {
			fmt.Fprintln(errs, "warning:", w)
		}
	}
	if o.report != "" {
		if err := writeReport(o.report, summary); err != nil {
			return err
		}
	}
	if o.plot != "" {
		if err := plotSimulation(o.plot, summary); err != nil {
			return err
		}
	}
	if o.json {
		return printJSON(out, summary)
	}
	return printSimulation(out, summary)
}

// variableValues reads name=value pairs.
func variableValues(pairs []string) (map[string]string, error) {
	set := map[string]string{}
	for _, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("--var %q: want name=value", pair)
		}
		set[name] = value
	}
	return set, nil
}

// keepDeciders leaves out the deciders that were not asked for.
func keepDeciders(s *config.Scenario, only []string) error {
	if len(only) == 0 {
		return nil
	}
	var kept []config.ScenarioDecider
	for _, d := range s.Deciders {
		if slices.Contains(only, d.Name) {
			kept = append(kept, d)
		}
	}
	if len(kept) != len(only) {
		return fmt.Errorf("--only %s: not all of these are deciders of the scenario", strings.Join(only, ","))
	}
	s.Deciders = kept
	return nil
}
