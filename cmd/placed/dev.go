package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/placed-dev/placed/devfleet"
)

func newDev() *cobra.Command {
	c := devfleet.Config{Set: map[string]bool{}}
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a fleet of real agents on this machine, with recorded load",
		Long: `Runs agents as separate processes on loopback addresses, with workloads that
replay recorded load faster than real time. Nothing is installed, no hypervisor
is needed. Ctrl-C saves the fleet; with --data-dir a second run resumes it.`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.IntVar(&c.Hosts, "hosts", 3, "agents")
	f.IntVar(&c.Workloads, "workloads", 12, "workloads")
	f.Float64Var(&c.TimeScale, "time-scale", 300, "load seconds in a second: 300 replays a five-minute row each second")
	f.Uint64Var(&c.Seed, "seed", 1, "which recorded VMs run where")
	f.Float64Var(&c.Cores, "cores", float64(runtime.NumCPU())/2, "sum of the hosts' cpu capacities")
	f.StringVar(&c.DataDir, "data-dir", "", "keep the fleet here and resume it (default: a temporary directory)")
	f.StringVar(&c.Automation, "automation", "auto", "observe | recommend | auto")
	f.BoolVar(&c.Headless, "headless", false, "print no events")
	f.BoolVar(&c.JSON, "json", false, "print a summary as JSON at the end")
	f.IntVar(&c.UntilMigrations, "until-migrations", 0, "end after so many committed pre-emptive migrations; exit 1 if they do not come")
	f.DurationVar(&c.Timeout, "timeout", 0, "end after this time (0: never)")
	f.BoolVar(&c.FullTime, "full-time", false, "go on until --timeout even when the migrations are done")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		for _, name := range []string{"hosts", "workloads", "time-scale", "seed"} {
			c.Set[name] = f.Changed(name)
		}
		return runDev(cmd, c)
	}
	return cmd
}

func runDev(cmd *cobra.Command, c devfleet.Config) error {
	switch c.Automation {
	case "observe", "recommend", "auto":
	default:
		return fmt.Errorf("--automation %q: want observe, recommend or auto", c.Automation)
	}
	if c.UntilMigrations > 0 && c.Timeout == 0 {
		c.Timeout = 10 * time.Minute
	}
	binary, err := os.Executable()
	if err == nil {
		binary, err = filepath.EvalSymlinks(binary)
	}
	if err != nil {
		return fmt.Errorf("where is this program: %w", err)
	}
	c.Binary, c.Out, c.Err = binary, cmd.OutOrStdout(), cmd.ErrOrStderr()
	summary, err := devfleet.Run(cmd.Context(), c)
	if c.JSON && summary.Migrations != nil {
		if printed := printJSON(c.Out, summary); printed != nil {
			err = errors.Join(err, printed)
		}
	} else if summary.Migrations != nil {
		printDevSummary(cmd, summary)
	}
	if errors.Is(err, context.Canceled) {
		return nil // Ctrl-C during the start
	}
	return err
}

func printDevSummary(cmd *cobra.Command, s devfleet.Summary) {
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "%d migrations; clients: %d requests, %d errors, %d lost writes, longest gap %.0f ms; contended %.0f s of %.0f s\n",
		len(s.Migrations), s.Client.Requests, s.Client.Errors, s.Client.LostWrites, s.Client.MaxGapMS, s.ContendedS, s.WatchedS)
	for _, m := range s.Migrations {
		fmt.Fprintf(out, "  %s %s → %s  %s, %s: %d rounds, %.1f MiB, downtime %.1f ms\n", m.Workload, m.From, m.To, m.Type, m.Phase, m.Rounds, float64(m.Bytes)/(1<<20), m.DowntimeMS)
	}
}
