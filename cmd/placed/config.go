package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/placed-dev/placed/config"
)

func newConfig() *cobra.Command {
	parent := &cobra.Command{Use: "config", Short: "Check a host's configuration"}
	var asJSON bool
	validate := &cobra.Command{Use: "validate FILE|DIR…", Short: "Name every mistake with file, line and remedy; exit 1 if there is one", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := config.Load(args...)
			var problems config.Problems
			switch {
			case errors.As(err, &problems):
			case err != nil:
				return err
			default:
				problems = c.Validate()
			}
			if asJSON {
				if problems == nil {
					problems = config.Problems{}
				}
				if err := printJSON(cmd.OutOrStdout(), problems); err != nil {
					return err
				}
			} else {
				for _, p := range problems {
					fmt.Fprintln(cmd.ErrOrStderr(), p)
				}
			}
			if len(problems) > 0 {
				return exit{code: exitError, err: fmt.Errorf("%d problems found", len(problems))}
			}
			if !asJSON {
				fmt.Fprintln(cmd.OutOrStdout(), "the configuration is valid")
			}
			return nil
		}}
	validate.Flags().BoolVar(&asJSON, "json", false, "print the mistakes as JSON")
	parent.AddCommand(validate)
	return parent
}
