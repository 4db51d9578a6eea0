package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
)

// savedFleet is a bundle of two days: two hosts of 8 cores, four workloads, of
// which the first two peak together every afternoon on h1. "moved" has been moved
// from h1 to h2 a day ago.
func savedFleet(t *testing.T, ticks int) string {
	t.Helper()
	begin := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	state, index := fsm.New(), uint64(0)
	apply := func(at time.Time, from fleet.HostID, ops ...fsm.Operation) fsm.Result {
		t.Helper()
		index++
		data, err := fsm.Encode(fsm.Header{ID: fmt.Sprint(index), Proposer: from, At: at, LoadAt: at}, ops...)
		if err != nil {
			t.Fatal(err)
		}
		r := state.Apply(index, data)
		if err := r.Refused(); err != nil {
			t.Fatal(err)
		}
		return r
	}
	apply(begin, "h1", fsm.InitCluster{Cluster: "c"})
	for i, id := range []fleet.HostID{"h1", "h2"} {
		apply(begin, id, fsm.RegisterHost{Host: fleet.Host{ID: id, Name: string(id), Zone: "z", Address: "192.0.2.1:1", Voter: i == 0,
			Capacity: fleet.Vector{CPU: 8000, Memory: 64 << 30, Net: fleet.Unknown, Disk: fleet.Unknown}}})
	}
	peak := func(base, height int64) func(int) int64 {
		return func(tick int) int64 {
			if hour := tick % 288 / 12; hour >= 14 && hour < 18 {
				return base + height
			}
			return base
		}
	}
	loads := map[string]func(int) int64{"a": peak(1000, 5000), "b": peak(1000, 4500), "moved": peak(500, 0), "calm": peak(500, 0)}
	var on []fleet.Workload
	for _, id := range []fleet.WorkloadID{"a", "b", "calm", "moved"} {
		on = append(on, fleet.Workload{ID: id, Driver: "region", Owner: "h1", Reservation: fleet.Vector{Memory: 1 << 30}})
	}
	apply(begin, "h1", fsm.RegisterWorkloads{Host: "h1", Workloads: on})
	policy := fleet.DefaultPolicy()
	apply(begin, "h1", fsm.SetPolicy{Policy: policy, By: "test"})
	mid := begin.Add(30 * time.Hour)
	lease := *apply(mid, "h1", fsm.Grant{Workload: "moved", Destination: "h2", Kind: fleet.LeaseMigration, Type: fleet.Requested}).Ops[0].Lease
	digest := strings.Repeat("0", 64)
	apply(mid, "h1", fsm.Begin{Lease: lease.ID, Token: lease.Token})
	apply(mid, "h2", fsm.ReportPrepared{Lease: lease.ID, Digest: digest, Token: lease.Token})
	apply(mid, "h1", fsm.Commit{Lease: lease.ID, Digest: digest, Token: lease.Token})
	apply(mid, "h2", fsm.ReportActivated{Lease: lease.ID})
	apply(mid, "h1", fsm.ReportReleased{Lease: lease.ID})
	var books bytes.Buffer
	if _, err := state.Capture().WriteTo(&books); err != nil {
		t.Fatal(err)
	}
	bundle := api.Bundle{Format: api.BundleFormat, Books: books.Bytes(), Begin: begin, TickS: 300, Ticks: ticks,
		Missing: []api.MissingHost{{Host: "h3", Why: "it does not answer"}},
		Moves:   []api.RecordedMove{{At: mid, Workload: "moved", From: "h1", To: "h2"}}}
	for _, id := range []string{"a", "b", "calm", "moved", "stranger"} {
		l := api.RecordedLoad{Workload: id, CPU: make([]int64, ticks)}
		for tick := range l.CPU {
			if l.CPU[tick] = -1; tick%50 != 7 && loads[id] != nil { // a gap now and then
				l.CPU[tick] = loads[id](tick)
			}
		}
		bundle.Loads = append(bundle.Loads, l)
	}
	data, err := bundle.Encode()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "saved")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file+".plain", books.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// The time machine: the policy of the books only observed, the new one acts, and
// contention falls. Workloads begin where they were, not where they are.
func TestSimulateSnapshot(t *testing.T) {
	file := savedFleet(t, 3*288)
	m, err := readTimeMachine(file, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(m.hosts) != 2 || len(m.workloads) != 4 {
		t.Fatalf("%d hosts, %d workloads", len(m.hosts), len(m.workloads))
	}
	for _, w := range m.workloads {
		if w.Owner != "h1" {
			t.Errorf("%s begins on %s: it has moved since", w.ID, w.Owner)
		}
		for tick, v := range w.Demand {
			if math.IsNaN(v) {
				t.Fatalf("%s, tick %d: a gap is left", w.ID, tick)
			}
		}
	}
	policy := filepath.Join(t.TempDir(), "new.hcl")
	if err := os.WriteFile(policy, []byte("policy {\n  automation = \"auto\"\n  hold_passes = 1\n  churn_per_hour = 20\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	summary, err := playSnapshot(simulateOptions{snapshot: file, policy: policy}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(summary.Rows) != 3 {
		t.Fatalf("%d rows", len(summary.Rows))
	}
	nothing, old, proposed := summary.Rows[0], summary.Rows[1], summary.Rows[2]
	if old.MovesPerVMDay != 0 || old.Contended != nothing.Contended {
		t.Errorf("a policy that observes has moved something: %+v", old)
	}
	if proposed.MovesPerVMDay == 0 || proposed.Contended > nothing.Contended/2 {
		t.Errorf("nothing %g contended minutes a day, the new policy %g with %g moves", nothing.Contended, proposed.Contended, proposed.MovesPerVMDay)
	}
	notes := strings.Join(summary.Warnings, "\n")
	for _, want := range []string{"host h3 gave no history", "automation observe"} {
		if !strings.Contains(notes, want) {
			t.Errorf("no note says %q: %s", want, notes)
		}
	}
}

func TestSimulateSnapshotRefuses(t *testing.T) {
	file := savedFleet(t, 2*288)
	for name, test := range map[string]struct {
		options simulateOptions
		want    string
	}{
		"plain":    {simulateOptions{snapshot: file + ".plain"}, "placed operator snapshot save --with-history 7d"},
		"short":    {simulateOptions{snapshot: file, since: "20h"}, "too short"},
		"duration": {simulateOptions{snapshot: file, since: "a week"}, "write it as 7d"},
		"policy":   {simulateOptions{snapshot: file, policy: "no-such-file"}, "no-such-file"},
		"absent":   {simulateOptions{snapshot: "no-such-snapshot"}, "no-such-snapshot"},
	} {
		if _, err := playSnapshot(test.options, nil); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
	var out, errs bytes.Buffer
	if err := (simulateOptions{snapshot: file, scenario: "x"}).run(t.Context(), &out, &errs); err == nil {
		t.Error("a snapshot and a scenario at once")
	}
	if err := (simulateOptions{since: "7d", scenario: "x"}).run(t.Context(), &out, &errs); err == nil || !strings.Contains(err.Error(), "belong to --snapshot") {
		t.Errorf("--since without a snapshot: %v", err)
	}
	// A bundle still restores and inspects as a snapshot.
	if _, summary, err := readSnapshot(file); err != nil || summary.Workloads != 4 {
		t.Errorf("%+v, %v", summary, err)
	}
}
