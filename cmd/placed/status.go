package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/placed-dev/placed/api"
)

// newStatus: exit 2 when the cluster is unhealthy, so that scripts can ask.
func newStatus() *cobra.Command {
	return asking("status", "One agent's picture of the cluster; exit 2 when something needs attention", cobra.NoArgs,
		func(cmd *cobra.Command, a *asker, c *api.Client, _ []string) error {
			status, meta, err := c.Status(cmd.Context(), a.query())
			if err != nil {
				return err
			}
			if a.json {
				if err := printJSON(cmd.OutOrStdout(), status); err != nil {
					return err
				}
			} else {
				printStatus(cmd.OutOrStdout(), status, meta)
			}
			if !status.Healthy {
				return exit{code: exitChanges}
			}
			return nil
		})
}

func printStatus(out io.Writer, s api.Status, meta api.Meta) {
	leader := "none"
	if s.Leader != nil {
		leader = s.Leader.Name
	}
	fmt.Fprintf(out, "Cluster     %s, asked %s", s.Cluster, s.Host.Name)
	if meta.LastContact > 0 {
		fmt.Fprintf(out, " (last heard of the leader %d ms ago)", meta.LastContact.Milliseconds())
	}
	fmt.Fprintf(out, "\nLeader      %s, term %d, index %d\n", leader, s.Term, s.Index)
	fmt.Fprintf(out, "Hosts       %d of %d alive, %d of %d voters\n", s.HostsAlive, s.Hosts, s.VotersAlive, s.Voters)
	fmt.Fprintf(out, "Workloads   %d\n", s.Workloads)
	automation := s.Automation
	if s.Paused {
		automation += ", paused"
	}
	fmt.Fprintf(out, "Automation  %s\n", automation)
	fmt.Fprintf(out, "Load clock  %s, × %g\n", s.LoadTime.UTC().Format("2006-01-02 15:04:05"), s.TimeScale)
	fmt.Fprintf(out, "Contention  %d predicted\n", s.Contentions)
	if s.StandbysActive > 0 {
		fmt.Fprintf(out, "Standbys    %d workloads are kept copied at another host\n", s.StandbysActive)
	}
	fmt.Fprintf(out, "Migrations  %d active, %d committed, %d ended without a commit\n", s.MigrationsActive, s.MigrationsTotal, s.MigrationsFailed)
	printIntent(out, s)
	if len(s.Problems) == 0 {
		fmt.Fprintln(out, "Healthy     yes")
		return
	}
	fmt.Fprintln(out, "Healthy     no")
	for _, p := range s.Problems {
		fmt.Fprintf(out, "  ! %s", p.Message)
		if p.Hint != "" {
			fmt.Fprintf(out, ": %s", p.Hint)
		}
		fmt.Fprintln(out)
	}
}

// printIntent shows what operators told the books, where they told anything.
func printIntent(out io.Writer, s api.Status) {
	if s.Rules > 0 {
		fmt.Fprintf(out, "Rules       %d in force", s.Rules)
		if s.RulesBroken > 0 {
			fmt.Fprintf(out, ", %d hard ones broken", s.RulesBroken)
		}
		fmt.Fprintln(out)
	}
	if s.CalendarSources > 0 {
		fmt.Fprintf(out, "Calendar    %d written; now: %s\n", s.CalendarSources, orDash(s.CalendarNow))
	}
}

func newMembers() *cobra.Command {
	return asking("members", "The hosts and how alive they are", cobra.NoArgs, listHosts)
}

func newVersion() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asJSON {
				return printJSON(cmd.OutOrStdout(), map[string]string{"version": version})
			}
			fmt.Fprintln(cmd.OutOrStdout(), "placed", version)
			return nil
		}}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
