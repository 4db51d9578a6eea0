package config

import (
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// Scenario is what `placed simulate` plays: either a published world
// (reference), or a fleet of our own. docs/simulation.md explains every block.
type Scenario struct {
	Variables []ScenarioVariable `hcl:"variable,block"`
	Reference *ScenarioReference `hcl:"reference,block"`
	Traces    []ScenarioTraces   `hcl:"traces,block"`
	Pool      *ScenarioPool      `hcl:"pool,block"`
	Hosts     []ScenarioHosts    `hcl:"hosts,block"`
	Workloads []ScenarioLoads    `hcl:"workloads,block"`
	Window    *ScenarioWindow    `hcl:"window,block"`
	Policy    *Policy            `hcl:"policy,block"`
	Migration *ScenarioMigration `hcl:"migration,block"`
	Budget    *ScenarioBudget    `hcl:"budget,block"`
	Deciders  []ScenarioDecider  `hcl:"decider,block"`
	Faults    []ScenarioFault    `hcl:"fault,block"`
	// Seeds: one run each; the figures are printed per seed and as a mean.
	Seeds []int `hcl:"seeds,optional"`
}

// ScenarioVariable can be set on the command line.
type ScenarioVariable struct {
	Name        string    `hcl:"name,label"`
	Default     cty.Value `hcl:"default,optional"`
	Description string    `hcl:"description,optional"`
}

// ScenarioReference is a world of package simulator/reference.
type ScenarioReference struct {
	World    string `hcl:"world"`
	Trace    string `hcl:"trace"`
	Detector string `hcl:"detector"`
	Planner  string `hcl:"planner,optional"`
}

// ScenarioTraces names recorded loads. Layout is rows (one load per line) or
// columns (one per column); values times Scale are percent of the workload's
// cores.
type ScenarioTraces struct {
	Name   string   `hcl:"name,label"`
	Files  []string `hcl:"files"`
	Layout string   `hcl:"layout"`
	Scale  float64  `hcl:"scale,optional"`
	// Loads with a smaller mean, or a larger share of missing values, are
	// left out; gaps up to Bridge ticks are bridged by straight lines.
	MinMean    float64 `hcl:"min_mean,optional"`
	MaxMissing float64 `hcl:"max_missing,optional"`
	Bridge     int     `hcl:"bridge,optional"`
}

// ScenarioPool draws a fleet for a set of traces (simulator.Pool).
type ScenarioPool struct {
	Traces        string    `hcl:"traces"`
	Cores         []float64 `hcl:"cores"`
	Probability   []float64 `hcl:"probability"`
	MemoryPerCore Bytes     `hcl:"memory_per_core"`
	PerHost       int       `hcl:"per_host"`
	Quantile      float64   `hcl:"quantile"`
	Fill          float64   `hcl:"fill"`
	MemoryRoom    float64   `hcl:"memory_room"`
}

// ScenarioHosts are Count equal hosts, NAME-1 … NAME-Count.
type ScenarioHosts struct {
	Name   string  `hcl:"name,label"`
	Count  int     `hcl:"count,optional"`
	CPU    float64 `hcl:"cpu"`
	Memory Bytes   `hcl:"memory"`
	Zone   string  `hcl:"zone,optional"`
}

// ScenarioLoads are Count workloads NAME-1 … NAME-Count. Load i plays trace i of
// the set (from the first again when there are fewer), or a wave.
type ScenarioLoads struct {
	Name      string        `hcl:"name,label"`
	Count     int           `hcl:"count,optional"`
	Host      string        `hcl:"host,optional"` // absent: dealt out by reservation
	CPU       float64       `hcl:"cpu"`           // cores that 100 % stand for
	Memory    Bytes         `hcl:"memory"`
	Priority  int           `hcl:"priority,optional"`
	Tolerance float64       `hcl:"tolerance,optional"`
	Pinned    bool          `hcl:"pinned,optional"`
	Group     string        `hcl:"group,optional"`
	Traces    string        `hcl:"traces,optional"`
	Wave      *ScenarioWave `hcl:"wave,block"`
}

// ScenarioWave is a made load in percent: a sine around Mean, with white noise.
type ScenarioWave struct {
	Mean      float64  `hcl:"mean"`
	Amplitude float64  `hcl:"amplitude,optional"`
	Period    Duration `hcl:"period,optional"`
	Shift     Duration `hcl:"shift,optional"` // later by so much
	Noise     float64  `hcl:"noise,optional"` // standard deviation
}

// ScenarioWindow is the part of the time in which decisions are made and
// counted, from Start after the first sample for Length. Without a start it
// ends with the loads; Skip leaves out so much at their end.
type ScenarioWindow struct {
	Start  Duration `hcl:"start,optional"`
	Length Duration `hcl:"length"`
	Skip   Duration `hcl:"skip,optional"`
	// Begin is the load time of the first sample, RFC 3339.
	Begin string `hcl:"begin,optional"`
}

// ScenarioMigration is what a move costs.
type ScenarioMigration struct {
	Bandwidth   Bytes   `hcl:"bandwidth"` // per second
	Rounds      float64 `hcl:"rounds,optional"`
	Degradation float64 `hcl:"degradation,optional"`
}

// ScenarioBudget bounds every decider alike; several rates mean a run each.
type ScenarioBudget struct {
	PerDay []float64 `hcl:"moves_per_workload_day"`
	Burst  float64   `hcl:"burst_days,optional"`
}

// ScenarioDecider is one row of the comparison.
type ScenarioDecider struct {
	Name string  `hcl:"name,label"`
	Kind string  `hcl:"kind"`
	Z    float64 `hcl:"z,optional"`
	// MinGain, KeepFree and the risks are those of planner.Ahead.
	MinGain    float64 `hcl:"min_gain,optional"`
	KeepFree   float64 `hcl:"keep_free,optional"`
	SourceRisk float64 `hcl:"source_risk,optional"`
	TargetRisk float64 `hcl:"target_risk,optional"`
	// ForecastEvery is how often a workload is forecast anew; absent = at every
	// tick.
	ForecastEvery Duration `hcl:"forecast_every,optional"`
}

// ScenarioFault befalls a host From … Until, counted from the window's start.
type ScenarioFault struct {
	Kind  string   `hcl:"kind,label"`
	Host  string   `hcl:"host"`
	From  Duration `hcl:"from"`
	Until Duration `hcl:"until"`
}

// LoadScenario reads one scenario file; set gives variables their values.
// Errors are of type Problems.
func LoadScenario(file string, set map[string]string) (Scenario, error) {
	source, problem := read(file)
	if problem != nil {
		return Scenario{}, Problems{*problem}
	}
	return ParseScenario(file, source, set)
}

// ParseScenario reads one from memory; name is for messages.
func ParseScenario(name string, source []byte, set map[string]string) (Scenario, error) {
	file, diagnostics := hclsyntax.ParseConfig(source, name, hcl.InitialPos)
	if diagnostics.HasErrors() {
		return Scenario{}, fromDiagnostics(diagnostics).sorted()
	}
	values, problems := variables(name, file.Body, set)
	if len(problems) > 0 {
		return Scenario{}, problems.sorted()
	}
	defaults := Default()
	s := Scenario{Policy: defaults.Policy}
	context := &hcl.EvalContext{Variables: map[string]cty.Value{"var": cty.ObjectVal(values)}}
	if diagnostics := gohcl.DecodeBody(file.Body, context, &s); diagnostics.HasErrors() {
		return Scenario{}, scenarioProblems(diagnostics).sorted()
	}
	if problems := s.check(name); len(problems) > 0 {
		return Scenario{}, problems.sorted()
	}
	return s, nil
}

func scenarioProblems(diagnostics hcl.Diagnostics) Problems {
	problems := fromDiagnostics(diagnostics)
	for i := range problems {
		problems[i].Remedy = strings.ReplaceAll(problems[i].Remedy, "see config.hcl.example for", "see docs/simulation.md for")
	}
	return problems
}

// variables reads the variable blocks alone and overrides their defaults. The
// type of the default is the type of the variable.
func variables(name string, body hcl.Body, set map[string]string) (map[string]cty.Value, Problems) {
	var found struct {
		Variables []ScenarioVariable `hcl:"variable,block"`
		Rest      hcl.Body           `hcl:",remain"`
	}
	if diagnostics := gohcl.DecodeBody(body, nil, &found); diagnostics.HasErrors() {
		return nil, scenarioProblems(diagnostics)
	}
	values := map[string]cty.Value{}
	var names []string
	for _, v := range found.Variables {
		names = append(names, v.Name)
		values[v.Name] = v.Default
		if v.Default == cty.NilVal {
			values[v.Name] = cty.NullVal(cty.String)
		}
	}
	var problems Problems
	for key, text := range set {
		old, known := values[key]
		if !known {
			problems = append(problems, Problem{File: name, Message: fmt.Sprintf("it has no variable %q", key),
				Remedy: "use one of " + strings.Join(names, ", ")})
			continue
		}
		value, err := typed(text, old.Type())
		if err != nil {
			problems = append(problems, Problem{File: name, Message: fmt.Sprintf("variable %s: %v", key, err), Remedy: "give a value like its default"})
			continue
		}
		values[key] = value
	}
	for _, key := range names {
		if values[key].IsNull() {
			problems = append(problems, Problem{File: name, Message: fmt.Sprintf("variable %s has no value", key), Remedy: "give it with --var " + key + "=…"})
		}
	}
	slices.SortFunc(problems, func(a, b Problem) int { return strings.Compare(a.Message, b.Message) })
	return values, problems
}

func typed(text string, want cty.Type) (cty.Value, error) {
	switch {
	case want == cty.Number:
		f, _, err := big.ParseFloat(text, 10, 512, big.ToNearestEven)
		if err != nil {
			return cty.NilVal, fmt.Errorf("%q is no number", text)
		}
		return cty.NumberVal(f), nil
	case want == cty.Bool:
		if text != "true" && text != "false" {
			return cty.NilVal, fmt.Errorf("%q is neither true nor false", text)
		}
		return cty.BoolVal(text == "true"), nil
	case want.IsTupleType() || want.IsListType():
		var list []cty.Value
		of := cty.String
		if types := want.TupleElementTypes(); want.IsTupleType() && len(types) > 0 {
			of = types[0]
		}
		for _, part := range strings.Split(text, ",") {
			v, err := typed(part, of)
			if err != nil {
				return cty.NilVal, err
			}
			list = append(list, v)
		}
		return cty.TupleVal(list), nil
	}
	return cty.StringVal(text), nil
}

// check finds what no single key shows.
func (s Scenario) check(name string) Problems {
	var out Problems
	add := func(remedy, format string, args ...any) {
		out = append(out, Problem{File: name, Message: fmt.Sprintf(format, args...), Remedy: remedy})
	}
	if s.Reference != nil {
		if s.Pool != nil || len(s.Hosts) > 0 || len(s.Workloads) > 0 {
			add("keep the one or the other", "a reference world brings its own hosts and workloads")
		}
		return out
	}
	traces := map[string]bool{}
	for _, t := range s.Traces {
		traces[t.Name] = true
		if t.Layout != "rows" && t.Layout != "columns" {
			add("use rows or columns", "traces %s: %q is no layout", t.Name, t.Layout)
		}
	}
	switch {
	case s.Pool == nil && (len(s.Hosts) == 0 || len(s.Workloads) == 0):
		add("add a pool block, or hosts and workloads, or a reference block", "there is nothing to simulate")
	case s.Pool != nil && len(s.Hosts)+len(s.Workloads) > 0:
		add("keep the one or the other", "a pool brings its own hosts and workloads")
	case s.Pool != nil && !traces[s.Pool.Traces]:
		add("add a traces block of that name", "the pool wants traces %q", s.Pool.Traces)
	}
	for _, w := range s.Workloads {
		switch {
		case w.Traces == "" && w.Wave == nil || w.Traces != "" && w.Wave != nil:
			add("give either traces or a wave block", "workloads %s: it is not clear what they do", w.Name)
		case w.Traces != "" && !traces[w.Traces]:
			add("add a traces block of that name", "workloads %s want traces %q", w.Name, w.Traces)
		}
	}
	if s.Window == nil {
		add(`add one with a length, such as "24h"`, "there is no window block")
	}
	if len(s.Deciders) == 0 {
		add("add at least one, such as decider \"ours\" { kind = \"placed\" }", "there is no decider block")
	}
	for _, d := range s.Deciders {
		if kinds := []string{"nothing", "reactive", "persistence", "oracle", "placed", "ahead", "oracle-ahead"}; !slices.Contains(kinds, d.Kind) {
			add("use one of "+strings.Join(kinds, ", "), "decider %s: %q is no kind", d.Name, d.Kind)
		}
	}
	config := Default()
	config.Policy = s.Policy
	k := checker{config: &config}
	k.durations()
	k.policy()
	for _, p := range k.problems {
		p.File, p.Line = name, 0
		out = append(out, p)
	}
	for _, d := range s.durations() {
		if _, err := d.parse(); err != nil {
			add(`write it as "30s", "5m" or "1h30m"`, "%v", err)
		}
	}
	for _, b := range s.amounts() {
		if _, err := b.parse(); err != nil {
			add(`write it as "512MiB" or "16GiB"`, "%v", err)
		}
	}
	return out
}

func (s Scenario) durations() (all []Duration) {
	if w := s.Window; w != nil {
		all = append(all, w.Start, w.Length, w.Skip)
	}
	for _, f := range s.Faults {
		all = append(all, f.From, f.Until)
	}
	for _, w := range s.Workloads {
		if w.Wave != nil {
			all = append(all, w.Wave.Period, w.Wave.Shift)
		}
	}
	for _, d := range s.Deciders {
		all = append(all, d.ForecastEvery)
	}
	return all
}

func (s Scenario) amounts() (all []Bytes) {
	if s.Pool != nil {
		all = append(all, s.Pool.MemoryPerCore)
	}
	if s.Migration != nil {
		all = append(all, s.Migration.Bandwidth)
	}
	for _, h := range s.Hosts {
		all = append(all, h.Memory)
	}
	for _, w := range s.Workloads {
		all = append(all, w.Memory)
	}
	return all
}
