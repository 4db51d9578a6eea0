package devfleet

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/config"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/trace"
)

var now = time.Date(2026, 11, 1, 15, 4, 5, 0, time.UTC)

func shape() Shape { return Shape{Hosts: 3, Workloads: 12, TimeScale: 300, Seed: 7, Cores: 1} }

func shipped(t *testing.T) []trace.Trace {
	t.Helper()
	traces, err := readTraces()
	if err != nil {
		t.Fatal(err)
	}
	return traces
}

// The same seed gives the same fleet, another seed another one.
func TestDesignIsReproducible(t *testing.T) {
	traces := shipped(t)
	a, err := Design(shape(), traces, now)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := Design(shape(), traces, now)
	if !reflect.DeepEqual(a, b) {
		t.Error("one seed gave two fleets")
	}
	other := shape()
	other.Seed = 8
	if c, _ := Design(other, traces, now); reflect.DeepEqual(a.Workloads, c.Workloads) {
		t.Error("two seeds gave one fleet")
	}
}

// Capacities follow from the history alone: what comes after it may be anything.
func TestDesignDoesNotSeeTheReplay(t *testing.T) {
	traces := shipped(t)
	want, err := Design(shape(), traces, now)
	if err != nil {
		t.Fatal(err)
	}
	for i := range traces {
		changed := append([]float64(nil), traces[i].Values...)
		for row := historyRows; row < len(changed); row++ {
			changed[row] = 100
		}
		traces[i].Values = changed
	}
	if got, _ := Design(shape(), traces, now); !reflect.DeepEqual(got, want) {
		t.Error("the design looks at rows that are to be replayed")
	}
}

func TestDesignKeepsItsPromises(t *testing.T) {
	traces := shipped(t)
	for seed := range uint64(20) {
		s := shape()
		s.Seed = seed
		b, err := Design(s, traces, now)
		if err != nil {
			t.Fatal(err)
		}
		total := int64(0)
		held := map[int]fleet.Vector{}
		for _, h := range b.Hosts {
			total += h.CPU
		}
		if total > 1000 || total < 990 {
			t.Errorf("seed %d: capacities sum to %d millicores, want 1 core", seed, total)
		}
		for _, w := range b.Workloads {
			if w.Size < 16<<20 || w.Size > 64<<20 {
				t.Errorf("seed %d: %s has %d bytes", seed, w.ID, w.Size)
			}
			held[w.Host] = held[w.Host].Add(fleet.Vector{CPU: w.CPU, Memory: w.Size})
		}
		for i, h := range b.Hosts {
			if held[i].CPU > h.CPU || held[i].Memory > h.Memory {
				t.Errorf("seed %d: %s begins overbooked: %s of %d, %d", seed, h.Name, held[i], h.CPU, h.Memory)
			}
		}
	}
}

func TestDesignRefuses(t *testing.T) {
	traces := shipped(t)
	for _, c := range []struct {
		change func(*Shape)
		says   string
	}{
		{func(s *Shape) { s.Hosts = 0 }, "--hosts 0"},
		{func(s *Shape) { s.Hosts = 65 }, "1 to 64"},
		{func(s *Shape) { s.Workloads = 2 }, "at least one for each of the 3 hosts"},
		{func(s *Shape) { s.TimeScale = 0 }, "--time-scale 0"},
		{func(s *Shape) { s.Cores = -1 }, "--cores -1"},
	} {
		s := shape()
		c.change(&s)
		if _, err := Design(s, traces, now); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("error %v, want %q", err, c.says)
		}
	}
	if _, err := Design(shape(), []trace.Trace{{Name: "short", Values: make([]float64, 10)}}, now); err == nil || !strings.Contains(err.Error(), "trace short has 10 rows") {
		t.Errorf("a short trace: %v", err)
	}
}

