package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/config"
	"github.com/placed-dev/placed/daemon"
)

// newOperator holds what is done to the replicated log itself.
func newOperator() *cobra.Command {
	operator := &cobra.Command{Use: "operator", Short: "Look after the replicated log: its servers, its snapshots, its version"}
	raft := &cobra.Command{Use: "raft", Short: "The servers of the replicated log"}
	raft.AddCommand(
		asking("list-peers", "The servers and how they are; exit 2 when one is not well, 5 without a leader", cobra.NoArgs, listPeers),
		asking("add-peer HOST [ADDRESS]", "Let a host receive the log; it gets its vote when it is stable", cobra.RangeArgs(1, 2),
			func(cmd *cobra.Command, a *asker, c *api.Client, args []string) error {
				accepted, err := c.RaftAdd(cmd.Context(), args[0], second(args))
				return printAccepted(cmd.OutOrStdout(), a, accepted, err)
			}),
		asking("remove-peer HOST", "Take a server out of the log's configuration; stop its agent first", cobra.ExactArgs(1),
			func(cmd *cobra.Command, a *asker, c *api.Client, args []string) error {
				accepted, err := c.RaftRemove(cmd.Context(), args[0])
				return printAccepted(cmd.OutOrStdout(), a, accepted, err)
			}),
		asking("transfer-leadership [HOST]", "Hand leadership to a voter, or to the most up-to-date one", cobra.MaximumNArgs(1),
			func(cmd *cobra.Command, a *asker, c *api.Client, args []string) error {
				accepted, err := c.RaftTransfer(cmd.Context(), first(args))
				return printAccepted(cmd.OutOrStdout(), a, accepted, err)
			}),
		asking("snapshot", "Make the agent that is asked write a snapshot of its log now", cobra.NoArgs,
			func(cmd *cobra.Command, a *asker, c *api.Client, _ []string) error {
				accepted, err := c.RaftSnapshot(cmd.Context())
				return printAccepted(cmd.OutOrStdout(), a, accepted, err)
			}),
		newRecover(),
	)
	operator.AddCommand(raft, newSnapshot(), newUpgrade())
	return operator
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

func second(args []string) string {
	if len(args) < 2 {
		return ""
	}
	return args[1]
}

func listPeers(cmd *cobra.Command, a *asker, c *api.Client, _ []string) error {
	state, err := c.RaftServers(cmd.Context())
	if err != nil {
		return err
	}
	if a.json {
		err = printJSON(cmd.OutOrStdout(), state)
	} else {
		err = printPeers(cmd.OutOrStdout(), state)
	}
	led := false
	for _, s := range state.Servers {
		led = led || s.Leader
	}
	switch {
	case err != nil:
		return err
	case !led:
		return exit{code: exitNoLeader, err: errors.New("the servers have no leader: this is what the agent that was asked knows")}
	case state.Judged && !state.Healthy:
		return exit{code: exitChanges}
	}
	return nil
}

func printPeers(out io.Writer, state api.RaftState) error {
	err := table(out, "NAME\tID\tADDRESS\tROLE\tHEALTH\tLAST CONTACT\tLAST INDEX\tSTABLE SINCE", func(w io.Writer) {
		for _, s := range state.Servers {
			role, health, contact, index, stable := "non-voter", "unknown", "-", "-", "-"
			switch {
			case s.Leader:
				role = "leader"
			case s.Voter:
				role = "voter"
			}
			if state.Judged {
				health, stable = "sick", s.StableSince.UTC().Format(time.RFC3339)
				if s.Healthy {
					health = "well"
				}
				contact, index = fmt.Sprintf("%d ms", s.LastContactMS), fmt.Sprint(s.LastIndex)
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", s.Name, s.ID, s.Address, role, health, contact, index, stable)
		}
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\nterm %d, index %d", state.Term, state.Index)
	if state.Judged {
		fmt.Fprintf(out, ", %d healthy voters may be lost, the leader's clock is %d ms ahead of the median", state.FailureTolerance, state.ClockOffsetMS)
	}
	_, err = fmt.Fprintln(out)
	return err
}

const recoverLong = `Give the log of this host new servers after a majority of the old ones is lost for good.

1. Stop placed on every server that is left. Workloads run on.
2. On each of them run: placed operator raft recover --dry-run
   Choose the one with the highest last term and, among those, the highest last index.
3. There write DATA_DIR/raft/peers.json:
     [{"id": "<host id>", "address": "<ip:port of the mTLS port>", "non_voter": false}]
   with that server alone, and run: placed operator raft recover --yes
4. Start placed there. Empty DATA_DIR/raft of the others, start them with the same
   cluster.servers, and take each in with: placed operator raft add-peer HOST

Acknowledged writes that only lost servers held are gone. Therefore a new generation
begins: every open lease becomes uncertain, and nothing is granted for a host before it
has said again what it runs. The file is renamed when it has been used.`

func newRecover() *cobra.Command {
	var files []string
	var dry, yes, asJSON bool
	cmd := &cobra.Command{Use: "recover", Short: "Give the log of this host, whose agent is stopped, new servers after the quorum is lost for good",
		Long: recoverLong, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !dry && !yes {
				return errors.New("recovering may forget acknowledged writes: read `placed operator raft recover --help`, look with --dry-run, then say --yes")
			}
			file, err := config.Load(files...)
			if err != nil {
				return err
			}
			log := hclog.New(&hclog.LoggerOptions{Name: "recover", Level: hclog.Warn, Output: cmd.ErrOrStderr()})
			cfg, err := daemon.FromFile(file, version, log)
			if err != nil {
				return err
			}
			recovered, err := daemon.RecoverQuorum(cfg, dry)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if asJSON {
				return printJSON(out, recovered)
			}
			fmt.Fprintf(out, "last entry found: index %d of term %d\n", recovered.LastIndex, recovered.LastTerm)
			for _, s := range recovered.Servers {
				role := "voter"
				if s.Nonvoter {
					role = "non-voter"
				}
				fmt.Fprintf(out, "%s at %s, %s\n", s.ID, s.Address, role)
			}
			if dry {
				fmt.Fprintln(out, "nothing was changed")
				return nil
			}
			fmt.Fprintf(out, "recovered: the log goes on behind index %d in a new generation; %s is used up\nstart placed here now\n", recovered.Index, recovered.UsedFile)
			return nil
		}}
	f := cmd.Flags()
	f.StringSliceVar(&files, "config", []string{"/etc/placed.d"}, "file or directory of HCL files")
	f.BoolVar(&dry, "dry-run", false, "only look")
	f.BoolVar(&yes, "yes", false, "do it")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
