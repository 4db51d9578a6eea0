package reference

import (
	"bufio"
	"compress/gzip"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// days of the PlanetLab traces; they carry no licence, so they are read from
// beside the repository.
func day(t testing.TB, name string) [][]float64 {
	t.Helper()
	root := os.Getenv("PLACED_DATA")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared", "data")
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
	var out [][]float64
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
	return out
}

func play(t testing.TB, world, detector string, traces [][]float64) Result {
	t.Helper()
	rules, err := WorldNamed(world)
	if err != nil {
		t.Fatal(err)
	}
	c := Config{Rules: rules, Traces: traces}
	switch detector {
	case "npa":
		c.AllOn = true
	case "dvfs":
	default:
		d, err := DetectorNamed(detector)
		if err != nil {
			t.Fatal(err)
		}
		c.Policy = &Policy{Detector: d}
	}
	r, err := Run(c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestAnchors: every printed digit of the published tables. A normal run plays
// three rows; PLACED_SOAK=1 plays all of them.
func TestAnchors(t *testing.T) {
	table, err := os.ReadFile(filepath.Join("testdata", "anchors.txt"))
	if err != nil {
		t.Fatal(err)
	}
	normal := []string{"a 20110303 npa", "a 20110303 dvfs", "a 20110303 lr:1.2", "b32 20110303 mean-sd:3"}
	days := map[string][][]float64{}
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if strings.HasPrefix(line, "#") || os.Getenv("PLACED_SOAK") == "" && !slices.Contains(normal, strings.Join(fields[:3], " ")) {
			continue
		}
		t.Run(strings.Join(fields[:3], " "), func(t *testing.T) {
			if days[fields[1]] == nil {
				days[fields[1]] = day(t, fields[1])
			}
			r := play(t, fields[0], fields[2], days[fields[1]])
			for _, cell := range fields[3:] {
				name, want, _ := strings.Cut(cell, "=")
				value := map[string]float64{
					"kwh": r.EnergyKWh, "migrations": float64(r.Migrations), "slatah": r.SLATAH, "pdm": r.PDM,
					"slatah%": 100 * r.SLATAH, "pdm%": 100 * r.PDM,
					"hosts": r.MeanActiveHosts, "overloaded": r.OverloadedPercent, "thousands": float64(r.Migrations) / 1000,
				}[name]
				_, decimals, _ := strings.Cut(want, ".")
				if got := strconv.FormatFloat(value, 'f', len(decimals), 64); got != want {
					t.Errorf("%s is %s (%v), published %s", name, got, value, want)
				}
			}
		})
	}
}

// TestPowerModel: linear between the measured points, exact at them, and the
// points are never left.
func TestPowerModel(t *testing.T) {
	for i := range classes {
		c := &classes[i]
		for k, watts := range c.watts {
			if got := c.power(float64(k) / 10); math.Abs(got-watts) > 1e-9 {
				t.Errorf("class %d at %d0 %%: %g W, want %g", i, k, got, watts)
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		c := &classes[rapid.IntRange(0, 1).Draw(t, "class")]
		u, v := rapid.Float64Range(0, 1).Draw(t, "u"), rapid.Float64Range(0, 1).Draw(t, "v")
		if u <= v && c.power(u) > c.power(v)+1e-9 {
			t.Fatalf("power falls from %g to %g", c.power(u), c.power(v))
		}
	})
}

// TestWorldsHold: on made days, b32 never gives a host more memory than it has
// and loses no machine, whatever the detector.
func TestWorldsHold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(t, "machines")
		traces := make([][]float64, n)
		for i := range traces {
			traces[i] = make([]float64, int(dayEnd/interval))
			level := rapid.IntRange(0, 100).Draw(t, "level")
			for k := range traces[i] {
				if k%37 == 0 {
					level = rapid.IntRange(0, 100).Draw(t, "level")
				}
				traces[i][k] = float64(level)
			}
		}
		detector := rapid.SampledFrom([]string{"lr:1.2", "thr:0.8", "iqr:1.5", "mad:2.5", "mean-sd:2", "persistence:1", "oracle:2"}).Draw(t, "detector")
		d, err := DetectorNamed(detector)
		if err != nil {
			t.Fatal(err)
		}
		rules, _ := WorldNamed("b32")
		w, err := newWorld(Config{Rules: rules, Traces: traces, Policy: &Policy{Detector: d}})
		if err != nil {
			t.Fatal(err)
		}
		for at := 0.1 + interval; at <= 0.1+40*interval; at += interval {
			w.step++
			if err := w.decide(at); err != nil {
				t.Fatal(err)
			}
			lives := 0
			for _, h := range w.hosts {
				ram := 0.0
				for _, v := range h.vms {
					ram += v.ram
				}
				if lives += len(h.vms); ram > rules.HostRAM || len(h.incoming) > 0 {
					t.Fatalf("host %d holds %g MB, %d still arriving", h.index, ram, len(h.incoming))
				}
			}
			if lives != n {
				t.Fatalf("%d of %d machines live", lives, n)
			}
		}
	})
}

func TestNamesAreRefused(t *testing.T) {
	for text, want := range map[string]string{"lr:x": "positive number", "thr:-1": "positive number", "magic": "want lr, thr", "oracle:1.5": "number of samples"} {
		if _, err := DetectorNamed(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := WorldNamed("c"); err == nil {
		t.Error("world c was found")
	}
	rules, _ := WorldNamed("a")
	for _, traces := range [][][]float64{{{1, 2}}, {append(make([]float64, 287), 101)}} {
		if _, err := Run(Config{Rules: rules, Traces: traces}); err == nil {
			t.Error("a damaged trace was played")
		}
	}
}
