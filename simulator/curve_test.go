package simulator

import (
	"bufio"
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/placed-dev/placed/simulator/reference"
)

// planetlabDay reads one day of recorded loads, which carry no licence and so lie
// beside the repository.
func planetlabDay(t *testing.T, name string) (out [][]float64) {
	t.Helper()
	root := os.Getenv("PLACED_DATA")
	if root == "" {
		root = filepath.Join("..", "..", "shared", "data")
	}
	f, err := os.Open(filepath.Join(root, "planetlab", name+".csv.gz"))
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("the PlanetLab traces are not here: put them into ../shared/data or set PLACED_DATA")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(z)
	for lines.Scan() {
		var values []float64
		for _, cell := range strings.Split(lines.Text(), ",")[1:] {
			v, err := strconv.ParseFloat(cell, 64)
			if err != nil {
				t.Fatal(err)
			}
			values = append(values, v)
		}
		out = append(out, values)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// The detector earns its place only below the trivial curve: at as many hosts as it
// keeps on, mean + z·sd (between z = 1.5 and 3) must leave more of them overloaded.
func TestBelowTheCurve(t *testing.T) {
	if testing.Short() {
		t.Skip("long: four days of the published world")
	}
	rules, err := reference.WorldNamed("b32")
	if err != nil {
		t.Fatal(err)
	}
	traces := planetlabDay(t, "20110303")
	played := func(d reference.Detector) reference.Result {
		t.Helper()
		r, err := reference.Run(reference.Config{Rules: rules, Traces: traces, Policy: &reference.Policy{Detector: d}})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	ours := played(reference.Online(NewDayDetector()))
	var before reference.Result
	for i, name := range []string{"mean-sd:1.5", "mean-sd:2", "mean-sd:3"} {
		d, err := reference.DetectorNamed(name)
		if err != nil {
			t.Fatal(err)
		}
		point := played(d)
		if i > 0 && ours.MeanActiveHosts >= before.MeanActiveHosts && ours.MeanActiveHosts <= point.MeanActiveHosts {
			share := (ours.MeanActiveHosts - before.MeanActiveHosts) / (point.MeanActiveHosts - before.MeanActiveHosts)
			curve := before.OverloadedPercent + share*(point.OverloadedPercent-before.OverloadedPercent)
			if ours.OverloadedPercent >= curve {
				t.Errorf("%.1f hosts, %.2f %% overloaded; the curve has %.2f %%", ours.MeanActiveHosts, ours.OverloadedPercent, curve)
			}
			return
		}
		before = point
	}
	t.Errorf("%.1f hosts lie outside the curve", ours.MeanActiveHosts)
}
