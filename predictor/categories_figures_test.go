package predictor

import (
	"compress/gzip"
	"encoding/csv"
	"flag"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/placed-dev/placed/trace"
)

var categoryFigures = flag.Bool("categories", false, "print the figures of every number of categories")

// periodDays is the whole protocol of bench/peers/cluster_peers.py: two halves
// of thirteen days.
const (
	groupedTicks = 7776
	halfTicks    = groupedTicks / 2 / ticksPerDay * ticksPerDay
)

// realLoads returns the cpu histories of 451 real VMs in percent, filled as the
// protocol fills them, and how many of them come first from Azure's random and
// periodic samples.
func realLoads(t testing.TB) (loads [][]float32, random, periodic int) {
	t.Helper()
	root := os.Getenv("PLACED_DATA")
	if root == "" {
		root = filepath.Join("..", "..", "shared", "data")
	}
	for i, name := range []string{"random100_avg.csv.gz", "periodic78_avg.csv.gz"} {
		z := unzip(t, filepath.Join(root, "azure-v1", name))
		traces, err := trace.ReadColumns(z, trace.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, tr := range traces {
			loads = append(loads, float32s(tr.Values[:groupedTicks]))
		}
		if i == 0 {
			random = len(traces)
		} else {
			periodic = len(traces)
		}
	}
	records, err := csv.NewReader(unzip(t, filepath.Join(root, "bitbrains", "cpu_pct_x10.csv.gz"))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		values := make([]float64, 0, len(r)-1)
		missing, sum := 0.0, 0.0
		for _, field := range r[1:] {
			v, err := strconv.ParseFloat(field, 64)
			if err != nil {
				v, missing = math.NaN(), missing+1
			} else {
				sum += v / 10
			}
			values = append(values, v/10)
		}
		if n := float64(len(values)); missing < 0.1*n && sum/(n-missing) > 1 {
			loads = append(loads, float32s(values[:groupedTicks]))
		}
	}
	return loads, random, periodic
}

func unzip(t testing.TB, path string) *gzip.Reader {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Skipf("no data: %v", err)
	}
	t.Cleanup(func() { f.Close() })
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func float32s(values []float64) []float32 {
	out := make([]float32, len(values))
	for i, v := range values {
		out[i] = float32(v)
	}
	return out
}

func onThreads(n int, do func(i int)) {
	var wait sync.WaitGroup
	for g := range runtime.GOMAXPROCS(0) {
		wait.Go(func() {
			for i := g; i < n; i += runtime.GOMAXPROCS(0) {
				do(i)
			}
		})
	}
	wait.Wait()
}

// TestCategoryFigures divides 451 real VMs by their first half and holds the
// division to the figures of docs/boosting.md: stable under resampling and from
// one half to the other.
func TestCategoryFigures(t *testing.T) {
	if raceDetector || testing.Short() {
		t.Skip("figures are computed without the race detector and not in short runs")
	}
	loads, random, periodic := realLoads(t)
	first, second := make([]Traits, len(loads)), make([]Traits, len(loads))
	onThreads(len(loads), func(i int) {
		first[i], _ = TraitsOf(loads[i][:halfTicks], 100)
		second[i], _ = TraitsOf(loads[i][halfTicks:2*halfTicks], 100)
	})
	if *categoryFigures {
		logDivisions(t, first, second)
	}
	g, err := NewGrouping(first, nil, GroupConfig{Par: onThreads})
	if err != nil {
		t.Fatal(err)
	}
	half := adjustedRand(g.labels(first), g.labels(second))
	t.Logf("chosen: %d categories of %d VMs: silhouette %.3f, bootstrap ARI %.3f, half to half ARI %.3f",
		len(g.Groups), len(loads), g.Silhouette, g.Stability, half)
	for _, group := range g.Groups {
		t.Logf("  %-10s %3d VMs: %s", group.Category, group.Members, group.Why)
	}
	if g.Silhouette < 0.33 || g.Stability < 0.9 || half < 0.6 {
		t.Errorf("silhouette %.3f (want .33), bootstrap ARI %.3f (.9), half to half %.3f (.6)", g.Silhouette, g.Stability, half)
	}
	yes := [2]int{}
	for i := range random + periodic {
		if Diurnal(loads[i][:halfTicks]) {
			yes[int(boolean(i >= random))]++
		}
	}
	t.Logf("diurnal: %d of %d in the random sample, %d of %d in the periodic one", yes[0], random, yes[1], periodic)
}

func (g *Grouping) labels(traits []Traits) []int {
	out := make([]int, len(traits))
	for i, t := range traits {
		out[i] = slices.IndexFunc(g.Groups, func(group Group) bool { return group.Category == g.Assign(t).Category })
	}
	return out
}

func logDivisions(t *testing.T, first, second []Traits) {
	g := &Grouping{}
	g.Centre, g.Scale = robustScale(first)
	a, b := make([]Traits, len(first)), make([]Traits, len(first))
	for i := range first {
		a[i], b[i] = g.scaled(first[i]), g.scaled(second[i])
	}
	t.Log("k  silhouette  bootstrap-ARI  half-to-half-ARI  smallest")
	for k := minCategories; k <= maxCategories; k++ {
		d := divideInto(a, k, nil, 0)
		later := make([]int, len(b))
		for i := range b {
			later[i], _, _ = nearestTwo(b[i], d.centres)
		}
		smallest := len(a)
		for c := range k {
			n := 0
			for _, l := range d.labels {
				n += int(boolean(l == c))
			}
			smallest = min(smallest, n)
		}
		t.Logf("%d  %10.3f  %13.3f  %16.3f  %8d", k, d.silhouette, d.stability, adjustedRand(d.labels, later), smallest)
	}
}
