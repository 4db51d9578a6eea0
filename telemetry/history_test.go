package telemetry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/placed-dev/placed/fleet"
	bolt "go.etcd.io/bbolt"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) {
	if path := os.Getenv("PLACED_TEST_HISTORY_CHILD"); path != "" {
		os.Exit(historyChild(path))
	}
	goleak.VerifyTestMain(m)
}

var day0 = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

func sampleAt(minute int, cpu int64) fleet.Sample {
	return fleet.Sample{At: day0.Add(time.Duration(minute) * time.Minute), Usage: fleet.Vector{CPU: cpu, Memory: 1 << 30, Net: fleet.Unknown}, Wait: cpu / 10}
}

func open(t testing.TB, c Config) *History {
	t.Helper()
	h, err := OpenHistory(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func read(t testing.TB, h *History, series string) []fleet.Sample {
	t.Helper()
	samples, err := h.Read(series, time.Time{}, day0.AddDate(100, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	return samples
}

// TestHistoryModel drives the store with appends in any order, flushes and
// restarts, and compares what it holds with a plain map.
func TestHistoryModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		config := Config{Path: filepath.Join(dir, "history.db"), FlushSamples: 7, RetentionDays: 1000}
		h, err := OpenHistory(config)
		if err != nil {
			rt.Fatal(err)
		}
		defer func() { h.Close() }()
		model := map[string]map[int64]fleet.Sample{}
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			switch rapid.IntRange(0, 5).Draw(rt, "what") {
			case 0:
				if err := h.Flush(); err != nil {
					rt.Fatal(err)
				}
			case 1:
				if err := h.Close(); err != nil {
					rt.Fatal(err)
				}
				if h, err = OpenHistory(config); err != nil {
					rt.Fatal(err)
				}
			case 2:
				series := rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "deleted")
				if err := h.Delete(series); err != nil {
					rt.Fatal(err)
				}
				delete(model, series)
			default:
				var batch []Record
				for range rapid.IntRange(1, 5).Draw(rt, "n") {
					s := fleet.Sample{
						At: day0.Add(time.Duration(rapid.IntRange(-5000, 5000).Draw(rt, "minute")) * time.Minute),
						Usage: fleet.Vector{
							CPU:    rapid.Int64().Draw(rt, "cpu"),
							Memory: rapid.Int64Range(0, 1<<40).Draw(rt, "memory"),
							Net:    rapid.SampledFrom([]int64{0, 1, fleet.Unknown, math.MaxInt64}).Draw(rt, "net"),
						}.With("gpu", rapid.Int64Range(0, 2).Draw(rt, "gpu")),
						Wait: rapid.Int64Range(0, 9).Draw(rt, "wait"),
					}
					series := rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "series")
					batch = append(batch, Record{series, s})
					if model[series] == nil {
						model[series] = map[int64]fleet.Sample{}
					}
					model[series][s.At.UnixMilli()] = s
				}
				if err := h.AppendBatch(batch); err != nil {
					rt.Fatal(err)
				}
			}
		}
		for _, series := range []string{"a", "b"} {
			got, err := h.Read(series, day0.AddDate(0, 0, -30), day0.AddDate(0, 0, 30))
			if err != nil || len(got) != len(model[series]) {
				rt.Fatalf("%s: %d samples, want %d; %v", series, len(got), len(model[series]), err)
			}
			for i, s := range got {
				want := model[series][s.At.UnixMilli()]
				if !s.At.Equal(want.At) || !s.Usage.Equal(want.Usage) || s.Wait != want.Wait {
					rt.Fatalf("%s: got %+v, want %+v", series, s, want)
				}
				if i > 0 && !got[i-1].At.Before(s.At) {
					rt.Fatalf("%s is out of order at %d", series, i)
				}
			}
		}
	})
}

