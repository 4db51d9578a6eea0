package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/placed-dev/placed/api"
)

func newInstance() *cobra.Command {
	instance := &cobra.Command{Use: "instance", Short: "List workloads; show, move, pin or unpin one"}
	move := moving("move WORKLOAD", "Move a workload now; without a destination the planner chooses")
	show := asking("show WORKLOAD", "Where a workload is, what it uses, why it is there", cobra.ExactArgs(1), why)
	pin := func(use, short string, pinned bool) *cobra.Command {
		return asking(use, short, cobra.ExactArgs(1), func(cmd *cobra.Command, a *asker, c *api.Client, args []string) error {
			accepted, err := c.Pin(cmd.Context(), args[0], pinned)
			return printAccepted(cmd.OutOrStdout(), a, accepted, err)
		})
	}
	instance.AddCommand(asking("list", "The workloads and their owners", cobra.NoArgs, listWorkloads), show, move,
		asking("adjusted", "What is changed of workloads where they are, instead of a move", cobra.NoArgs, listAdjusted),
		pin("pin WORKLOAD", "Keep a workload where it is: no pass, drain or request moves it", true),
		pin("unpin WORKLOAD", "Let a workload move again", false))
	return instance
}

// moving is the command that asks for one move.
func moving(use, short string) *cobra.Command {
	var to, zone, reason string
	move := asking(use, short, cobra.ExactArgs(1),
		func(cmd *cobra.Command, a *asker, c *api.Client, args []string) error {
			accepted, err := c.Move(cmd.Context(), api.MoveRequest{Workload: args[0], DestinationHost: to, DestinationZone: zone, Reason: reason})
			return printAccepted(cmd.OutOrStdout(), a, accepted, err)
		})
	move.Flags().StringVar(&to, "to", "", "destination host (name or id)")
	move.Flags().StringVar(&zone, "zone", "", "destination zone")
	move.Flags().StringVar(&reason, "reason", "", "why, for the record")
	return move
}

func listWorkloads(cmd *cobra.Command, a *asker, c *api.Client, _ []string) error {
	return listed(cmd, a, c, c.Workloads, "WORKLOAD\tHOST\tCPU\tMEMORY\tPRIORITY\tTOLERANCE\tPORT\tLEASE\tGROUP\tNOTE", func(w io.Writer, workloads []api.Workload, name func(string) string) {
		for _, v := range workloads {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%g\t%d\t%s\t%s\t%s\n", v.ID, name(v.Owner), cores(v.Usage), mebibytes(v.Reservation),
				v.Priority, v.Tolerance, v.Port, v.Lease, v.Group, stays(v))
		}
	})
}

// stays says why placed does not move a workload, "" when it may.
func stays(v api.Workload) string {
	switch {
	case v.ManagedBy == "external":
		return "external: observed, never moved"
	case v.ManagedBy != "":
		return "managed by " + v.ManagedBy + ", never moved"
	case v.Pinned:
		return "pinned"
	}
	return ""
}

func newLease() *cobra.Command {
	lease := &cobra.Command{Use: "lease", Short: "List leases, give one up, resolve one whose end nobody knows"}
	var owner, reason string
	resolve := asking("resolve LEASE", "Say who owns the workload of a lease that cannot settle by itself", cobra.ExactArgs(1),
		func(cmd *cobra.Command, a *asker, c *api.Client, args []string) error {
			if owner != "source" && owner != "destination" {
				return fmt.Errorf("--owner %q: want source or destination; look at both hosts first, a wrong word loses the workload", owner)
			}
			accepted, err := c.ResolveLease(cmd.Context(), api.ResolveRequest{Lease: args[0], Commit: owner == "destination", Reason: reason})
			return printAccepted(cmd.OutOrStdout(), a, accepted, err)
		})
	resolve.Flags().StringVar(&owner, "owner", "", "source | destination: who has the workload")
	resolve.Flags().StringVar(&reason, "reason", "", "how you know, for the record")
	must(resolve.MarkFlagRequired("owner"))
	must(resolve.MarkFlagRequired("reason"))
	lease.AddCommand(resolve)
	release := asking("release LEASE", "Give up a lease that has not begun, or a standby", cobra.ExactArgs(1),
		func(cmd *cobra.Command, a *asker, c *api.Client, args []string) error {
			batch, err := c.ReleaseLease(cmd.Context(), args[0], reason)
			if err != nil {
				return err
			}
			if a.json {
				return printJSON(cmd.OutOrStdout(), batch)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "lease %s is given up (index %d)\n", args[0], batch.Index)
			return nil
		})
	release.Flags().StringVar(&reason, "reason", "", "why, for the record")
	lease.AddCommand(release)
	lease.AddCommand(asking("list", "The leases the books keep", cobra.NoArgs,
		func(cmd *cobra.Command, a *asker, c *api.Client, _ []string) error {
			leases, _, err := c.Leases(cmd.Context(), a.query())
			if err != nil {
				return err
			}
			if a.json {
				return printJSON(cmd.OutOrStdout(), leases)
			}
			hosts, _, err := c.Hosts(cmd.Context(), a.query())
			if err != nil {
				return err
			}
			name := hostNames(hosts)
			return table(cmd.OutOrStdout(), "LEASE\tKIND\tWORKLOAD\tFROM\tTO\tTYPE\tSTATE\tHOLDS", func(w io.Writer) {
				for _, l := range leases {
					holds := "nothing"
					if l.Active {
						holds = mebibytes(l.Reservation)
					}
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", l.ID, l.Kind, l.Workload, name(l.Source), name(l.Destination), l.Type, l.State, holds)
				}
			})
		}))
	return lease
}
