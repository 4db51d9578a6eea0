package daemon

import (
	"compress/gzip"
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/predictor"
	"github.com/placed-dev/placed/telemetry"
)

func openSeries(t *testing.T, dir string) (*seriesSet, *telemetry.History) {
	t.Helper()
	history, err := telemetry.OpenHistory(telemetry.Config{Path: filepath.Join(dir, "history.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { history.Close() })
	return newSeriesSet(history, hclog.NewNullLogger()), history
}

func tick(n int64, cpu int64) telemetry.TickValue {
	return telemetry.TickValue{Workload: "w", Tick: n, Mean: fleet.Vector{CPU: cpu}}
}

// TestHistoryFollowsTheWorkload: what one host has seen is known on the next one,
// with what that one has seen meanwhile, and after its restart.
func TestHistoryFollowsTheWorkload(t *testing.T) {
	source, _ := openSeries(t, t.TempDir())
	first := fleet.TickOf(time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC))
	for i := range int64(600) {
		if err := source.observe(tick(first+i, 100+i%50)); err != nil {
			t.Fatal(err)
		}
	}
	exported, err := source.export("w")
	if err != nil {
		t.Fatal(err)
	}

	dir := t.TempDir()
	destination, history := openSeries(t, dir)
	for i := int64(600); i < 603; i++ { // measured here before the history came
		if err := destination.observe(tick(first+i, 100+i%50)); err != nil {
			t.Fatal(err)
		}
	}
	if err := destination.adopt("w", exported); err != nil {
		t.Fatal(err)
	}
	for i := int64(600); i < 603; i++ {
		if err := source.observe(tick(first+i, 100+i%50)); err != nil {
			t.Fatal(err)
		}
	}
	want, _ := source.report("w", 1, sentSeries{})
	got, _ := destination.report("w", 1, sentSeries{})
	foreseen := func(s fleet.Series) predictor.Foresight {
		f, ok := predictor.Foresee(s, nil, "m")
		if !ok {
			t.Fatal("the report carries no outlook or no record of past forecasts")
		}
		return f
	}
	there, here := foreseen(want[0]), foreseen(got[0])
	if there.Gates != here.Gates || there.Plain != here.Plain {
		t.Errorf("the destination judges past forecasts otherwise: %+v, %+v", there.Gates, here.Gates)
	}
	for h := range there.Quantiles {
		for q, v := range there.Quantiles[h] {
			if math.Abs(v-here.Quantiles[h][q]) > 1e-3*v {
				t.Errorf("%s at %v: %v on the source, %v on the destination", predictor.Horizons[h], predictor.Levels[q], v, here.Quantiles[h][q])
			}
		}
	}
	// Shifts are sums that were added up in another order.
	got[0].Record, want[0].Record = nil, nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the destination forecasts from other features or residuals than the source would have")
	}
	if judged := there.Gates[0].Judged; judged < 100 {
		t.Errorf("in two days only %.0f forecasts were judged", judged)
	}

	if err := history.Close(); err != nil {
		t.Fatal(err)
	}
	restarted, _ := openSeries(t, dir)
	again, _ := restarted.report("w", 1, sentSeries{})
	if len(again) != 1 || again[0].Tick != want[0].Tick || len(want[0].Packed) == 0 || !reflect.DeepEqual(features(t, again[0]), features(t, want[0])) {
		t.Error("after a restart the history is another one")
	}
	restarted.keep(nil, time.Now())
	if !restarted.known("w") {
		t.Error("a workload that left is forgotten on disk, too: its next host could not ask")
	}
	if err := restarted.adopt("w", carried{Series: map[fleet.Resource][]byte{fleet.CPU: []byte("rubbish")}}); err == nil {
		t.Error("rubbish was adopted as a history")
	}
	if !restarted.known("w") {
		t.Error("rubbish replaced a history")
	}
}

// features of a series as a voter reads them.
func features(t *testing.T, s fleet.Series) []float32 {
	t.Helper()
	read, err := predictor.Unpacked(s)
	if err != nil {
		t.Fatal(err)
	}
	return read.Features
}

// TestRecordedHistory: every way a file can be wrong is said with its name.
func TestRecordedHistory(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := "row,a,b\n1,10,1\n2,,2\n3,30,3\n4,40,4\n"
	packed := filepath.Join(dir, "good.csv.gz")
	f, err := os.Create(packed)
	if err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(f)
	if _, err := z.Write([]byte(good)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(z.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	end := time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)
	for _, file := range []string{write("good.csv", good), packed} {
		samples, err := readHistory(History{File: file, Column: "a", To: 3, End: end, Scale: 2})
		if err != nil {
			t.Fatal(err)
		}
		if len(samples) != 2 || samples[0].Usage.CPU != 20 || !samples[1].At.Equal(end.Add(-fleet.Tick)) {
			t.Errorf("%s: %+v, want two samples (one row is blank), the last ending at %s", file, samples, end)
		}
	}
	for _, c := range []struct {
		h    History
		says string
	}{
		{History{File: filepath.Join(dir, "none.csv"), Column: "a", To: 1}, "none.csv"},
		{History{File: write("rubbish.csv.gz", "not gzip"), Column: "a", To: 1}, "rubbish.csv.gz"},
		{History{File: write("damaged.csv", "row,a\n1,ten\n"), Column: "a", To: 1}, "line 2"},
		{History{File: write("other.csv", good), Column: "c", To: 1}, "no column c"},
		{History{File: write("short.csv", good), Column: "a", To: 9}, "rows 0 to 9 are not among the 4"},
	} {
		if _, err := readHistory(c.h); err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), filepath.Base(c.h.File)) {
			t.Errorf("%v, want the file and %q", err, c.says)
		}
	}
}

// silent is a driver that cannot be asked.
type silent struct {
	driver.Driver
	found []driver.Found
	err   error
}

func (s *silent) Inventory(context.Context) ([]driver.Found, error) { return s.found, s.err }

// TestSilenceIsNoEvidence: a driver that cannot be asked keeps its last answer.
func TestSilenceIsNoEvidence(t *testing.T) {
	d := &silent{found: []driver.Found{{Spec: driver.Spec{ID: "w", Driver: "region"}, State: driver.Running}}}
	i := &inventory{drivers: map[string]driver.Driver{"region": d}, log: hclog.NewNullLogger(), sick: map[string]bool{}}
	i.observe(t.Context())
	d.found, d.err = nil, errors.New("hung")
	if got := i.observe(t.Context()); len(got) != 1 {
		t.Errorf("a hung driver made its workloads vanish: %+v", got)
	}
	d.err = nil
	if got := i.observe(t.Context()); len(got) != 0 {
		t.Errorf("a driver that answers again is not believed: %+v", got)
	}
}
