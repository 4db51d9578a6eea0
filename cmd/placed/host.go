package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/placed-dev/placed/api"
)

func newHost() *cobra.Command {
	host := &cobra.Command{Use: "host", Short: "List hosts, drain and undrain one"}
	var reason string
	var maintenance bool
	var deadline time.Duration
	drain := asking("drain HOST", "Move every workload off a host; it takes no new ones", cobra.ExactArgs(1),
		func(cmd *cobra.Command, a *asker, c *api.Client, args []string) error {
			if cmd.Flags().Changed("deadline") && deadline <= 0 {
				return fmt.Errorf("--deadline %s: want a time from now on, such as 30m", deadline)
			}
			accepted, err := c.DrainWithin(cmd.Context(), args[0], maintenance, reason, deadline)
			return printAccepted(cmd.OutOrStdout(), a, accepted, err)
		})
	drain.Flags().StringVar(&reason, "reason", "", "why, for the record")
	drain.Flags().BoolVar(&maintenance, "maintenance", false, "keep the host out of use until it is undrained")
	drain.Flags().DurationVar(&deadline, "deadline", 0, "load time within which it is to be empty; what is left then is reported with the reasons, nothing is forced")
	undrain := asking("undrain HOST", "Let a host take workloads again", cobra.ExactArgs(1),
		func(cmd *cobra.Command, a *asker, c *api.Client, args []string) error {
			accepted, err := c.Undrain(cmd.Context(), args[0], reason)
			return printAccepted(cmd.OutOrStdout(), a, accepted, err)
		})
	undrain.Flags().StringVar(&reason, "reason", "", "why, for the record")
	list := asking("list", "The hosts, what they hold and what they use", cobra.NoArgs, listHosts)
	list.Flags().Bool("matrix", false, "which workloads could go to which hosts, and why others could not")
	host.AddCommand(list, drain, undrain)
	return host
}

func listHosts(cmd *cobra.Command, a *asker, c *api.Client, _ []string) error {
	if asked, err := cmd.Flags().GetBool("matrix"); asked || err != nil {
		return showMatrix(cmd, a, c)
	}
	hosts, _, err := c.Hosts(cmd.Context(), a.query())
	if err != nil {
		return err
	}
	if a.json {
		return printJSON(cmd.OutOrStdout(), hosts)
	}
	return table(cmd.OutOrStdout(), "NAME\tZONE\tSTATE\tLIVENESS\tROLE\tCPU USED/ALLOC\tMEMORY HELD/ALLOC\tWORKLOADS", func(w io.Writer) {
		for _, h := range hosts {
			role := "client"
			switch {
			case h.Leader:
				role = "leader"
			case h.Voter:
				role = "voter"
			}
			state := h.State
			if h.Overbooked {
				state += ", overbooked"
			}
			if !h.DrainBy.IsZero() {
				state += ", by " + h.DrainBy.UTC().Format("15:04:05")
			}
			if h.DrainOverdue {
				state += " (overdue)"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s / %s\t%s / %s\t%d\n", h.Name, h.Zone, state, h.Liveness, role,
				cores(h.Usage), cores(h.Allocatable), mebibytes(h.Held), mebibytes(h.Allocatable), len(h.Workloads))
		}
	})
}

func cores(v api.Vector) string {
	if v.CPU == nil {
		return "?"
	}
	return fmt.Sprintf("%.3f", *v.CPU)
}

func mebibytes(v api.Vector) string {
	if v.Memory == nil {
		return "?"
	}
	return fmt.Sprintf("%d MiB", *v.Memory>>20)
}

func printAccepted(out io.Writer, a *asker, accepted api.Accepted, err error) error {
	if err != nil {
		return err
	}
	if a.json {
		return printJSON(out, accepted)
	}
	_, err = fmt.Fprintf(out, "%s (index %d)\n", accepted.Message, accepted.Index)
	return err
}
