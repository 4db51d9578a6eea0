package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/placed-dev/placed/durable"
	"github.com/placed-dev/placed/predictor"
	"github.com/placed-dev/placed/trace"
)

// offlineForecast are the flags of `placed forecast --csv`.
type offlineForecast struct {
	file, layout, season, quantiles, out, plot string
	horizon, threads                           int
	seed                                       uint64
}

func (o *offlineForecast) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.file, "csv", "", "forecast the series of this file (.gz too, - = standard input) instead of asking an agent")
	f.StringVar(&o.layout, "layout", "rows", "with --csv: rows (a header, then id,v1,v2,…) or columns (a header, one series per column)")
	f.IntVar(&o.horizon, "horizon", 48, "with --csv: steps to forecast")
	f.StringVar(&o.season, "season", "24", "with --csv: steps after which the series repeat, ascending, as 24 or 24,168")
	f.StringVar(&o.quantiles, "quantiles", "0.025,0.5,0.975", "with --csv: quantiles, ascending")
	f.StringVar(&o.out, "out", "", "with --csv: write id,step,QUANTILES to this file (default standard output)")
	f.StringVar(&o.plot, "plot", "", "with --csv: draw history and bands of the first series to this .svg or .png")
	f.Uint64Var(&o.seed, "seed", 1, "with --csv: the same seed gives the same bytes")
	f.IntVar(&o.threads, "threads", 0, "with --csv: threads, 0 = one per processor; the result is the same")
}

func (o *offlineForecast) run(in io.Reader, out, errs io.Writer) error {
	seasons, err := parseList("season", o.season, strconv.Atoi)
	if err != nil {
		return err
	}
	levels, err := parseList("quantiles", o.quantiles, parseFloat)
	if err != nil {
		return err
	}
	if err := checkPicture(o.plot); o.plot != "" && err != nil {
		return err // before the work, not after it
	}
	traces, err := readSeries(o.file, o.layout, in)
	if err != nil {
		return err
	}
	histories := make([][]float64, len(traces))
	for i, t := range traces {
		histories[i] = t.Values
	}
	forecasts, err := predictor.Sequences(histories, predictor.SequenceConfig{
		Horizon: o.horizon, Seasons: seasons, Levels: levels, Seed: o.seed,
	}, threadsFor(o.threads))
	if err != nil {
		return err
	}
	for i, f := range forecasts {
		if f.Plain != "" {
			fmt.Fprintf(errs, "placed: %s: series %q: %s: its forecast is a plain one\n", o.file, traces[i].Name, f.Plain)
		}
	}
	names := strings.Split(strings.ReplaceAll(o.quantiles, " ", ""), ",")
	if err := writeTo(o.out, out, func(w io.Writer) error { return writeForecasts(w, traces, names, forecasts, o.horizon) }); err != nil {
		return err
	}
	if o.plot != "" {
		return plotForecast(o.plot, traces[0], levels, forecasts[0])
	}
	return nil
}

// writeForecasts writes one line per series and step. A series without any value
// has blank quantiles.
func writeForecasts(w io.Writer, traces []trace.Trace, quantiles []string, forecasts []predictor.Sequence, horizon int) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "id,step,%s\n", strings.Join(quantiles, ","))
	for i, f := range forecasts {
		for k := range horizon {
			b.WriteString(csvField(traces[i].Name))
			b.WriteByte(',')
			b.WriteString(strconv.Itoa(k + 1))
			for q := range quantiles {
				b.WriteByte(',')
				if f.Steps != nil {
					b.WriteString(strconv.FormatFloat(f.Steps[k][q], 'g', 10, 64))
				}
			}
			b.WriteByte('\n')
		}
	}
	return b.Flush()
}

func csvField(s string) string {
	if strings.ContainsAny(s, ",\"\n\r") {
		return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
	}
	return s
}

// writeTo writes a whole file or nothing: what a forecast replaces stays until
// the new one is complete.
func writeTo(path string, out io.Writer, write func(io.Writer) error) error {
	if path == "" || path == "-" {
		return write(out)
	}
	err := durable.Replace(path, 0o644, func(f *os.File) error { return write(f) })
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
