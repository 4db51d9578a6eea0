package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/predictor"
	"github.com/placed-dev/placed/trace"
)

// contentionOptions are the flags of `placed forecast contention`.
type contentionOptions struct {
	file, layout, hosts, test, leads string
	full                             float64
	more, threads                    int
	seed                             uint64
	json                             bool
}

func newContention() *cobra.Command {
	var o contentionOptions
	cmd := &cobra.Command{
		Use:   "contention --csv FILE --hosts FILE",
		Short: "How well contention of hosts would have been foreseen",
		Long: `Groups the series of a file into hosts and predicts, at every 5-minute tick of the
last part, whether a host's demand will stand above what it can give within the 15
minutes that follow each lead; the models are trained on what lies before. The file
of hosts has a header and lines host,series,weight. What a host can give is a high
quantile of its own demand before the test.`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.StringVar(&o.file, "csv", "", "the series of the workloads, 5 minutes apart (.gz too)")
	f.StringVar(&o.layout, "layout", "columns", "columns (a header, one series per column) or rows (a header, then id,v1,v2,…)")
	f.StringVar(&o.hosts, "hosts", "", "which workloads run where: a header, then host,series,weight")
	f.StringVar(&o.test, "test", "7d", "how much of the end is predicted")
	f.StringVar(&o.leads, "leads", "15m,30m,60m", "how long ahead")
	f.Float64Var(&o.full, "full", 0.985, "quantile of a host's demand that stands for what it can give")
	f.IntVar(&o.more, "more", 60, "further hosts to make up from the same series for training only")
	f.Uint64Var(&o.seed, "seed", 1, "the same seed gives the same bytes")
	f.IntVar(&o.threads, "threads", 0, "threads, 0 = one per processor; the result is the same")
	f.BoolVar(&o.json, "json", false, "print JSON")
	for _, name := range []string{"csv", "hosts"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err)
		}
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return o.run(cmd.InOrStdin(), cmd.OutOrStdout()) }
	return cmd
}

func (o contentionOptions) run(in io.Reader, out io.Writer) error {
	test, err := parseSpan(o.test)
	if err != nil || test < 24*time.Hour {
		return fmt.Errorf("--test %s: want at least a day, as 7d", o.test)
	}
	leads, err := parseList("leads", o.leads, func(s string) (int, error) {
		d, err := parseSpan(s)
		if err == nil && d%fleet.Tick != 0 {
			err = fmt.Errorf("want a multiple of %s", fleet.Tick)
		}
		return int(d / fleet.Tick), err
	})
	if err != nil {
		return err
	}
	if !(o.full > 0.5 && o.full < 1) {
		return fmt.Errorf("--full %v: want a quantile within (0.5, 1)", o.full)
	}
	if o.more < 0 || o.more > 10_000 {
		return fmt.Errorf("--more %d: want 0 to 10000", o.more)
	}
	traces, err := readSeries(o.file, o.layout, in)
	if err != nil {
		return err
	}
	hosts, err := readHosts(o.hosts, traces)
	if err != nil {
		return err
	}
	values := make([][]float64, len(traces))
	for i, t := range traces {
		values[i] = t.Values
	}
	scores, err := predictor.OnsetTrial(values, hosts, predictor.OnsetTrialConfig{
		Test: int(test / fleet.Tick), Leads: leads, Full: o.full, More: o.more, Seed: o.seed,
	}, threadsFor(o.threads))
	if err != nil {
		return fmt.Errorf("%s: %w", o.file, err)
	}
	if o.json {
		return printJSON(out, contentionAnswer(scores))
	}
	return printContention(out, scores)
}

// readHosts reads host,series,weight lines. Errors name the line.
func readHosts(path string, traces []trace.Trace) ([]predictor.HostGroup, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the hosts: %w", err)
	}
	defer f.Close()
	series := map[string]int{}
	for i, t := range traces {
		series[t.Name] = i
	}
	place := map[string]int{}
	var hosts []predictor.HostGroup
	r := csv.NewReader(f)
	r.FieldsPerRecord = 3
	for header := true; ; header = false {
		fields, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if header {
			continue
		}
		line, _ := r.FieldPos(0)
		m, ok := series[fields[1]]
		if !ok {
			return nil, fmt.Errorf("%s: line %d: no series is called %q", path, line, fields[1])
		}
		weight, err := strconv.ParseFloat(fields[2], 64)
		if err != nil || !(weight > 0) || math.IsInf(weight, 0) {
			return nil, fmt.Errorf("%s: line %d: the weight %q is no positive number", path, line, fields[2])
		}
		h, ok := place[fields[0]]
		if !ok {
			h = len(hosts)
			place[fields[0]] = h
			hosts = append(hosts, predictor.HostGroup{Name: fields[0]})
		}
		hosts[h].Members, hosts[h].Weights = append(hosts[h].Members, m), append(hosts[h].Weights, weight)
	}
	if len(hosts) == 0 {
		return nil, fmt.Errorf("%s: line 1: no host: want a header, then host,series,weight", path)
	}
	return hosts, nil
}

// contentionScore is one line of --json; brier and skill are left out where a
// method gives no probability.
type contentionScore struct {
	LeadMinutes      int                `json:"lead_min"`
	Method           string             `json:"method"`
	Moments          int                `json:"moments"`
	Contended        int                `json:"contended"`
	OnsetMoments     int                `json:"onset_moments"`
	Onsets           int                `json:"onsets"`
	AveragePrecision float64            `json:"ap"`
	OnsetPrecision   float64            `json:"ap_onset"`
	AUC              float64            `json:"auc_onset"`
	Recall           map[string]float64 `json:"recall_at_precision"`
	Brier            *float64           `json:"brier,omitempty"`
	Skill            *float64           `json:"brier_skill,omitempty"`
}

func contentionAnswer(scores []predictor.OnsetScore) []contentionScore {
	out := make([]contentionScore, len(scores))
	for i, s := range scores {
		out[i] = contentionScore{
			LeadMinutes: s.Lead * int(fleet.Tick/time.Minute), Method: s.Method, Moments: s.Moments, Contended: s.Contended,
			OnsetMoments: s.OnsetMoments, Onsets: s.Onset, AveragePrecision: s.AveragePrecision,
			OnsetPrecision: s.OnsetPrecision, AUC: s.AUC, Recall: map[string]float64{},
		}
		for k, p := range predictor.RecallPrecisions {
			out[i].Recall[strconv.FormatFloat(p, 'g', -1, 64)] = s.RecallAt[k]
		}
		if !math.IsNaN(s.Brier) {
			out[i].Brier, out[i].Skill = &scores[i].Brier, &scores[i].Skill
		}
	}
	return out
}

func printContention(out io.Writer, scores []predictor.OnsetScore) error {
	head := "LEAD\tMETHOD\tAP\tONSET AP\tONSET AUC"
	for _, p := range predictor.RecallPrecisions {
		head += fmt.Sprintf("\tRECALL AT %g", p)
	}
	return table(out, head+"\tBRIER SKILL", func(w io.Writer) {
		for _, s := range scores {
			fmt.Fprintf(w, "%dm\t%s\t%.3f\t%.3f\t%.3f", s.Lead*int(fleet.Tick/time.Minute), s.Method, s.AveragePrecision, s.OnsetPrecision, s.AUC)
			for _, r := range s.RecallAt {
				fmt.Fprintf(w, "\t%.3f", r)
			}
			if math.IsNaN(s.Skill) {
				fmt.Fprintln(w, "\t-")
			} else {
				fmt.Fprintf(w, "\t%.3f\n", s.Skill)
			}
		}
	})
}