func TestHistoryReadsARange(t *testing.T) {
	h := open(t, Config{Path: filepath.Join(t.TempDir(), "h.db")})
	for m := range 3 * 1440 {
		if err := h.Append("vm", sampleAt(m, int64(m))); err != nil {
			t.Fatal(err)
		}
		if m == 2000 {
			if err := h.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct{ from, to int }{{0, 1}, {1439, 1441}, {1990, 2010}, {0, 4320}, {100, 100}, {5000, 6000}} {
		got, err := h.Read("vm", sampleAt(c.from, 0).At, sampleAt(c.to, 0).At)
		want := max(min(c.to, 4320)-min(c.from, 4320), 0)
		if err != nil || len(got) != want || want > 0 && got[0].Usage.CPU != int64(c.from) {
			t.Errorf("%v: %d samples, want %d; %v", c, len(got), want, err)
		}
	}
	names, err := h.Series()
	if err != nil || !slices.Equal(names, []string{"vm"}) {
		t.Errorf("series %v, %v", names, err)
	}
	if got := read(t, h, "other"); len(got) != 0 {
		t.Errorf("an unknown series has %d samples", len(got))
	}
}

// TestHistoryRetention keeps days with samples, so that one wrong date costs one.
func TestHistoryRetention(t *testing.T) {
	h := open(t, Config{Path: filepath.Join(t.TempDir(), "h.db"), RetentionDays: 30, FlushSamples: 1})
	for d := range 40 {
		if err := h.Append("vm", sampleAt(d*1440, int64(d+1))); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(t, h, "vm"); len(got) != 30 || got[0].Usage.CPU != 11 {
		t.Fatalf("%d days from %v", len(got), got[0])
	}
	if err := h.Append("vm", sampleAt(20*365*1440, 1)); err != nil {
		t.Fatal(err)
	}
	if got := read(t, h, "vm"); len(got) != 30 || got[0].Usage.CPU != 12 {
		t.Errorf("after a jump of the clock: %d days from %v", len(got), got[0])
	}
}

// TestHistorySurvivesKill: a process that is killed loses what it had not
// flushed and nothing else.
func TestHistorySurvivesKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "h.db")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "PLACED_TEST_HISTORY_CHILD="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 8)
	if _, err := out.Read(line); err != nil || !bytes.HasPrefix(line, []byte("flushed")) {
		t.Errorf("the child said %q, %v", line, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the child ended by itself")
	}
	h := open(t, Config{Path: path})
	if got := read(t, h, "vm"); len(got) != 100 {
		t.Errorf("%d samples after the kill, want the 100 that were flushed", len(got))
	}
}

func historyChild(path string) int {
	h, err := OpenHistory(Config{Path: path})
	for m := 0; err == nil && m < 150; m++ {
		if err = h.Append("vm", sampleAt(m, 5)); err == nil && m == 99 {
			err = h.Flush()
		}
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("flushed")
	select {}
}

// TestOpenRefuses: an unusable file is named, with a remedy, and not touched.
func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good.db")
	h, err := OpenHistory(Config{Path: good})
	if err != nil {
		t.Fatal(err)
	}
	for m := range 20_000 {
		s := sampleAt(m, int64(m*m%9973)) // does not compress to nothing
		if err := h.Append(fmt.Sprintf("vm-%d", m%40), s); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	scrambled := slices.Clone(whole)
	for i := 2 * os.Getpagesize(); i < len(scrambled); i++ {
		scrambled[i] ^= 0x5a
	}
	for _, c := range []struct {
		name, want string
		content    []byte
	}{
		{"empty", "the file is empty", nil},
		{"text", "the file is damaged", bytes.Repeat([]byte("not a database\n"), 5000)},
		{"cut to one page", "the file is damaged", whole[:os.Getpagesize()]},
		{"cut in half", "the file is damaged", whole[:len(whole)/2]},
		{"scrambled", "the file is damaged", scrambled},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(dir, c.name)
			if err := os.WriteFile(path, c.content, 0o600); err != nil {
				t.Fatal(err)
			}
			h, err := OpenHistory(Config{Path: path})
			if err == nil {
				h.Close()
				t.Fatal("it was opened")
			}
			for _, want := range []string{path, c.want, "move the file aside"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q lacks %q", err, want)
				}
			}
			if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, c.content) {
				t.Errorf("the file was changed (%v)", err)
			}
		})
	}
}

func TestOpenRefusesALockedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "h.db")
	open(t, Config{Path: path})
	if _, err := OpenHistory(Config{Path: path}); err == nil || !strings.Contains(err.Error(), "another process holds it") {
		t.Errorf("got %v", err)
	}
	if _, err := OpenHistory(Config{Path: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("got %v", err)
	}
	if _, err := OpenHistory(Config{Path: filepath.Join(t.TempDir(), "no", "h.db")}); err == nil || !strings.Contains(err.Error(), "make its directory") {
		t.Errorf("got %v", err)
	}
}

