package main

import (
	"fmt"
	"io"
	"slices"

	"github.com/placed-dev/placed/simulator"
)

// simulationSummary is what `placed simulate` prints of a fleet.
type simulationSummary struct {
	Scenario string          `json:"scenario"`
	Rows     []simulationRow `json:"rows"`
	Warnings []string        `json:"warnings,omitempty"`
	Runs     []fleetRun      `json:"runs"`
}

// simulationRow is the mean over the seeds of one decider under one budget.
type simulationRow struct {
	Decider string  `json:"decider"`
	Budget  float64 `json:"moves_per_workload_day_allowed"`
	Seeds   int     `json:"seeds"`
	// Contended workload-minutes, overloaded host-minutes and moves per day.
	Contended     float64          `json:"contended_vm_minutes_per_day"`
	Overload      float64          `json:"overload_host_minutes_per_day"`
	MovesPerVMDay float64          `json:"moves_per_vm_day"`
	FalseShare    float64          `json:"false_share"`
	HarmfulShare  float64          `json:"harmful_share"`
	ReturnShare   float64          `json:"return_share"`
	Imbalance     float64          `json:"imbalance"`
	Lead          simulator.Spread `json:"lead_minutes"` // means of the seeds' spreads
	// GapClosed is (reactive − this) / (reactive − oracle) of the contended
	// minutes at the same budget, where the scenario has both deciders.
	GapClosed *float64 `json:"gap_closed,omitempty"`
	// GapOwn is the same against the decider "oracle-ours": the product's own
	// planner with the true next hour.
	GapOwn *float64 `json:"gap_closed_same_planner,omitempty"`
}

// summarise takes the means over the seeds, in the order of the runs.
func summarise(scenario string, runs []fleetRun) simulationSummary {
	s := simulationSummary{Scenario: scenario, Runs: runs}
	moves := map[int]float64{} // per row, for the shares
	for _, run := range runs {
		at := slices.IndexFunc(s.Rows, func(r simulationRow) bool { return r.Decider == run.Result.Decider && r.Budget == run.Budget })
		if at < 0 {
			at = len(s.Rows)
			s.Rows = append(s.Rows, simulationRow{Decider: run.Result.Decider, Budget: run.Budget})
		}
		row, r := &s.Rows[at], run.Result
		row.Seeds++
		row.Contended += r.ContendedPerDay
		row.Overload += r.OverloadPerDay
		row.MovesPerVMDay += r.MovesPerVMDay
		row.FalseShare += float64(r.False)
		row.HarmfulShare += float64(r.Harmful)
		row.ReturnShare += float64(r.Returns)
		row.Imbalance += r.Imbalance
		row.Lead.P10 += r.LeadMinutes.P10
		row.Lead.P50 += r.LeadMinutes.P50
		row.Lead.P90 += r.LeadMinutes.P90
		moves[at] += float64(r.Moves)
		for _, w := range r.Warnings {
			if !slices.Contains(s.Warnings, w) {
				s.Warnings = append(s.Warnings, w)
			}
		}
	}
	for i := range s.Rows {
		row := &s.Rows[i]
		n := float64(row.Seeds)
		for _, v := range []*float64{&row.Contended, &row.Overload, &row.MovesPerVMDay, &row.Imbalance, &row.Lead.P10, &row.Lead.P50, &row.Lead.P90} {
			*v /= n
		}
		for _, v := range []*float64{&row.FalseShare, &row.HarmfulShare, &row.ReturnShare} {
			*v /= max(moves[i], 1)
		}
	}
	s.closeGaps()
	return s
}

func (s *simulationSummary) closeGaps() {
	for i := range s.Rows {
		s.Rows[i].GapClosed = s.gap(&s.Rows[i], "oracle")
		s.Rows[i].GapOwn = s.gap(&s.Rows[i], "oracle-ours")
	}
}

func (s *simulationSummary) gap(row *simulationRow, against string) *float64 {
	reactive, oracle := s.find("reactive", row.Budget), s.find(against, row.Budget)
	if reactive == nil || oracle == nil || reactive == row || reactive.Contended == oracle.Contended {
		return nil
	}
	closed := (reactive.Contended - row.Contended) / (reactive.Contended - oracle.Contended)
	return &closed
}

func (s *simulationSummary) find(decider string, budget float64) *simulationRow {
	for i := range s.Rows {
		if s.Rows[i].Decider == decider && s.Rows[i].Budget == budget {
			return &s.Rows[i]
		}
	}
	return nil
}

func printSimulation(out io.Writer, s simulationSummary) error {
	return table(out, "BUDGET\tDECIDER\tCONTENDED VM-MIN/DAY\tGAP CLOSED\tSAME PLANNER\tMOVES/VM-DAY\tFALSE\tHARMFUL\tRETURNS\tLEAD MIN (P50)\tIMBALANCE", func(w io.Writer) {
		for _, r := range s.Rows {
			budget := "none"
			if r.Budget > 0 {
				budget = fmt.Sprintf("%g", r.Budget)
			}
			fmt.Fprintf(w, "%s\t%s\t%.1f\t%s\t%s\t%.3f\t%.1f %%\t%.1f %%\t%.1f %%\t%.0f\t%.3f\n", budget, r.Decider, r.Contended,
				shareText(r.GapClosed), shareText(r.GapOwn), r.MovesPerVMDay,
				100*r.FalseShare, 100*r.HarmfulShare, 100*r.ReturnShare, r.Lead.P50, r.Imbalance)
		}
	})
}

func shareText(share *float64) string {
	if share == nil {
		return ""
	}
	return fmt.Sprintf("%.0f %%", 100**share)
}
