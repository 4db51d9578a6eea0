package main

import (
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"github.com/placed-dev/placed/config"
	"github.com/placed-dev/placed/simulator"
	"github.com/placed-dev/placed/simulator/reference"
)

// referenceResult is what a reference world prints.
type referenceResult struct {
	World    string `json:"world"`
	Detector string `json:"detector"`
	Planner  string `json:"planner"`
	reference.Result
	CPUSeconds float64 `json:"cpu_seconds"`
}

// playReference plays one day of a published world.
func playReference(out io.Writer, s config.Scenario, asJSON bool) error {
	r := s.Reference
	if r.Planner == "" {
		r.Planner = "reference"
	}
	before := cpuTime()
	result, err := runReference(*r)
	if err != nil {
		return err
	}
	all := referenceResult{World: r.World, Detector: r.Detector, Planner: r.Planner, Result: result, CPUSeconds: (cpuTime() - before).Seconds()}
	if asJSON {
		return printJSON(out, all)
	}
	return table(out, "WORLD\tDETECTOR\tPLANNER\tkWh\tMIGRATIONS\tSLATAH\tPDM\tACTIVE HOSTS\tOVERLOADED\tUNSERVED", func(w io.Writer) {
		fmt.Fprintf(w, "%s\t%s\t%s\t%.4f\t%d\t%.8f\t%.8f\t%.2f\t%.3f %%\t%.3f %%\n", all.World, all.Detector, all.Planner,
			all.EnergyKWh, all.Migrations, all.SLATAH, all.PDM, all.MeanActiveHosts, all.OverloadedPercent, all.UnservedPercent)
	})
}

func runReference(r config.ScenarioReference) (reference.Result, error) {
	c, err := referenceConfig(r)
	if err != nil {
		return reference.Result{}, err
	}
	traces, err := readTraceFile(r.Trace, "rows")
	if err != nil {
		return reference.Result{}, err
	}
	for _, t := range traces {
		c.Traces = append(c.Traces, t.Values)
	}
	result, err := reference.Run(c)
	if err != nil {
		return result, fmt.Errorf("%s: %w", r.Trace, err)
	}
	return result, nil
}

// referenceConfig reads the names of world, detector and planner.
func referenceConfig(r config.ScenarioReference) (reference.Config, error) {
	c := reference.Config{}
	var err error
	if c.Rules, err = reference.WorldNamed(r.World); err != nil {
		return c, err
	}
	switch r.Planner {
	case "reference", "placed":
	default:
		return c, fmt.Errorf("planner %q: want reference or placed", r.Planner)
	}
	if r.Planner == "placed" {
		if r.Detector != "placed" || r.World != "b32" {
			return c, fmt.Errorf("planner placed needs world b32 and detector placed, not world %s and detector %s", r.World, r.Detector)
		}
		c.Policy = &reference.Policy{Planner: &simulator.Consolidator{}}
		return c, nil
	}
	switch r.Detector {
	case "npa":
		c.AllOn = true
	case "dvfs":
	case "placed":
		c.Policy = &reference.Policy{Detector: reference.Online(simulator.NewDayDetector())}
	default:
		detector, err := reference.DetectorNamed(r.Detector)
		if err != nil {
			return c, err
		}
		c.Policy = &reference.Policy{Detector: detector}
	}
	return c, nil
}

// cpuTime is what this process has used of all processors.
func cpuTime() time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
