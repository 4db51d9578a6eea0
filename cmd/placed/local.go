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
)

// newLocal holds what works on this host alone, without an agent and without a
// quorum.
func newLocal() *cobra.Command {
	local := &cobra.Command{Use: "local", Short: "Work on this host alone, while its agent is stopped"}
	var files []string
	save := &cobra.Command{Use: "save", Short: "Save every workload of the sample driver to disk and end it, and end the traffic proxy", Args: cobra.NoArgs,
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
	local.AddCommand(save)
	return local
}
