package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// writeFile puts text into a new file and returns its path.
func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// runForecast runs `placed forecast` with the arguments.
func runForecast(args ...string) (out, errs string, err error) {
	cmd := newForecast()
	var stdout, stderr bytes.Buffer
	cmd.SetOut(&stdout)
	cmd.SetErr(&stderr)
	cmd.SetArgs(args)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	err = cmd.Execute()
	return stdout.String(), stderr.String(), err
}

// dayWaves are rows of a few series that repeat every 24 values.
func dayWaves(series, length int) string {
	var b strings.Builder
	b.WriteString("id,V1,V2\n")
	for i := range series {
		fmt.Fprintf(&b, "\"s,%d\"", i)
		for t := range length {
			fmt.Fprintf(&b, ",%.2f", float64(10*(i+1))*(2+math.Sin(2*math.Pi*float64(t+i)/24)+float64((t*t*7+i)%101)/200))
		}
		b.WriteString(",,\n")
	}
	return b.String()
}

// TestForecastOfAFile: one line per series and step, quantiles in the order asked
// for, the same bytes on one thread and on two, from a packed file as from a
// plain one, and a picture.
func TestForecastOfAFile(t *testing.T) {
	text := dayWaves(8, 24*14) + "flat" + strings.Repeat(",3", 100) + "\nnothing,,\n"
	plain := writeFile(t, "rows.csv", text)
	out := filepath.Join(t.TempDir(), "out.csv")
	picture := filepath.Join(t.TempDir(), "s.svg")
	_, errs, err := runForecast("--csv", plain, "--horizon", "6", "--season", "24", "--quantiles", "0.05,0.5,0.95", "--threads", "1", "--out", out, "--plot", picture)
	if err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(written)), "\n")
	if len(lines) != 1+10*6 || lines[0] != "id,step,0.05,0.5,0.95" {
		t.Fatalf("%d lines, the first %q", len(lines), lines[0])
	}
	if !strings.HasPrefix(lines[1], `"s,0",1,`) || lines[49] != "flat,1,3,3,3" || lines[55] != "nothing,1,,," {
		t.Errorf("lines %q, %q, %q", lines[1], lines[49], lines[55])
	}
	for _, want := range []string{`series "flat": the history is constant`, `series "nothing": the history is empty`} {
		if !strings.Contains(errs, want) {
			t.Errorf("no word of %q in %q", want, errs)
		}
	}
	if svg, err := os.ReadFile(picture); err != nil || !bytes.Contains(svg, []byte("<svg")) {
		t.Errorf("no picture: %v", err)
	}

	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write([]byte(text))
	z.Close()
	again, _, err := runForecast("--csv", writeFile(t, "rows.csv.gz", packed.String()), "--horizon", "6", "--season", "24", "--quantiles", "0.05,0.5,0.95", "--threads", "2")
	if err != nil || again != string(written) {
		t.Errorf("two threads and a packed file give other bytes (%v)", err)
	}
}

// TestForecastRefuses: what is wrong is named with its file and line, or with
// its flag.
func TestForecastRefuses(t *testing.T) {
	damaged := writeFile(t, "damaged.csv", "id,a,b\nx,1,2\ny,3,oops\n")
	columns := writeFile(t, "columns.csv", "a,b\n1,5\n2,x\n")
	good := writeFile(t, "good.csv", dayWaves(2, 60))
	hosts := writeFile(t, "hosts.csv", "host,series,weight\nh1,nobody,2\n")
	for _, c := range []struct {
		want string
		args []string
	}{
		{"damaged.csv: trace: line 3, column 3", []string{"--csv", damaged}},
		{"columns.csv: trace: line 3, column 2", []string{"--csv", columns, "--layout", "columns"}},
		{"no such file", []string{"--csv", "absent.csv"}},
		{"--layout", []string{"--csv", good, "--layout", "diagonal"}},
		{"--season", []string{"--csv", good, "--season", "day"}},
		{"horizon of 0", []string{"--csv", good, "--horizon", "0"}},
		{"quantiles [0.9 0.1]", []string{"--csv", good, "--quantiles", "0.9,0.1"}},
		{"leave the host", []string{"h1", "--csv", good}},
		{"no series follows the header", []string{"--csv", writeFile(t, "e.csv", "id,a\n")}},
		{"ends in .svg or .png", []string{"--csv", good, "--plot", filepath.Join(t.TempDir(), "x.bmp")}},
		{"are too few", []string{"backtest", "--csv", good, "--layout", "rows"}},
		{"--step 7m", []string{"backtest", "--csv", good, "--step", "7m"}},
		{"--horizons", []string{"backtest", "--csv", good, "--horizons", "20m"}},
		{"named twice", []string{"backtest", "--csv", good, "--horizons", "1h,60m"}},
		{`hosts.csv: line 2: no series is called "nobody"`, []string{"contention", "--csv", good, "--layout", "rows", "--hosts", hosts}},
		{"--leads", []string{"contention", "--csv", good, "--hosts", hosts, "--leads", "7m"}},
	} {
		_, _, err := runForecast(c.args...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: want %q, got %v", c.args, c.want, err)
		}
	}
}

// TestColumnsWithAndWithoutTimes: a first column of times is told from a series.
func TestColumnsWithAndWithoutTimes(t *testing.T) {
	for text, want := range map[string]int{
		"row,a,b\n1,5,6\n2,7,8\n":                          2,
		",a,b\nx,5,6\ny,7,8\n":                             2,
		"when,a\n2024-01-01T00:00,5\n2024-01-01T00:05,6\n": 1,
		"stamp,a\n100,5\n400,6\n700,6\n":                   1,
		"a,b\n5,6\n5,8\n9,1\n":                             2,
		"a,b\n,6\nNaN,8\n9,1\n":                            2,
		"cpu\n3\n9\n4\n":                                   1,
	} {
		traces, err := readSeries(writeFile(t, "c.csv", text), "columns", nil)
		if err != nil || len(traces) != want {
			t.Errorf("%q: %d series, want %d (%v)", text, len(traces), want, err)
		}
	}
}

// TestTickMeans: a finer grid is averaged, missing values left out.
func TestTickMeans(t *testing.T) {
	nan := math.NaN()
	got := tickMeans([]float64{1, 3, nan, 5, nan, nan, 7}, 2)
	if len(got) != 3 || got[0] != 2 || got[1] != 5 || got[2] == got[2] {
		t.Errorf("%v", got)
	}
}
