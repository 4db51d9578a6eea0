package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/placed-dev/placed/api"
)

const ruleLong = `Keep workloads together or apart, on or off hosts.

  affinity            the workloads share one host
  anti-affinity       no two of them share a host
  host-affinity       they run on the named hosts only
  host-anti-affinity  they run on none of the named hosts

A hard rule is never broken by a move, at no moment of a plan; a soft one only ranks
hosts. A rule moves nothing by itself: what breaks it already is shown, and is put
right by a move.`

func newRule() *cobra.Command {
	rule := &cobra.Command{Use: "rule", Short: "List, put and delete placement rules", Long: ruleLong}
	var request api.RuleRequest
	var soft bool
	put := asking("put ID", "Put a rule in force, in place of the one of its id", cobra.ExactArgs(1),
		func(cmd *cobra.Command, a *asker, c *api.Client, args []string) error {
			hard := !soft
			request.Hard = &hard
			accepted, err := c.PutRule(cmd.Context(), args[0], request)
			return printAccepted(cmd.OutOrStdout(), a, accepted, err)
		})
	put.Long = ruleLong
	put.Example = "  placed rule put db-apart --kind anti-affinity --workloads db-1,db-2\n  placed rule put gpu --kind host-affinity --groups render --hosts hv-07,hv-08 --soft"
	f := put.Flags()
	f.StringVar(&request.Kind, "kind", "", "affinity | anti-affinity | host-affinity | host-anti-affinity")
	f.BoolVar(&soft, "soft", false, "only rank hosts by it; without it the rule is hard")
	f.StringSliceVar(&request.Workloads, "workloads", nil, "ids of workloads")
	f.StringSliceVar(&request.Groups, "groups", nil, "groups: every workload of them, also those to come")
	f.StringSliceVar(&request.Hosts, "hosts", nil, "hosts, by name or id")
	must(put.MarkFlagRequired("kind"))
	rule.AddCommand(
		asking("list", "The rules and who breaks them", cobra.NoArgs, listRules),
		put,
		asking("delete ID", "Take a rule out of force", cobra.ExactArgs(1),
			func(cmd *cobra.Command, a *asker, c *api.Client, args []string) error {
				accepted, err := c.DropRule(cmd.Context(), args[0])
				return printAccepted(cmd.OutOrStdout(), a, accepted, err)
			}),
	)
	return rule
}

func listRules(cmd *cobra.Command, a *asker, c *api.Client, _ []string) error {
	return listed(cmd, a, c, c.Rules, "RULE\tKIND\tSTRENGTH\tWORKLOADS\tGROUPS\tHOSTS\tBROKEN BY", func(w io.Writer, rules []api.Rule, name func(string) string) {
		for _, r := range rules {
			strength := "soft"
			if r.Hard {
				strength = "hard"
			}
			on := make([]string, len(r.Hosts))
			for i, id := range r.Hosts {
				on[i] = name(id)
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.ID, r.Kind, strength, orDash(r.Workloads), orDash(r.Groups), orDash(on), orDash(r.Broken))
		}
	})
}

func orDash(items []string) string {
	if len(items) == 0 {
		return "-"
	}
	return strings.Join(items, ", ")
}
