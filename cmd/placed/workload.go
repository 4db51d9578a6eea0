package main

import (
	"github.com/spf13/cobra"

	"github.com/placed-dev/placed/workload"
)

// newWorkload is how the region driver starts the sample process. It reads its
// own flags: the driver and the process share one definition of them.
func newWorkload() *cobra.Command {
	return &cobra.Command{Use: "workload", Short: "The sample process that moves (started by the region driver)", Hidden: true,
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			config, err := workload.ParseArgs(args)
			if err != nil {
				return err
			}
			config.Log = cmd.ErrOrStderr()
			return workload.Run(cmd.Context(), config)
		}}
}
