package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/placed-dev/placed/api"
)

// asker is what every command that asks an agent shares: where the agent is, how
// to trust it, and how to print the answer.
type asker struct {
	config api.Config
	json   bool
	stale  bool
}

// flags registers the shared flags on a command.
func (a *asker) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&a.config.Address, "addr", "", "HTTP API of any agent: host:port, URL or unix:///socket (PLACED_ADDR)")
	f.StringVar(&a.config.CACert, "ca-cert", "", "CA of the agents' certificates (PLACED_CACERT)")
	f.StringVar(&a.config.ClientCert, "client-cert", "", "operator certificate (PLACED_CLIENT_CERT)")
	f.StringVar(&a.config.ClientKey, "client-key", "", "key of the operator certificate (PLACED_CLIENT_KEY)")
	f.BoolVar(&a.json, "json", false, "print JSON")
	f.BoolVar(&a.stale, "stale", false, "let the agent answer without a leader, from what it has")
}

func (a *asker) query() api.QueryOptions { return api.QueryOptions{Stale: a.stale} }

func (a *asker) client() (*api.Client, error) { return api.New(a.config) }

// asking builds a command that asks an agent; ask does the work.
func asking(use, short string, args cobra.PositionalArgs, ask func(cmd *cobra.Command, a *asker, c *api.Client, args []string) error) *cobra.Command {
	var a asker
	cmd := &cobra.Command{Use: use, Short: short, Args: args}
	a.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		defer c.Close()
		return ask(cmd, &a, c, args)
	}
	return cmd
}

// printJSON writes indented JSON, as every --json does.
func printJSON(out io.Writer, v any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}

// table prints aligned columns under a head line.
func table(out io.Writer, head string, rows func(w io.Writer)) error {
	w := tabwriter.NewWriter(out, 2, 4, 2, ' ', 0)
	fmt.Fprintln(w, head)
	rows(w)
	return w.Flush()
}

// listed prints all that get answers: as JSON if that was asked for, else as a table
// whose rows may call hosts by their names.
func listed[T any](cmd *cobra.Command, a *asker, c *api.Client, get func(context.Context, api.QueryOptions) ([]T, api.Meta, error),
	head string, rows func(w io.Writer, all []T, name func(id string) string)) error {
	all, _, err := get(cmd.Context(), a.query())
	if err != nil {
		return err
	}
	if a.json {
		return printJSON(cmd.OutOrStdout(), all)
	}
	hosts, _, err := c.Hosts(cmd.Context(), a.query())
	if err != nil {
		return err
	}
	name := hostNames(hosts)
	return table(cmd.OutOrStdout(), head, func(w io.Writer) { rows(w, all, name) })
}

// hostNames maps host ids to names, for people.
func hostNames(hosts []api.Host) func(id string) string {
	names := make(map[string]string, len(hosts))
	for _, h := range hosts {
		names[h.ID] = h.Name
	}
	return func(id string) string {
		if name, ok := names[id]; ok {
			return name
		}
		return id
	}
}
