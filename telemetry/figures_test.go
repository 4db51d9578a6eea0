package telemetry

import (
	"compress/gzip"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/trace"
)

// Figures are those of 500 series, one value a minute for 30 days.
const (
	figureSeries = 500
	figureDays   = 30
	dayMinutes   = 24 * 60
)

// TestFigures prints what the history costs: bytes on disk, time to read a month,
// and what the ingest of 500 series takes of a core. The loads have the shape of
// recorded machines, steps of a hundredth of a percent and 3 % of noise.
func TestFigures(t *testing.T) {
	if os.Getenv("PLACED_BENCH") == "" {
		t.Skip("set PLACED_BENCH=1, or run `make bench-history`")
	}
	shapes := recordedShapes(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "history.db")
	h, err := OpenHistory(Config{Path: path, FlushSamples: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	names := make([]string, figureSeries)
	for i := range names {
		names[i] = fmt.Sprintf("vm-%03d", i)
	}
	value := func(series, minute int) fleet.Sample {
		return fleet.Sample{At: start.Add(time.Duration(minute) * time.Minute), Usage: fleet.Vector{CPU: minuteValue(shapes, series, minute)}}
	}
	// All but the last day as an agent would have left them: written in steps of
	// the flush interval, of which only the end of each day remains.
	for day := range figureDays - 1 {
		for series, name := range names {
			records := make([]Record, 0, dayMinutes)
			for minute := day * dayMinutes; minute < (day+1)*dayMinutes; minute++ {
				records = append(records, Record{Series: name, Sample: value(series, minute)})
			}
			if err := h.AppendBatch(records); err != nil {
				t.Fatal(err)
			}
		}
		if err := h.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	// The last day at the pace of an agent, its cost counted.
	flushEvery := int(h.config.FlushInterval / time.Minute)
	used := time.Duration(0)
	batch := make([]Record, figureSeries)
	for minute := (figureDays - 1) * dayMinutes; minute < figureDays*dayMinutes; minute++ {
		for series, name := range names {
			batch[series] = Record{Series: name, Sample: value(series, minute)}
		}
		before := processorTime()
		if err := h.AppendBatch(batch); err != nil {
			t.Fatal(err)
		}
		if minute%flushEvery == flushEvery-1 {
			if err := h.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		used += processorTime() - before
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if h, err = OpenHistory(Config{Path: path}); err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	// Processor time: what else the machine does is no matter of the history.
	var reads []time.Duration
	for i := range figureSeries {
		before := processorTime()
		column, err := h.ReadColumn(names[i], fleet.CPU, start, start.AddDate(0, 0, figureDays))
		reads = append(reads, processorTime()-before)
		if err != nil || len(column.Amounts) != figureDays*dayMinutes {
			t.Fatalf("%d samples of %s, %v", len(column.Amounts), names[i], err)
		}
		if got := column.Amounts[17*dayMinutes+5]; got != value(i, 17*dayMinutes+5).Usage.CPU {
			t.Fatalf("%s: a value came back as %d", names[i], got)
		}
	}
	slices.Sort(reads)
	perSample := float64(info.Size()) / (figureSeries * figureDays * dayMinutes)
	share := 100 * used.Seconds() / (24 * time.Hour).Seconds()
	fmt.Printf("| what | reach | measured |\n|---|---|---|\n")
	fmt.Printf("| disk, bytes a sample | ≤ 3 | %.2f |\n", perSample)
	fmt.Printf("| read of 30 days, median / .99, processor time | ≤ 1 ms | %.2f / %.2f ms |\n", milliseconds(reads[len(reads)/2]), milliseconds(reads[len(reads)*99/100]))
	fmt.Printf("| ingest of %d series, share of a core | ≤ .1 %% | %.4f %% (%.0f ns a sample) |\n", figureSeries, share, float64(used.Nanoseconds())/(figureSeries*dayMinutes))
	fmt.Printf("| lost by kill -9 | ≤ 5 min | %s |\n", h.config.FlushInterval)
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func processorTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// minuteValue is a shape between its recorded values, with noise that depends on
// series and minute alone; hundredths of a percent.
func minuteValue(shapes [][]float64, series, minute int) int64 {
	shape := shapes[series%len(shapes)]
	at := float64(minute)/5 + float64(series/len(shapes))*37
	i := int(at)
	a, b := shape[i%len(shape)], shape[(i+1)%len(shape)]
	v := a + (b-a)*(at-float64(i))
	random := rand.New(rand.NewPCG(uint64(series), uint64(minute)))
	return int64(math.Round(max(100*v*(1+0.03*random.NormFloat64()), 0)))
}

// recordedShapes are the cpu shares of recorded machines, or those that ship with
// the repository where the data sets are absent.
func recordedShapes(t *testing.T) [][]float64 {
	t.Helper()
	root := os.Getenv("PLACED_DATA")
	if root == "" {
		root = filepath.Join("..", "..", "shared", "data")
	}
	paths := []string{filepath.Join(root, "azure-v1", "random100_avg.csv.gz"), filepath.Join(root, "azure-v1", "periodic78_avg.csv.gz")}
	if _, err := os.Stat(paths[0]); err != nil {
		paths = []string{filepath.Join("..", "traces", "azure-v1-excerpt.csv.gz")}
		t.Log("the data sets are absent: the excerpt in the repository serves")
	}
	var out [][]float64
	for _, path := range paths {
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		unpacked, err := gzip.NewReader(file)
		if err != nil {
			t.Fatal(err)
		}
		traces, err := trace.ReadColumns(unpacked, trace.Options{})
		if err != nil {
			t.Fatal(err)
		}
		file.Close()
		for _, tr := range traces {
			values := slices.DeleteFunc(tr.Values, math.IsNaN)
			if len(values) > 1000 {
				out = append(out, values)
			}
		}
	}
	return out
}
