package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/fleet"
)

func newWhy() *cobra.Command {
	return asking("why WORKLOAD", "Why a workload is where it is: decisions, scores, refused hosts, moves", cobra.ExactArgs(1), why)
}

func why(cmd *cobra.Command, a *asker, c *api.Client, args []string) error {
	answer, _, err := c.Why(cmd.Context(), args[0], a.query())
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if a.json {
		return printJSON(out, answer)
	}
	hosts, _, err := c.Hosts(cmd.Context(), a.query())
	if err != nil {
		return err
	}
	name := hostNames(hosts)
	fmt.Fprintln(out, answer.Summary)
	for _, m := range answer.Migrations {
		fmt.Fprintf(out, "\nmove %s  %s → %s  %s, %s\n", m.Lease, name(m.From), name(m.To), m.Type, m.Phase)
		fmt.Fprintf(out, "  %s\n", m.Reason)
		fmt.Fprintf(out, "  %d rounds, %.1f MiB, downtime %.1f ms, %.0f ms in all\n", m.RoundCount, float64(m.Bytes)/(1<<20), m.DowntimeMS, m.DurationMS)
		if m.ContentionCame != nil && m.Type == fleet.Preemptive.String() {
			fmt.Fprintf(out, "  the predicted contention came: %v\n", *m.ContentionCame)
		}
		for _, note := range m.Notes {
			fmt.Fprintf(out, "  %s\n", note)
		}
		if m.Error != "" {
			fmt.Fprintf(out, "  %s\n", m.Error)
		}
	}
	for _, d := range answer.Decisions {
		printDecision(out, d, name)
	}
	return printGates(out, answer.Category, answer.Forecasts)
}

func printDecision(out io.Writer, d api.Decision, name func(string) string) {
	fmt.Fprintf(out, "\ndecision %s  %s  %s\n  %s\n", d.ID, d.At.UTC().Format("2006-01-02 15:04:05"), d.Outcome, d.Reason)
	if d.Contention != nil {
		fmt.Fprintf(out, "  breach of %s on %s predicted for %s (probability %.0f %%)\n", d.Contention.Resource, name(d.Contention.Host),
			d.Contention.Breach.UTC().Format("15:04:05"), 100*d.Contention.Probability)
	}
	if !d.LeaveBy.IsZero() {
		fmt.Fprintf(out, "  leave by %s\n", d.LeaveBy.UTC().Format("15:04:05"))
	}
	if len(d.CandidateScore) > 0 {
		fmt.Fprintf(out, "  as a candidate:%s\n", parts(d.CandidateScore))
	}
	for _, s := range d.Scores {
		fmt.Fprintf(out, "  %-10s %6.3f =%s\n", name(s.Host), s.Total, parts(s.Parts))
	}
	for _, e := range d.Exclusions {
		what := name(e.Host)
		if e.Workload != "" {
			what = e.Workload
		}
		fmt.Fprintf(out, "  %-10s refused: %s\n", what, e.Reason)
	}
}

func parts(list []api.ScorePart) string {
	text := ""
	for _, p := range list {
		text += fmt.Sprintf(" %s %+.3f", p.Name, p.Value)
	}
	return text
}

func newWhyNot() *cobra.Command {
	return asking("why-not WORKLOAD HOST", "Why a workload would not move to a host, from the newest view", cobra.ExactArgs(2),
		func(cmd *cobra.Command, a *asker, c *api.Client, args []string) error {
			answer, _, err := c.WhyNot(cmd.Context(), args[0], args[1], a.query())
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if a.json {
				return printJSON(out, answer)
			}
			fmt.Fprintln(out, answer.Summary)
			for _, e := range answer.Exclusions {
				fmt.Fprintf(out, "  refused: %s\n", e.Reason)
			}
			for _, s := range []struct {
				what  string
				score *api.Score
			}{{answer.Host, answer.Score}, {"where it is", answer.Owner}} {
				if s.score != nil {
					fmt.Fprintf(out, "  %-12s %6.3f =%s\n", s.what, s.score.Total, parts(s.score.Parts))
				}
			}
			return nil
		})
}
