package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"github.com/placed-dev/placed/config"
	"github.com/placed-dev/placed/daemon"
	"github.com/placed-dev/placed/fleet"
)

// newLocal holds what works on this host alone, without an agent and without a
// quorum.
func newLocal() *cobra.Command {
	local := &cobra.Command{Use: "local", Short: "Work on this host alone, without a quorum"}
	var files []string
	save := &cobra.Command{Use: "save", Short: "Save every workload of the sample driver to disk and end it, and end the traffic proxy (the agent must be stopped)", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			file, err := config.Load(files...)
			if err != nil {
				return err
			}
			log := hclog.New(&hclog.LoggerOptions{Name: "local", Level: hclog.Warn, Output: cmd.ErrOrStderr()})
			cfg, err := daemon.FromFile(file, version, log)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), time.Minute)
			defer cancel()
			saved, err := daemon.SaveAll(ctx, cfg)
			fmt.Fprintf(cmd.OutOrStdout(), "%d workloads saved\n", saved)
			return errors.Join(err)
		}}
	save.Flags().StringSliceVar(&files, "config", []string{"/etc/placed.d"}, "file or directory of HCL files")
	local.AddCommand(save,
		newVouch("thaw", "Let the frozen workload of a hanging move run again here, at its source",
			"The move's destination must be shut off for good first: if it runs the workload too, there are two copies.", true),
		newVouch("resume", "Let the prepared copy of a hanging move run here, at its destination",
			"The move's source must be shut off for good first: if it thaws the workload, there are two copies.", true),
		newVouch("release", "Give the frozen workload of a hanging move to its destination",
			"Nothing has to be shut off: from then on only the destination's own word decides.", false),
	)
	return local
}

// newVouch makes a command that gives a running agent an operator's word about a
// move which neither a quorum nor the other end can settle.
func newVouch(name, short, long string, fence bool) *cobra.Command {
	var dataDir, fenced string
	var asJSON bool
	cmd := &cobra.Command{Use: name + " WORKLOAD", Short: short, Args: cobra.ExactArgs(1),
		Long: short + ".\n" + long + "\nWhere the books can still be reached, use `placed lease resolve` instead.",
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), time.Minute)
			defer cancel()
			answer, err := daemon.AskLocal(ctx, dataDir, name, daemon.LocalRequest{Workload: fleet.WorkloadID(args[0]), Fenced: fenced})
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), answer)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: this host's word is now %q\n", args[0], answer.Word)
			return nil
		}}
	cmd.Flags().StringVar(&dataDir, "data-dir", "/var/lib/placed", "the agent's node.data_dir, which holds its "+daemon.OperatorSocket)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	if fence {
		cmd.Flags().StringVar(&fenced, "i-have-fenced", "", "name or id of the move's other host, which you have shut off for good")
		must(cmd.MarkFlagRequired("i-have-fenced"))
	}
	return cmd
}
