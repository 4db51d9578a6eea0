package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/placed-dev/placed/config"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/planner"
	"github.com/placed-dev/placed/trace"
)

// planOptions are the flags of `placed plan`.
type planOptions struct {
	file, objective, minimise, policy string
	ceiling                           float64
	maxMoves                          int
	drain                             []string
	json                              bool
}

func newPlan() *cobra.Command {
	var o planOptions
	cmd := &cobra.Command{
		Use:   "plan --fleet FILE.json",
		Short: "Plan the moves of a fleet offline, from a file",
		Long: `Reads a fleet file (what GET /v1/fleet returns, or one of your own; - is standard
input) and prints the moves that reach an objective, in an order in which each is
safe once those before it are done. Nothing is moved.

Exit code 0: nothing to do. 2: moves are planned. 1: an error.`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.StringVar(&o.file, "fleet", "", "the fleet file, - for standard input")
	f.StringVar(&o.objective, "objective", "", "relieve, balance, consolidate, place or drain (default relieve; drain with --drain)")
	f.Float64Var(&o.ceiling, "ceiling", float64(planner.DefaultCeiling)/1000, "share of what a host has above which it is overloaded")
	f.StringVar(&o.minimise, "minimise", string(planner.MinimiseMoves), "moves, memory or max-load")
	f.IntVar(&o.maxMoves, "max-moves", 0, "at most so many moves, 0 = no bound")
	f.StringArrayVar(&o.drain, "drain", nil, "empty this host (may be repeated)")
	f.StringVar(&o.policy, "policy", "", "HCL file whose policy block counts: destinations keep its headroom free, zones room for its reserve_hosts")
	f.BoolVar(&o.json, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return o.run(cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
	}
	return cmd
}

func (o planOptions) run(in io.Reader, out, errs io.Writer) error {
	goal, err := o.goal()
	if err != nil {
		return err
	}
	file, err := o.read(in)
	if err != nil {
		return err
	}
	for _, note := range file.Notes {
		fmt.Fprintf(errs, "placed: %s: %s\n", o.file, note)
	}
	plan, err := planner.WhatIf(file.View, goal)
	if err != nil {
		return err
	}
	if o.json {
		err = printJSON(out, planAnswer(plan))
	} else {
		err = printPlan(out, plan)
	}
	if err != nil {
		return err
	}
	if len(plan.Steps) > 0 {
		return exit{code: exitChanges}
	}
	return nil
}

func (o planOptions) goal() (planner.Goal, error) {
	g := planner.Goal{
		Objective: planner.Objective(o.objective), Minimise: planner.Minimise(o.minimise),
		Ceiling: thousandths(o.ceiling), MaxMoves: o.maxMoves,
	}
	for _, host := range o.drain {
		g.Drain = append(g.Drain, fleet.HostID(host))
	}
	if o.objective == "" {
		g.Objective = planner.Relieve
		if len(o.drain) > 0 {
			g.Objective = planner.Drain
		}
	}
	if o.policy != "" {
		policy, err := config.LoadPolicy(o.policy)
		if err != nil {
			return g, err
		}
		g.Headroom, g.ReserveHosts = thousandths(policy.Headroom), policy.ReserveHosts
	}
	if o.file == "" {
		return g, fmt.Errorf("no fleet file is named: give one with --fleet FILE.json (GET /v1/fleet writes one)")
	}
	return g, g.Validate()
}

func thousandths(share float64) int64 { return int64(share*1000 + 0.5) }

func (o planOptions) read(in io.Reader) (trace.FleetFile, error) {
	source := in
	if o.file != "-" {
		file, err := os.Open(o.file)
		if err != nil {
			return trace.FleetFile{}, fmt.Errorf("fleet file: %w", err)
		}
		defer file.Close()
		source = file
	}
	out, err := trace.ReadFleet(source)
	if err != nil {
		return out, fmt.Errorf("%s: %w", o.file, err)
	}
	return out, nil
}
