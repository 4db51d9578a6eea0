package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/placed-dev/placed/api"
)

func newPolicy() *cobra.Command {
	policy := &cobra.Command{Use: "policy", Short: "Read or change what passes may do"}
	get := asking("get", "Print the policy", cobra.NoArgs,
		func(cmd *cobra.Command, a *asker, c *api.Client, _ []string) error {
			p, _, err := c.Policy(cmd.Context(), a.query())
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), p)
		})
	set := asking("set KEY=VALUE…", "Change fields of the policy, for example automation=auto or quantile=0.95", cobra.MinimumNArgs(1),
		func(cmd *cobra.Command, a *asker, c *api.Client, args []string) error {
			p, _, err := c.Policy(cmd.Context(), api.QueryOptions{})
			if err != nil {
				return err
			}
			changed, err := overlay(p, args)
			if err != nil {
				return err
			}
			accepted, err := c.SetPolicy(cmd.Context(), changed)
			return printAccepted(cmd.OutOrStdout(), a, accepted, err)
		})
	policy.AddCommand(get, set)
	return policy
}

// overlay sets key=value pairs on a policy by the names of its JSON fields. The
// agent checks the values.
func overlay(p api.Policy, pairs []string) (api.Policy, error) {
	data, err := json.Marshal(p)
	if err != nil {
		return p, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return p, err
	}
	for _, pair := range pairs {
		key, value, ok := strings.Cut(pair, "=")
		old, known := fields[key]
		if !ok || !known {
			return p, fmt.Errorf("%q: want KEY=VALUE with a key that `placed policy get` prints", pair)
		}
		if old[0] == '"' {
			quoted, err := json.Marshal(value)
			if err != nil {
				return p, err
			}
			value = string(quoted)
		}
		fields[key] = json.RawMessage(value)
	}
	if data, err = json.Marshal(fields); err != nil {
		return p, fmt.Errorf("a value is neither a number, true, false nor text: %w", err)
	}
	if err := json.Unmarshal(data, &p); err != nil {
		return p, fmt.Errorf("policy: %w", err)
	}
	return p, nil
}
