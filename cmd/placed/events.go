package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/placed-dev/placed/api"
)

func newEvents() *cobra.Command {
	var follow bool
	var topics []string
	var index uint64
	cmd := asking("events", "What happened, in the order of the log", cobra.NoArgs,
		func(cmd *cobra.Command, a *asker, c *api.Client, _ []string) error {
			return showEvents(cmd, a, c, follow, topics, index)
		})
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on as events happen, until Ctrl-C")
	cmd.Flags().StringSliceVar(&topics, "topic", nil, "only these: host, workload, lease, migration, decision, policy, cluster")
	cmd.Flags().Uint64Var(&index, "index", 0, "begin after this index (default: the oldest that is kept)")
	return cmd
}

// errEnough ends a stream that was to show only what is there.
var errEnough = errors.New("enough")

func showEvents(cmd *cobra.Command, a *asker, c *api.Client, follow bool, topics []string, index uint64) error {
	out := cmd.OutOrStdout()
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	until := uint64(0)
	if !follow {
		status, _, err := c.Status(cmd.Context(), api.QueryOptions{Stale: true})
		if err != nil {
			return err
		}
		until = status.Index
	}
	after := api.Cursor{Index: index}
	if index > 0 {
		after = api.After(index)
	}
	err := c.Events(cmd.Context(), api.StreamOptions{After: &after, Topics: topics, Heartbeats: !follow}, func(e api.Event) error {
		if e.Topic == api.TopicStream && e.Type == api.TypeHeartbeat {
			if e.Index >= until {
				return errEnough
			}
			return nil
		}
		if !follow && e.Index > until {
			return errEnough
		}
		if a.json {
			return encoder.Encode(e)
		}
		_, err := fmt.Fprintf(out, "%d.%d\t%s\t%s\t%s\n", e.Index, e.Seq, e.At.UTC().Format("15:04:05.000"), e.Topic, e.Message)
		return err
	})
	if errors.Is(err, errEnough) || follow && errors.Is(err, context.Canceled) {
		return nil // Ctrl-C is how one ends -f
	}
	return err
}
