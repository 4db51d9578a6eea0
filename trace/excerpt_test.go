package trace

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write traces/azure-v1-excerpt.csv.gz anew from the whole data set")

const (
	excerptPath = "../traces/azure-v1-excerpt.csv.gz"
	excerptRows = 8004     // what all series have
	historyRows = 21 * 288 // the choice looks at nothing behind them
	perSet      = 18
)

// TestExcerpt makes the shipped excerpt anew from the whole data set and compares
// it with the shipped file, so that nobody can have picked series by hand.
func TestExcerpt(t *testing.T) {
	root := os.Getenv("PLACED_DATA")
	if root == "" {
		root = filepath.Join("..", "..", "shared", "data")
	}
	var chosen []Trace
	for _, set := range []string{"random100", "periodic78"} {
		path := filepath.Join(root, "azure-v1", set+"_avg.csv.gz")
		if _, err := os.Stat(path); err != nil {
			t.Skipf("the whole data set is absent (%v): set PLACED_DATA to the folder that holds azure-v1", err)
		}
		chosen = append(chosen, choose(t, readGzip(t, path), strings.TrimRight(set, "0123456789"))...)
	}
	var want bytes.Buffer
	if err := WriteColumns(&want, chosen, 1); err != nil {
		t.Fatal(err)
	}
	if *update {
		writeGzip(t, excerptPath, want.Bytes())
	}
	if got := unpack(t, excerptPath); !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%s is not what the rule in traces/README.md makes: run with -update", excerptPath)
	}
}

// choose takes, of the series whose history has a mean between 3 % and 60 %,
// perSet that are evenly spaced in the order of their means.
func choose(t *testing.T, traces []Trace, set string) []Trace {
	t.Helper()
	history := func(tr Trace) float64 { return Trace{Values: tr.Values[:historyRows]}.Mean() }
	fit := slices.DeleteFunc(traces, func(tr Trace) bool {
		mean := history(tr)
		return !(mean >= 3 && mean <= 60)
	})
	slices.SortStableFunc(fit, func(a, b Trace) int { return cmp.Compare(history(a), history(b)) })
	if len(fit) < perSet {
		t.Fatalf("%s: only %d series have a mean between 3 and 60", set, len(fit))
	}
	var out []Trace
	for i := range perSet {
		tr := fit[(i*(len(fit)-1)+(perSet-1)/2)/(perSet-1)]
		id, hours, periodic := strings.Cut(tr.Name, " ")
		name := set + "-" + id
		if periodic {
			name += "-" + hours + "h"
		}
		out = append(out, Trace{Name: name, Values: tr.Values[:excerptRows]})
	}
	return out
}

// TestExcerptIsUsable reads what is shipped, as every user of it does.
func TestExcerptIsUsable(t *testing.T) {
	info, err := os.Stat(excerptPath)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > 2<<20 {
		t.Errorf("the excerpt has %d bytes: at most 2 MiB are shipped", info.Size())
	}
	traces := readGzip(t, excerptPath)
	if len(traces) != 2*perSet {
		t.Fatalf("%d series, want %d", len(traces), 2*perSet)
	}
	for _, tr := range traces {
		if len(tr.Values) != excerptRows || tr.Known() < excerptRows*9/10 {
			t.Errorf("%s has %d rows, %d of them known", tr.Name, len(tr.Values), tr.Known())
		}
		for i, v := range tr.Values {
			if v < 0 || v > 100 {
				t.Errorf("%s row %d: %v is no share of a processor", tr.Name, i+1, v)
				break
			}
		}
	}
}

func readGzip(t *testing.T, path string) []Trace {
	t.Helper()
	traces, err := ReadColumns(bytes.NewReader(unpack(t, path)), Options{})
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return traces
}

func unpack(t *testing.T, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return data
}

func writeGzip(t *testing.T, path string, data []byte) {
	t.Helper()
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, packed.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}
