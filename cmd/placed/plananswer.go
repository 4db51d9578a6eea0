package main

import (
	"fmt"
	"io"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/planner"
)

// What `placed plan --json` prints (docs/planning.md). Fields are only ever
// added.
type (
	planJSON struct {
		Moves      []planMove    `json:"moves"`
		Before     planPicture   `json:"before"`
		After      planPicture   `json:"after"`
		Unrelieved []planHost    `json:"unrelieved"`
		Refused    []planRefusal `json:"refused"`
		// Summary says in one sentence what is done, or why nothing.
		Summary string `json:"summary"`
	}
	planMove struct {
		Step     int       `json:"step"` // from 1
		Workload string    `json:"workload"`
		From     string    `json:"from"` // empty for a pending instance
		To       string    `json:"to"`
		Reason   string    `json:"reason"`
		Memory   int64     `json:"memory"` // bytes the move copies
		Score    planScore `json:"score"`
	}
	planScore struct {
		Total float64           `json:"total"`
		Parts []fleet.ScorePart `json:"parts"`
	}
	planPicture struct {
		MaxUtilisation  planShares `json:"max_utilisation"`
		OverloadedHosts int        `json:"overloaded_hosts"`
	}
	planShares struct {
		CPU    float64 `json:"cpu"`
		Memory float64 `json:"memory"`
	}
	planHost struct {
		Host string `json:"host"`
		Why  string `json:"why"`
	}
	planRefusal struct {
		Workload string `json:"workload"`
		Host     string `json:"host"`
		Why      string `json:"why"`
	}
)

func planAnswer(p planner.Arrangement) planJSON {
	out := planJSON{
		Moves: []planMove{}, Unrelieved: []planHost{}, Refused: []planRefusal{},
		Before: pictureJSON(p.Before), After: pictureJSON(p.After), Summary: p.Summary,
	}
	for i, s := range p.Steps {
		out.Moves = append(out.Moves, planMove{Step: i + 1, Workload: string(s.Workload), From: string(s.From), To: string(s.To),
			Reason: s.Reason, Memory: s.Memory, Score: planScore{s.Score.Total, s.Score.Parts}})
	}
	for _, e := range p.Unrelieved {
		out.Unrelieved = append(out.Unrelieved, planHost{string(e.Host), e.Reason})
	}
	for _, e := range p.Refused {
		out.Refused = append(out.Refused, planRefusal{string(e.Workload), string(e.Host), e.Reason})
	}
	return out
}

func pictureJSON(p planner.Picture) planPicture {
	return planPicture{MaxUtilisation: planShares{CPU: p.MaxCPU, Memory: p.MaxMemory}, OverloadedHosts: p.Overloaded}
}

// printPlan is for people.
func printPlan(out io.Writer, p planner.Arrangement) error {
	fmt.Fprintln(out, p.Summary)
	if len(p.Steps) > 0 {
		err := table(out, "STEP\tWORKLOAD\tFROM\tTO\tMEMORY\tREASON", func(w io.Writer) {
			for i, s := range p.Steps {
				from := string(s.From)
				if from == "" {
					from = "-"
				}
				fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\n", i+1, s.Workload, from, s.To, fleet.FormatAmount(fleet.Memory, s.Memory), s.Reason)
			}
		})
		if err != nil {
			return err
		}
	}
	for _, e := range p.Unrelieved {
		fmt.Fprintf(out, "unrelieved %s: %s\n", e.Host, e.Reason)
	}
	for _, e := range p.Refused {
		host := ""
		if e.Host != "" {
			host = " on " + string(e.Host)
		}
		fmt.Fprintf(out, "refused %s%s: %s\n", e.Workload, host, e.Reason)
	}
	return nil
}
