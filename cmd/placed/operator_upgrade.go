package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/placed-dev/placed/api"
)

const upgradeLong = `A new version runs beside the old one until it is finalized.

1. Install the new version on every host, one after the other, and restart its agent;
   workloads run on. Until step 3 the old version can be put back.
2. placed operator upgrade status shows who runs what, and what is missing.
3. placed operator upgrade finalize lets the cluster write what only the new version
   reads. It is refused while a voter does not answer or a host is too old; afterwards
   the old version cannot be put back, and hosts that run it cannot join.`

func newUpgrade() *cobra.Command {
	upgrade := &cobra.Command{Use: "upgrade", Short: "Finish an upgrade when every host runs the new version", Long: upgradeLong}
	upgrade.AddCommand(
		asking("status", "The feature level and what each host knows; exit 2 when a step is left to do", cobra.NoArgs,
			func(cmd *cobra.Command, a *asker, c *api.Client, _ []string) error {
				state, err := c.Upgrade(cmd.Context())
				if err != nil {
					return err
				}
				if a.json {
					err = printJSON(cmd.OutOrStdout(), state)
				} else {
					err = printUpgrade(cmd.OutOrStdout(), state)
				}
				if err == nil && (state.Ready || len(state.Obstacles) > 0) {
					return exit{code: exitChanges}
				}
				return err
			}),
		asking("finalize", "Raise the cluster to the newest feature level that its hosts know", cobra.NoArgs,
			func(cmd *cobra.Command, a *asker, c *api.Client, _ []string) error {
				accepted, err := c.FinalizeUpgrade(cmd.Context())
				return printAccepted(cmd.OutOrStdout(), a, accepted, err)
			}),
	)
	return upgrade
}

func printUpgrade(out io.Writer, state api.Upgrade) error {
	err := table(out, "NAME\tID\tROLE\tVERSION\tKNOWS LEVEL", func(w io.Writer) {
		for _, m := range state.Members {
			role, version, knows := "host", m.Version, fmt.Sprint(m.Knows)
			if m.Voter {
				role = "voter"
			}
			if version == "" {
				version = "-"
			}
			if m.Knows == 0 {
				knows = m.Error
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", m.Name, m.ID, role, version, knows)
		}
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\nfeature level %d", state.Level)
	switch {
	case state.Ready:
		fmt.Fprintf(out, "; every host knows %d: run `placed operator upgrade finalize`\n", state.Newest)
	case len(state.Obstacles) == 0:
		fmt.Fprintln(out, ", the newest that the hosts know")
	default:
		fmt.Fprintln(out, "; it cannot be raised yet:")
		for _, o := range state.Obstacles {
			fmt.Fprintf(out, "  ! %s\n", o)
		}
	}
	return nil
}
