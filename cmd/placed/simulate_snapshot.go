package main

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/config"
	"github.com/placed-dev/placed/durable"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/simulator"
)

// saveBundle saves the books with history.
func saveBundle(cmd *cobra.Command, a *asker, c *api.Client, file, history string) error {
	since, err := days(history)
	if err != nil {
		return fmt.Errorf("--with-history: %w", err)
	}
	data, _, err := c.SaveBundle(cmd.Context(), a.query(), since)
	if err != nil {
		return err
	}
	bundle, err := api.DecodeBundle(data)
	if err != nil {
		return fmt.Errorf("the agent sent something else than a snapshot with history: %w", err)
	}
	summary, err := snapshotSummaryOf(bundle.Books)
	if err != nil {
		return fmt.Errorf("the agent sent a snapshot that cannot be read: %w", err)
	}
	if err := durable.WriteFile(file, data, 0o600); err != nil {
		return err
	}
	for _, m := range bundle.Missing {
		fmt.Fprintf(cmd.ErrOrStderr(), "warning: host %s gave no history: %s\n", m.Host, m.Why)
	}
	summary.File = file
	return printSummary(cmd, summary, a.json)
}

// days reads a duration that may be written in days: 7d.
func days(text string) (time.Duration, error) {
	number, isDays := strings.CutSuffix(text, "d")
	if n, err := strconv.ParseFloat(number, 64); isDays && err == nil && n > 0 && n < 1000 {
		return time.Duration(n * float64(24*time.Hour)), nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%q is no duration: write it as 7d or 36h", text)
	}
	return d, nil
}

// timeMachine plays what was saved again: under the policy that held, and under
// the policy of a file. The first day is what forecasts learn from.
type timeMachine struct {
	begin     time.Time
	hosts     []fleet.Host
	workloads []simulator.Workload
	policy    fleet.Policy // that held when it was saved
	ticks     int
	notes     []string
}

// learning is how long a forecast must have seen a load before it is judged.
const learning = int(24 * time.Hour / fleet.Tick)

// readTimeMachine reads a snapshot with history and keeps the time that since
// names of it, 0 for all of it.
func readTimeMachine(file string, since time.Duration) (*timeMachine, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	bundle, err := api.DecodeBundle(data)
	if errors.Is(err, api.ErrNoHistory) {
		return nil, fmt.Errorf("%s has no history to play: save one with `placed operator snapshot save --with-history 7d %s`", file, file)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if bundle.TickS != fleet.Tick.Seconds() {
		return nil, fmt.Errorf("%s: its ticks are %g s long, this version plays %s", file, bundle.TickS, fleet.Tick)
	}
	state, err := fsm.Restore(bytes.NewReader(bundle.Books))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	ticks := bundle.Ticks
	if since > 0 {
		ticks = min(ticks, int(since/fleet.Tick))
	}
	if least := learning + 2*simulator.Ahead; ticks < least {
		return nil, fmt.Errorf("%s: %s of history are too short: a day to learn from and two hours more are the least", file, time.Duration(ticks)*fleet.Tick)
	}
	skip := bundle.Ticks - ticks
	m := &timeMachine{begin: bundle.Begin.Add(time.Duration(skip) * fleet.Tick), policy: state.Policy(), ticks: ticks}
	for _, missing := range bundle.Missing {
		m.notes = append(m.notes, fmt.Sprintf("host %s gave no history (%s): its workloads are left out", missing.Host, missing.Why))
	}
	for _, h := range state.Hosts() {
		if h.State != fleet.HostLeft {
			h.State = fleet.HostActive // what an operator drained is a fault of the past, not of a policy
			m.hosts = append(m.hosts, h)
		}
	}
	m.addWorkloads(state, bundle, skip)
	if len(m.workloads) == 0 {
		return nil, fmt.Errorf("%s: no workload in the books has any history", file)
	}
	return m, nil
}

// addWorkloads joins the loads with the books. Each workload begins where it was
// at the first tick: moves since then are taken back, the newest first.
func (m *timeMachine) addWorkloads(state *fsm.State, bundle api.Bundle, skip int) {
	owner := map[fleet.WorkloadID]fleet.HostID{}
	for _, w := range state.Workloads() {
		owner[w.ID] = w.Owner
	}
	for _, move := range slices.Backward(bundle.Moves) {
		if id := fleet.WorkloadID(move.Workload); move.At.After(m.begin) && owner[id] == fleet.HostID(move.To) {
			owner[id] = fleet.HostID(move.From)
		}
	}
	here := map[fleet.HostID]bool{}
	for _, h := range m.hosts {
		here[h.ID] = true
	}
	for _, l := range bundle.Loads {
		w, ok := state.Workload(fleet.WorkloadID(l.Workload))
		if w.Owner = owner[w.ID]; !ok || !here[w.Owner] {
			continue
		}
		cores := make([]float64, 0, m.ticks)
		for _, v := range l.CPU[skip:] {
			if v < 0 {
				cores = append(cores, math.NaN())
				continue
			}
			cores = append(cores, float64(v)/1000)
		}
		m.workloads = append(m.workloads, simulator.Workload{Workload: w, Demand: simulator.Filled(cores, 24)})
	}
}

// scenario is the run of one policy; the loads end an hour after the last
// decision, which every move is judged by.
func (m *timeMachine) config(policy fleet.Policy) simulator.Config {
	return simulator.Config{
		Hosts: m.hosts, Workloads: m.workloads, Start: m.begin, From: learning, To: m.ticks - simulator.Ahead,
		Policy: policy, Migration: simulator.Migration{Bandwidth: 1.1e9, Rounds: 1.3, Degradation: 0.1},
	}
}

// playSnapshot runs the time machine: nothing at all, the policy of the books, and
// that of the file.
func playSnapshot(o simulateOptions, interrupted func() error) (simulationSummary, error) {
	since := time.Duration(0)
	if o.since != "" {
		var err error
		if since, err = days(o.since); err != nil {
			return simulationSummary{}, fmt.Errorf("--since: %w", err)
		}
	}
	m, err := readTimeMachine(o.snapshot, since)
	if err != nil {
		return simulationSummary{}, err
	}
	runs := []struct {
		name   string
		policy fleet.Policy
		kind   string
	}{{"nothing", m.policy, "nothing"}, {"policy of the books", m.policy, "placed"}}
	if o.policy != "" {
		p, err := config.LoadPolicy(o.policy)
		if err != nil {
			return simulationSummary{}, err
		}
		runs = append(runs, struct {
			name   string
			policy fleet.Policy
			kind   string
		}{"policy of " + o.policy, scenarioPolicy(p), "placed"})
	}
	var played []fleetRun
	for _, run := range runs {
		if run.kind == "placed" && run.policy.Automation != fleet.Auto {
			m.notes = append(m.notes, fmt.Sprintf("the %s has automation %s, so it moves nothing: give a --policy with automation = \"auto\" to see what it would do", run.name, run.policy.Automation))
		}
		c := m.config(run.policy)
		c.Interrupted = interrupted
		c.Decider = (&madeFleet{config: c}).decider(config.ScenarioDecider{Kind: run.kind}, run.name)
		s, err := simulator.New(c)
		if err != nil {
			return simulationSummary{}, fmt.Errorf("%s: %w", o.snapshot, err)
		}
		result, err := s.Run()
		if err != nil {
			return simulationSummary{}, err
		}
		played = append(played, fleetRun{Seed: 1, Result: result})
	}
	summary := summarise(o.snapshot, played)
	summary.Warnings = append(summary.Warnings, m.notes...)
	return summary, nil
}
