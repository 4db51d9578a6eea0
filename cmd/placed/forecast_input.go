package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/placed-dev/placed/predictor"
	"github.com/placed-dev/placed/trace"
)

// readSeries reads a trace file of either layout, packed with gzip or not; - is
// standard input. Errors name the file, the line and the reason.
func readSeries(path, layout string, in io.Reader) ([]trace.Trace, error) {
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("read the series: %w", err)
		}
		defer f.Close()
		in = f
	}
	buffered := bufio.NewReader(in)
	if magic, err := buffered.Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		unpacked, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		defer unpacked.Close()
		buffered = bufio.NewReader(unpacked)
	}
	var traces []trace.Trace
	var err error
	switch layout {
	case "rows":
		traces, err = trace.ReadRows(buffered, trace.Options{Header: true})
	case "columns":
		traces, err = readColumns(buffered)
	default:
		return nil, fmt.Errorf("--layout %q: want rows (one series per line) or columns (one series per column)", layout)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(traces) == 0 {
		return nil, fmt.Errorf("%s: line 1: no series follows the header: is --layout %s right?", path, layout)
	}
	return traces, nil
}

// readColumns reads the layout with one series per column. A first column of
// times or row numbers is told from a series by its name, by cells that are no
// numbers, or by values that rise by the same step from line to line.
func readColumns(in io.Reader) ([]trace.Trace, error) {
	const largest = 1 << 30
	data, err := io.ReadAll(io.LimitReader(in, largest+1))
	if err != nil {
		return nil, err
	}
	if len(data) > largest {
		return nil, fmt.Errorf("more than %d bytes", largest)
	}
	if hasTimes(data) {
		return trace.ReadColumns(bytes.NewReader(data), trace.Options{})
	}
	// The reader skips the first column: give it one that may be skipped.
	var widened bytes.Buffer
	for line := range bytes.Lines(data) {
		if len(bytes.TrimSpace(line)) > 0 {
			if widened.Len() == 0 {
				line = bytes.TrimPrefix(line, []byte("\ufeff"))
			}
			widened.WriteByte(',')
		}
		widened.Write(line)
	}
	traces, err := trace.ReadColumns(&widened, trace.Options{})
	if wrong := (*trace.Error)(nil); errors.As(err, &wrong) && wrong.Column > 0 {
		wrong.Column--
	}
	return traces, err
}

func hasTimes(data []byte) bool {
	var values []float64
	first := true
	for line := range bytes.Lines(data) {
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		cell, _, _ := strings.Cut(string(line), ",")
		cell = strings.Trim(strings.TrimSpace(strings.TrimPrefix(cell, "\ufeff")), `"`)
		if first {
			first = false
			switch strings.ToLower(cell) {
			case "", "t", "time", "timestamp", "date", "datetime", "index", "row", "step", "tick":
				return true
			}
			continue
		}
		v, err := strconv.ParseFloat(cell, 64)
		if err != nil {
			// A blank or NaN is a missing value; a word or a date is a time.
			if cell == "" || strings.EqualFold(cell, "na") || strings.EqualFold(cell, "null") {
				v = math.NaN()
			} else {
				return strings.ContainsAny(cell, ":-/T")
			}
		}
		values = append(values, v)
	}
	if len(values) < 3 {
		return false
	}
	step := values[1] - values[0]
	for i := 1; i < len(values); i++ {
		if !(step > 0) || math.Abs(values[i]-values[i-1]-step) > 1e-9*math.Abs(step) {
			return false
		}
	}
	return true
}

// threadsFor returns a way to run work on that many threads; the results do not
// depend on it. 0 means one per processor.
func threadsFor(threads int) func(n int, do func(i int)) {
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	return func(n int, do func(i int)) {
		var next atomic.Int64
		var wait sync.WaitGroup
		for range min(threads, n) {
			wait.Go(func() {
				for {
					i := int(next.Add(1)) - 1
					if i >= n {
						return
					}
					do(i)
				}
			})
		}
		wait.Wait()
	}
}

// parseList reads numbers between commas.
func parseList[T int | float64](flag, list string, parse func(string) (T, error)) ([]T, error) {
	var out []T
	for cell := range strings.SplitSeq(list, ",") {
		v, err := parse(strings.TrimSpace(cell))
		if err != nil {
			return nil, fmt.Errorf("--%s %q: %q is no number: want numbers with commas between them", flag, list, cell)
		}
		out = append(out, v)
	}
	return out, nil
}

func parseFloat(s string) (float64, error) { return strconv.ParseFloat(s, 64) }

// parseSpan reads a duration that may count days (7d).
func parseSpan(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseFloat(days, 64)
		if err != nil || !(n > 0 && n < 1e5) {
			return 0, fmt.Errorf("%q is no number of days", s)
		}
		return time.Duration(n * 24 * float64(time.Hour)), nil
	}
	d, err := time.ParseDuration(s)
	if err == nil && d <= 0 {
		err = errors.New("it is not positive")
	}
	return d, err
}

// parseHorizons reads 15m, 24h, peak:1h and the like, on a grid of fleet.Tick.
func parseHorizons(list string, step time.Duration) ([]predictor.Horizon, error) {
	var out []predictor.Horizon
	for name := range strings.SplitSeq(list, ",") {
		span, peak := strings.CutPrefix(strings.TrimSpace(name), "peak:")
		d, err := parseSpan(span)
		h := predictor.Horizon{Ticks: int(d / step), Peak: peak}
		if err != nil || d%step != 0 || h.Index() < 0 {
			known := make([]string, len(predictor.Horizons))
			for i, k := range predictor.Horizons {
				known[i] = k.String()
			}
			return nil, fmt.Errorf("--horizons: %q is no horizon: want some of %s", name, strings.Join(known, ","))
		}
		if slices.Contains(out, h) {
			return nil, fmt.Errorf("--horizons: %s is named twice", h)
		}
		out = append(out, h)
	}
	return out, nil
}
