package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/durable"
	"github.com/placed-dev/placed/fsm"
)

func newSnapshot() *cobra.Command {
	snapshot := &cobra.Command{Use: "snapshot", Short: "Save, look into and restore the books"}
	var history string
	save := asking("save FILE", "Save the books, asked of any agent, into a file", cobra.ExactArgs(1),
		func(cmd *cobra.Command, a *asker, c *api.Client, args []string) error {
			if history != "" {
				return saveBundle(cmd, a, c, args[0], history)
			}
			return saveSnapshot(cmd, a, c, args)
		})
	save.Flags().StringVar(&history, "with-history", "", "add what every workload has used for so long, such as 7d: placed simulate --snapshot plays it")
	var yes bool
	restore := asking("restore FILE", "Replace the books of the whole cluster by those of a file", cobra.ExactArgs(1),
		func(cmd *cobra.Command, a *asker, c *api.Client, args []string) error {
			return restoreSnapshot(cmd, a, c, args[0], yes)
		})
	restore.Long = `Replace the books of the whole cluster by those of a file.

What was committed since the file was saved is forgotten. Therefore a new generation
begins: every open lease becomes uncertain until both its ends have been seen, and
nothing is granted for a host before it has said again what it runs. Workloads run on.`
	restore.Flags().BoolVar(&yes, "yes", false, "do it")
	var asJSON bool
	inspect := &cobra.Command{Use: "inspect FILE", Short: "What a saved file holds; needs no agent", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, summary, err := readSnapshot(args[0])
			if err != nil {
				return err
			}
			return printSummary(cmd, summary, asJSON)
		}}
	inspect.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	snapshot.AddCommand(save, restore, inspect)
	return snapshot
}

// snapshotSummary is what is worth knowing of a file.
type snapshotSummary struct {
	File         string         `json:"file"`
	Bytes        int            `json:"bytes"`
	SHA256       string         `json:"sha256"`
	Version      int            `json:"version"`
	Cluster      string         `json:"cluster"`
	Index        uint64         `json:"index"`
	Generation   uint64         `json:"generation"`
	Time         time.Time      `json:"time"` // newest wall time of a proposer
	Hosts        int            `json:"hosts"`
	Workloads    int            `json:"workloads"`
	Leases       int            `json:"leases"`
	ActiveLeases int            `json:"active_leases"`
	LeaseStates  map[string]int `json:"lease_states"`
	Decisions    int            `json:"decisions"`
	Outcomes     int            `json:"outcomes"`
	Events       int            `json:"events"`
}

// snapshotVersionAt is where the file says its version, behind its magic.
const snapshotVersionAt = len("plcdsnap")

// readSnapshot reads a file and checks all of it.
func readSnapshot(file string) ([]byte, snapshotSummary, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, snapshotSummary{}, exit{code: exitNotFound, err: err}
	}
	if err != nil {
		return nil, snapshotSummary{}, err
	}
	if bundle, err := api.DecodeBundle(data); err == nil {
		data = bundle.Books
	} else if !errors.Is(err, api.ErrNoHistory) {
		return nil, snapshotSummary{}, fmt.Errorf("%s: %w", file, err)
	}
	summary, err := snapshotSummaryOf(data)
	if err != nil {
		return nil, summary, fmt.Errorf("%s: %w", file, err)
	}
	summary.File = file
	return data, summary, nil
}

func snapshotSummaryOf(data []byte) (snapshotSummary, error) {
	state, err := fsm.Restore(bytes.NewReader(data))
	if err != nil {
		return snapshotSummary{}, err
	}
	sum := sha256.Sum256(data)
	wall, _ := state.Time()
	s := snapshotSummary{Bytes: len(data), SHA256: hex.EncodeToString(sum[:]), Version: int(data[snapshotVersionAt]),
		Cluster: state.Cluster(), Index: state.Index(), Generation: state.Generation(), Time: wall.UTC(), LeaseStates: map[string]int{},
		Hosts: len(state.Hosts()), Workloads: len(state.Workloads()), Decisions: len(state.Decisions(0)), Outcomes: len(state.Outcomes()), Events: len(state.EventsSince(0, 0))}
	for _, l := range state.AllLeases() {
		s.Leases++
		s.LeaseStates[l.State.String()]++
		if l.Active() {
			s.ActiveLeases++
		}
	}
	return s, nil
}

func printSummary(cmd *cobra.Command, s snapshotSummary, asJSON bool) error {
	if asJSON {
		return printJSON(cmd.OutOrStdout(), s)
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), `File        %s, %d bytes, version %d
SHA-256     %s
Cluster     %s
Index       %d of generation %d, newest write %s
Hosts       %d
Workloads   %d
Leases      %d active of %d
Records     %d decisions, %d outcomes of moves, %d events
`, s.File, s.Bytes, s.Version, s.SHA256, s.Cluster, s.Index, s.Generation, s.Time.Format(time.RFC3339), s.Hosts, s.Workloads, s.ActiveLeases, s.Leases, s.Decisions, s.Outcomes, s.Events)
	return err
}

func saveSnapshot(cmd *cobra.Command, a *asker, c *api.Client, args []string) error {
	data, _, err := c.SaveSnapshot(cmd.Context(), a.query())
	if err != nil {
		return err
	}
	summary, err := snapshotSummaryOf(data)
	if err != nil {
		return fmt.Errorf("the agent sent a snapshot that cannot be read: %w", err)
	}
	if err := durable.WriteFile(args[0], data, 0o600); err != nil {
		return err
	}
	summary.File = args[0]
	return printSummary(cmd, summary, a.json)
}

func restoreSnapshot(cmd *cobra.Command, a *asker, c *api.Client, file string, yes bool) error {
	data, summary, err := readSnapshot(file)
	if err != nil {
		return err
	}
	if !yes {
		return fmt.Errorf("%s holds index %d of generation %d of cluster %s; restoring it forgets every write since %s and makes every open lease uncertain: say --yes to do it",
			file, summary.Index, summary.Generation, summary.Cluster, summary.Time.Format(time.RFC3339))
	}
	accepted, err := c.RestoreSnapshot(cmd.Context(), data)
	return printAccepted(cmd.OutOrStdout(), a, accepted, err)
}