// TestDamagedBlock: one bad block costs one day of one series; it is reported by
// Read, and put aside (not overwritten) when the day goes on.
func TestDamagedBlock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "h.db")
	var log bytes.Buffer
	h := open(t, Config{Path: path, Logger: hclog.New(&hclog.LoggerOptions{Output: &log})})
	for m := range 2 * 1440 {
		if err := h.Append("vm", sampleAt(m, int64(m))); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Flush(); err != nil {
		t.Fatal(err)
	}
	second := dayKey(dayNumber(day0) + 1)
	err := h.db.Update(func(tx *bolt.Tx) error {
		b := seriesIn(tx, "vm")
		block := slices.Clone(b.Get(second))
		block[len(block)/2] ^= 0xff
		return b.Put(second, block)
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := h.Read("vm", time.Time{}, day0.AddDate(1, 0, 0))
	if !errors.Is(err, errBlock) || !strings.Contains(err.Error(), "series vm, day 2026-11-02") || len(got) != 1440 {
		t.Errorf("%d samples, error %v", len(got), err)
	}
	if err := h.Append("vm", sampleAt(2*1440-1, 7)); err != nil {
		t.Fatal(err)
	}
	if err := h.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := read(t, h, "vm"); len(got) != 1441 || got[1440].Usage.CPU != 7 {
		t.Errorf("%d samples after the day went on", len(got))
	}
	err = h.db.View(func(tx *bolt.Tx) error {
		if tx.Bucket(damagedBucket).Bucket([]byte("vm")).Get(second) == nil {
			t.Error("the damaged block was thrown away")
		}
		return nil
	})
	if err != nil || !strings.Contains(log.String(), "put aside") {
		t.Errorf("%v, log %q", err, log.String())
	}
}

// TestRunFlushes: Run writes at the interval and at its end, and leaves no
// goroutine behind (TestMain).
func TestRunFlushes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "h.db")
	h := open(t, Config{Path: path, FlushInterval: 10 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	if err := h.Append("vm", sampleAt(0, 1)); err != nil {
		t.Fatal(err)
	}
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	for written := false; !written; {
		if err := h.db.View(func(tx *bolt.Tx) error { written = seriesIn(tx, "vm") != nil; return nil }); err != nil {
			t.Fatal(err)
		}
		select {
		case <-deadline.C:
			t.Fatal("nothing was flushed")
		default:
		}
	}
	if err := h.Append("vm", sampleAt(1, 2)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.count != 0 {
		t.Errorf("%d samples still wait after Run", h.count)
	}
}

// TestHistoryBounded: a disk that refuses writes does not fill the memory.
func TestHistoryBounded(t *testing.T) {
	h := open(t, Config{Path: filepath.Join(t.TempDir(), "h.db"), FlushSamples: 10})
	inner := h.db
	other, err := bolt.Open(filepath.Join(t.TempDir(), "x.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	h.db = other // closed: every transaction fails
	failed := 0
	for m := 0; ; m++ {
		err := h.Append("vm", sampleAt(m, 1))
		if errors.Is(err, ErrFull) {
			break
		}
		if err != nil {
			failed++
		}
		if m > 1000 {
			t.Fatal("samples pile up without end")
		}
	}
	if failed == 0 {
		t.Error("no flush failed")
	}
	h.db = inner
	if err := h.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := read(t, h, "vm"); len(got) != waitingFactor*10 {
		t.Errorf("%d samples after the disk was well again, want all %d that had waited", len(got), waitingFactor*10)
	}
}

func TestClosedHistory(t *testing.T) {
	h := open(t, Config{Path: filepath.Join(t.TempDir(), "h.db")})
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	_, readErr := h.Read("vm", day0, day0)
	_, listErr := h.Series()
	for _, err := range []error{h.Append("vm", sampleAt(0, 0)), h.Flush(), h.Delete("vm"), readErr, listErr} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
	}
}

// FuzzUnpack: no bytes make the decoder panic; what it accepts packs again to
// the same samples.
func FuzzUnpack(f *testing.F) {
	c, err := newBlockCodec()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(c.pack(nil))
	f.Add(c.pack([]fleet.Sample{sampleAt(0, 1), sampleAt(1, 900), sampleAt(3, fleet.Unknown)}))
	f.Add([]byte{blockVersion, 0x28, 0xb5, 0x2f, 0xfd})
	f.Add([]byte{9})
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, raw := range [][]byte{data, c.encoder.EncodeAll(data, []byte{blockVersion})} {
			samples, err := c.unpack(raw)
			if err != nil {
				continue
			}
			again, err := c.unpack(c.pack(samples))
			if err != nil || len(again) != len(samples) {
				t.Fatalf("%d samples became %d: %v", len(samples), len(again), err)
			}
			for i := range again {
				if !again[i].At.Equal(samples[i].At) || !again[i].Usage.Equal(samples[i].Usage) || again[i].Wait != samples[i].Wait {
					t.Fatalf("sample %d: %+v became %+v", i, samples[i], again[i])
				}
			}
		}
	})
}

// BenchmarkHistory measures 30 days of one-minute samples: bytes on disk and
// the time to read them.
func BenchmarkHistory(b *testing.B) {
	path := filepath.Join(b.TempDir(), "h.db")
	h := open(b, Config{Path: path})
	noise := uint64(1)
	const n = 30 * 1440
	for s := range 20 {
		for m := range n {
			noise = noise*6364136223846793005 + 1442695040888963407
			level := 400 + 300*math.Sin(float64(m)/229) + float64(noise>>40)/float64(1<<24)*24
			if err := h.Append(fmt.Sprintf("vm-%d", s), fleet.Sample{At: day0.Add(time.Duration(m) * time.Minute), Usage: fleet.Vector{CPU: int64(level/10) * 10, Memory: 1 << 30}}); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := h.Flush(); err != nil {
		b.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if got := read(b, h, "vm-7"); len(got) != n {
			b.Fatalf("%d samples", len(got))
		}
	}
	b.ReportMetric(float64(info.Size())/n/20, "B/sample")
}