// Every configuration that is written is one that an agent takes.
func TestConfigurationsAreValid(t *testing.T) {
	data, err := openDataDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer data.close()
	s := shape()
	s.Hosts = 4 // three voters and a host without the log
	b, err := Design(s, shipped(t), now)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b.Hosts {
		b.Hosts[i].IP = "127.9.9.1"
	}
	clock := fleet.LoadClock{Wall: now, Load: b.LoadTime, Scale: 300}
	if err := data.prepare(b, clock, "auto", `/opt/with "quotes" and ${dollars}/placed`); err != nil {
		t.Fatal(err)
	}
	workloads := 0
	for i, h := range b.Hosts {
		c, err := config.Load(data.file(h.Name, "config.hcl"))
		if err != nil {
			t.Fatal(err)
		}
		workloads += len(c.Workloads)
		if c.Node.ID != h.ID || c.Server.Enabled != (i < 3) || c.Drivers[0].Command[0] != `/opt/with "quotes" and ${dollars}/placed` {
			t.Errorf("%s: %+v, server %v, command %q", h.Name, c.Node, c.Server.Enabled, c.Drivers[0].Command)
		}
		for _, w := range c.Workloads {
			if w.HistoryRows != historyRows || w.Settings["trace_from"] != "6048" {
				t.Errorf("%s learns %d rows and replays from %s", w.ID, w.HistoryRows, w.Settings["trace_from"])
			}
		}
	}
	if workloads != len(b.Workloads) {
		t.Errorf("%d workloads are declared, want %d", workloads, len(b.Workloads))
	}
	before, err := os.ReadFile(data.file("host-1", "host.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if err := data.prepare(b, clock, "auto", "placed"); err != nil {
		t.Fatalf("a second run: %v", err)
	}
	if after, _ := os.ReadFile(data.file("host-1", "host.pem")); string(after) != string(before) {
		t.Error("a second run made new certificates")
	}
}

func TestDataDir(t *testing.T) {
	dir := t.TempDir()
	data, err := openDataDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openDataDir(dir); err == nil || !strings.Contains(err.Error(), "in use by another `placed dev`") {
		t.Errorf("a second fleet on one directory: %v", err)
	}
	if _, found, err := data.readBlueprint(); found || err != nil {
		t.Errorf("an empty directory: %v, %v", found, err)
	}
	b, err := Design(shape(), shipped(t), now)
	if err != nil {
		t.Fatal(err)
	}
	if err := data.writeBlueprint(b); err != nil {
		t.Fatal(err)
	}
	got, found, err := data.readBlueprint()
	if err != nil || !found || !reflect.DeepEqual(got, b) {
		t.Errorf("the blueprint came back as %+v, %v, %v", got, found, err)
	}
	for content, says := range map[string]string{`{"version": 1, "hosts": [`: "is damaged", `{"version": 99}`: "has version 99"} {
		if err := os.WriteFile(data.file("fleet.json"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := data.readBlueprint(); err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "fleet.json") {
			t.Errorf("%s: %v, want %q", content, err, says)
		}
	}
	data.close()
	again, err := openDataDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	again.close()
}

func TestResumeRefusesAnotherShape(t *testing.T) {
	b, err := Design(shape(), shipped(t), now)
	if err != nil {
		t.Fatal(err)
	}
	c := Config{Shape: shape(), Set: map[string]bool{"seed": true}}
	if err := c.matches(b); err != nil {
		t.Error(err)
	}
	c.Seed = 9
	if err := c.matches(b); err == nil || !strings.Contains(err.Error(), "--seed 7, not 9") {
		t.Errorf("another seed: %v", err)
	}
	c.Set = nil // not given by hand: the fleet's own counts
	if err := c.matches(b); err != nil {
		t.Error(err)
	}
}

func TestEnough(t *testing.T) {
	came := true
	done := api.Migration{Type: "preemptive", CommittedIndex: 5, Phase: "done", ContentionCame: &came}
	unjudged, late, running := done, done, done
	unjudged.ContentionCame, late.Type, running.Phase = nil, "threshold", "copying"
	for _, c := range []struct {
		list   []api.Migration
		judged bool
		want   bool
	}{
		{nil, false, false},
		{[]api.Migration{late, running}, false, false},
		{[]api.Migration{unjudged}, false, true},
		{[]api.Migration{unjudged}, true, false},
		{[]api.Migration{late, done}, true, true},
	} {
		if got := enough(c.list, 1, c.judged); got != c.want {
			t.Errorf("%+v judged %v: %v", c.list, c.judged, got)
		}
	}
	data, err := json.Marshal(Summary{Migrations: []Move{}})
	if err != nil || !strings.Contains(string(data), `"migrations":[]`) || !strings.Contains(string(data), `"contention_came":null`) {
		t.Errorf("an empty summary is %s (%v)", data, err)
	}
}
