package predictor

import (
	"compress/gzip"
	"os"
	"path/filepath"
	"testing"

	"github.com/placed-dev/placed/trace"
)

const (
	trainEnd   = 14 * ticksPerDay // the weights of Baseline were fitted before it
	teachStart = 6 * ticksPerDay  // figures start here: eight days fill a series
	historyEnd = 21 * ticksPerDay // what follows is the replay: never looked at
)

// readTraces returns the history part of a gzipped trace file.
func readTraces(t testing.TB, path string) []trace.Trace {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	traces, err := trace.ReadColumns(z, trace.Options{})
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	for i := range traces {
		traces[i].Values = traces[i].Values[:min(len(traces[i].Values), historyEnd)]
	}
	return traces
}

// azure returns the 178 series of the whole data set, nil where it is absent.
func azure(t testing.TB) []trace.Trace {
	t.Helper()
	root := os.Getenv("PLACED_DATA")
	if root == "" {
		root = filepath.Join("..", "..", "shared", "data")
	}
	var all []trace.Trace
	for _, name := range []string{"random100_avg.csv.gz", "periodic78_avg.csv.gz"} {
		path := filepath.Join(root, "azure-v1", name)
		if _, err := os.Stat(path); err != nil {
			return nil
		}
		all = append(all, readTraces(t, path)...)
	}
	return all
}

// excerpt returns the series shipped with the repository.
func excerpt(t testing.TB) []trace.Trace {
	t.Helper()
	return readTraces(t, filepath.Join("..", "traces", "azure-v1-excerpt.csv.gz"))
}
