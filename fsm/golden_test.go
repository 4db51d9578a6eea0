package fsm

import (
	"bytes"
	"encoding/hex"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/placed-dev/placed/fleet"
)

var update = flag.Bool("update", false, "write testdata/golden; a change of existing bytes breaks every running cluster")

var goldenHeader = Header{ID: "0c9d", Proposer: "h1", At: epoch.Add(1500 * time.Millisecond), LoadAt: epoch.Add(time.Hour)}

// everyOperation holds one operation of every kind with every field set.
func everyOperation() map[string]Operation {
	yes := true
	token := fleet.Token{Cluster: "c1", Generation: 2, Index: 41}
	vector := fleet.Vector{CPU: 1500, Memory: 8 * gib, Net: fleet.Unknown, Disk: 7}.With("hugepages.0.2M", 512000)
	workload := fleet.Workload{ID: "vm1/db", Kind: fleet.Feature, Instance: "vm1", Driver: "region", Owner: "h1", Epoch: 3,
		Reservation: vector, Priority: -5, Tolerance: 250, Port: 9001, Pinned: true, ManagedBy: "nova"}
	ops := []Operation{
		InitCluster{Cluster: "c1"},
		RaiseGeneration{Reason: "restored"},
		SetPolicy{Policy: fleet.DefaultPolicy(), By: "alice"},
		RegisterHost{Host: fleet.Host{ID: "h1", Name: "one", Zone: "z1", Class: "xeon", Address: "10.0.0.1:7000", Traffic: "10.0.1.1", API: "127.0.0.1:7001",
			Voter: true, Capacity: vector, Reserve: fleet.Vector{CPU: 1}, Overcommit: fleet.Vector{CPU: 2000}, State: fleet.HostDraining, Registered: 9}},
		SetHostState{Host: "h1", State: fleet.HostMaintenance, By: "alice", Reason: "disk"},
		RegisterWorkloads{Host: "h1", Workloads: []fleet.Workload{workload, {ID: "vm2"}}},
		DeregisterWorkload{Workload: "vm2"},
		PinWorkload{Workload: "vm2", Pinned: true, By: "alice"},
		Grant{Workload: "vm2", Destination: "h2", Kind: fleet.LeasePlacement, Type: fleet.Balance, Decision: "p1.1", Reason: "room", Reservation: vector},
		Begin{Lease: "L41", Token: token},
		ReportPrepared{Lease: "L41", Digest: "xx", Token: token},
		Commit{Lease: "L41", Digest: "xx", Token: token},
		Abort{Lease: "L41", Reason: "slow"},
		ReportDiscarded{Lease: "L41"},
		ReportActivated{Lease: "L41"},
		ReportReleased{Lease: "L41"},
		Release{Lease: "L41", Reason: "no need"},
		Claim{Lease: "L41", Workload: workload},
		Expire{Lease: "L41"},
		Revert{Lease: "L41", Reason: "rebooted", Token: token},
		ObserveOwner{Lease: "L41", Host: "h2", Seen: SeenPrepared, Digest: "xx"},
		Resolve{Lease: "L41", Commit: true, By: "alice", Reason: "scrap"},
		PutProfile{Workload: "vm2", Blob: []byte{1, 2, 3}, Category: "diurnal"},
		RecordDecisions{Decisions: []fleet.Decision{{ID: "p1.1", Pass: "p1", At: epoch, Outcome: fleet.OutcomeMove, Workload: "vm2", From: "h1", To: "h2",
			Type: fleet.Drain, Reason: "why", LeaveBy: epoch.Add(time.Minute), InputHash: "ab",
			Contention:     &fleet.Contention{Host: "h1", Zone: "z1", Resource: fleet.CPU, Probability: 0.75, Breach: epoch, Steps: 3, Demand: 1.5, Allocatable: 8, Now: true},
			CandidateScore: []fleet.ScorePart{{Name: "cost", Value: -0.5}},
			Scores:         []fleet.Score{{Host: "h2", Total: 1, Parts: []fleet.ScorePart{{Name: "fit", Value: 1}}}},
			Exclusions:     []fleet.Exclusion{{Host: "h3", Workload: "vm2", Reason: "full"}}}}},
		RecordOutcome{Outcome: MigrationOutcome{Lease: "L41", Workload: "vm2", Source: "h1", Destination: "h2", Type: fleet.Drain, State: fleet.Released,
			Decision: "p1.1", Reason: "why", CommittedIndex: 44, CommittedAt: epoch, Breach: epoch.Add(time.Hour), LeadTime: time.Hour,
			Resource: fleet.CPU, Allocatable: 8, Rounds: 4, Wire: 99, Downtime: 30, Duration: 50, Tracker: "compare", Error: "none", ContentionCame: &yes}},
		StateHash{Index: 2048, Version: 1, Hash: Hash{1, 2, 31: 9}},
		RaiseFeatureLevel{Level: 2, By: "alice"},
		PutRule{Rule: fleet.Rule{ID: "web", Kind: fleet.HostAffinity, Hard: true, Workloads: []fleet.WorkloadID{"vm2"}, Groups: []string{"front"}, Hosts: []fleet.HostID{"h1", "h2"}}, By: "alice"},
		DropRule{ID: "web", By: "alice"},
		SetCalendar{Source: "ops.ics", By: "alice", Entries: []fleet.CalendarEntry{{ID: "e1", Kind: fleet.LoadChanges, Label: "sale", From: epoch, Until: epoch.Add(time.Hour),
			Hosts: []fleet.HostID{"h1"}, Zones: []string{"z1"}, Workloads: []fleet.WorkloadID{"vm2"}, Groups: []string{"front"}, Change: fleet.Vector{CPU: 500, Memory: -100}}}},
		ObserveHost{Host: "h1", Foreign: fleet.Vector{Memory: 3 * gib}.With("gpu", 500)},
		PutCalendarSource{By: "alice", Source: fleet.CalendarSource{Entry: fleet.CalendarEntry{ID: "backup", Kind: fleet.NoMoves, Label: "backup", Zones: []string{"z1"}},
			Zone: "Europe/Berlin", Start: "2026-01-05T22:00", Duration: 2 * time.Hour, Recurrence: "FREQ=DAILY", Except: []string{"2026-12-24T22:00"}}},
		DropCalendarSource{ID: "backup", By: "alice"},
		Adjust{Adjustment: fleet.Adjustment{Workload: "vm2", Kind: fleet.Balloon, Host: "h1", State: fleet.AdjustmentAsked, Before: 4 * gib, Want: 3 * gib,
			Since: epoch, Decision: "p1.1", Reason: "memory is short", Change: fleet.Vector{Memory: -gib}}},
		EndAdjustment{Workload: "vm2", Kind: fleet.VCPUs, Reason: "there is room again"},
		ReportAdjusted{Workload: "vm2", Kind: fleet.Balloon, State: fleet.AdjustmentApplied, Given: gib, Reason: "done"},
		SetFeature{Workload: "vm1/db", Instance: "vm1", By: "alice"},
		SetThresholds{By: "alice", Thresholds: fleet.WorkloadThresholds{Workload: "vm1/db", Thresholds: []fleet.FeatureThreshold{{Metric: "latency_ms", Limit: 20_000, Clear: 900, Hold: 10 * time.Minute}}}},
		Promote{Lease: "L41", Type: fleet.Threshold, Decision: "p2.1", Reason: "it is time"},
		PutModel{Model: fleet.Model{Name: "60m/cpu", Version: 3, Hash: strings.Repeat("ab", 32), Size: 1 << 20, Trained: epoch}},
	}
	out := map[string]Operation{}
	for _, op := range ops {
		out[commands[op.number()].name] = op
	}
	return out
}

// TestGoldenCommands: the bytes of every command in every log ever written.
func TestGoldenCommands(t *testing.T) {
	all := everyOperation()
	if len(all) != len(commands) {
		t.Errorf("%d operations have golden bytes, %d exist", len(all), len(commands))
	}
	maps.Copy(all, lateFields())
	for name, op := range all {
		t.Run(name, func(t *testing.T) {
			data, err := Encode(goldenHeader, op)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name, data)
			header, ops, err := Decode(data)
			if err != nil {
				t.Fatal(err)
			}
			if header != goldenHeader {
				t.Errorf("header is %+v after a round trip, was %+v", header, goldenHeader)
			}
			if len(ops) != 1 || !reflect.DeepEqual(ops[0], op) {
				t.Errorf("after a round trip:\n%+v\nwas\n%+v", ops, op)
			}
			pointer := reflect.New(reflect.TypeOf(op))
			pointer.Elem().Set(reflect.ValueOf(op))
			again, err := Encode(goldenHeader, pointer.Interface().(Operation))
			if err != nil || !bytes.Equal(again, data) {
				t.Errorf("a pointer to the operation is encoded differently (%v)", err)
			}
		})
	}
}

// lateFields holds the operations of old that have new fields, with those set.
func lateFields() map[string]Operation {
	grouped := instance("w9", gib)
	grouped.Group = "front"
	return map[string]Operation{
		"init-cluster-2":       InitCluster{Cluster: "c1", Level: 2},
		"register-workloads-2": RegisterWorkloads{Host: "h1", Workloads: []fleet.Workload{grouped, instance("w8", gib)}},
		"grant-2":              Grant{Workload: "w9", Destination: "h2", Kind: fleet.LeasePlacement, Reservation: fleet.Vector{CPU: 1}, Group: "front"},
		"set-host-state-2":     SetHostState{Host: "h1", State: fleet.HostDraining, By: "alice", DrainBy: epoch.Add(time.Hour)},
		"set-policy-2":         SetPolicy{Policy: inPlacePolicy(), By: "alice"},
		"set-policy-3":         SetPolicy{Policy: standbyPolicy(), By: "alice"},
		"claim-2":              Claim{Lease: "L41", Workload: grouped},
	}
}

// TestGoldenSnapshot: an old snapshot loads, and gives the same bytes again;
// below feature level 2 a new one is what the first release can read.
func TestGoldenSnapshot(t *testing.T) {
	checkGoldenSnapshot(t, "snapshot-v1", rich(t))
	checkGoldenSnapshot(t, "snapshot-v2", richer(t))
	checkGoldenSnapshot(t, "snapshot-v3", richest(t))
	checkGoldenSnapshot(t, "snapshot-v4", fullest(t))
	checkGoldenSnapshot(t, "snapshot-v5", newestBooks(t))
}

func checkGoldenSnapshot(t *testing.T, name string, w *world) {
	t.Helper()
	data := snapshotBytes(t, w.state)
	golden(t, name, data)
	restored, err := Restore(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if again := snapshotBytes(t, restored); !bytes.Equal(again, data) {
		t.Error("a restored state gives another snapshot")
	}
	if restored.Hash() != w.state.Hash() {
		t.Error("a restored state has another hash")
	}
	if got, want := restored.View(), w.state.View(); !reflect.DeepEqual(got, want) {
		t.Errorf("restored view\n%+v\nwas\n%+v", got, want)
	}
	if got, want := restored.EventsSince(0, 0), w.state.EventsSince(0, 0); !reflect.DeepEqual(got, want) {
		t.Error("restored events differ")
	}
}

// rich is a world in which every part of the state holds something.
func rich(t testing.TB) *world {
	w := newFleet(t)
	w.must(t, "h1", everyOperation()["record-decisions"])
	w.must(t, "h1", PutProfile{Workload: "w1", Blob: []byte{9}, Category: "flat"})
	w.must(t, "h1", Grant{Workload: "w1", Destination: "h2", Decision: "p1.1"})
	l, _ := w.state.LeaseOf("w1")
	w.must(t, "h1", Begin{Lease: l.ID})
	w.must(t, "h2", ReportPrepared{Lease: l.ID, Digest: "d"})
	w.must(t, "h1", Commit{Lease: l.ID, Digest: "d"}, RecordOutcome{Outcome: MigrationOutcome{Lease: l.ID, Rounds: 2}})
	w.must(t, "h1", Grant{Workload: "w2", Destination: "h3"})
	l, _ = w.state.LeaseOf("w2")
	w.must(t, "h1", Release{Lease: l.ID})
	w.must(t, "h1", Grant{Workload: "w2", Destination: "h3"})
	l, _ = w.state.LeaseOf("w2")
	w.must(t, "h1", Begin{Lease: l.ID}, Expire{Lease: l.ID}, ObserveOwner{Lease: l.ID, Host: "h1", Seen: SeenFrozen})
	w.apply(t, "h3", RegisterWorkloads{Host: "h3", Workloads: []fleet.Workload{instance("w3", gib)}})
	w.apply(t, "h1", Grant{Workload: "w3", Destination: "h2"}) // refused: disputed
	return w
}

// richer is rich, raised to the second feature level, with what that brought.
func richer(t testing.TB) *world {
	w := rich(t)
	w.must(t, "h1", RaiseFeatureLevel{Level: levelHash, By: "alice"})
	w.index = 2*HashEvery - 1
	for _, name := range []string{"put-rule", "set-calendar", "put-model"} {
		w.must(t, "h1", everyOperation()[name])
	}
	hash, ok := w.state.NextHash()
	if !ok {
		t.Fatal("no hash is kept")
	}
	grouped := instance("w9", gib)
	grouped.Group = "front"
	w.must(t, "h3", ObserveHost{Host: "h3", Foreign: fleet.Vector{Memory: gib}.With("gpu", 500)})
	w.must(t, "h1", hash, RegisterWorkloads{Host: "h1", Workloads: []fleet.Workload{grouped}})
	w.must(t, "h1", Grant{Workload: "w10", Destination: "h2", Kind: fleet.LeasePlacement, Reservation: fleet.Vector{CPU: 1}, Group: "front"})
	return w
}

// inPlacePolicy uses everything that a policy can say.
func inPlacePolicy() fleet.Policy {
	p := fleet.DefaultPolicy()
	p.Automation, p.ReserveHosts, p.MovesPerHost, p.BandwidthInFlight, p.Consolidate = fleet.Auto, 1, 2, 3, true
	p.InPlace, p.MovesPerLink, p.BandwidthPerLink = fleet.InPlace{CPUWeight: true, CPUQuota: true, VCPUs: true, Balloon: true}, 4, 5
	return p
}

// standbyPolicy is inPlacePolicy with what came later.
func standbyPolicy() fleet.Policy {
	p := inPlacePolicy()
	p.Standbys, p.MovesInFlight = 3, 6
	return p
}

// newestBooks is fullest, raised to the newest level, with what that brought.
func newestBooks(t testing.TB) *world {
	w := fullest(t)
	w.must(t, "h1", RaiseFeatureLevel{Level: FeatureLevel, By: "alice"}, SetPolicy{Policy: standbyPolicy(), By: "alice"}, SetHostState{Host: "h2"})
	w.must(t, "h1", PutRule{Rule: fleet.Rule{ID: "web", Kind: fleet.HostAffinity, Workloads: []fleet.WorkloadID{"vm2"}, Hosts: []fleet.HostID{"h1"}}})
	for _, id := range []fleet.WorkloadID{"w4", "w5"} {
		w.must(t, "h1", RegisterWorkloads{Host: "h1", Workloads: append(w.owned("h1"), instance(string(id), gib))})
		w.must(t, "h1", Grant{Workload: id, Destination: "h2", Kind: fleet.LeaseStandby, Type: fleet.Preemptive, Decision: "p3.1", Reason: "it will be short"})
		l, _ := w.state.LeaseOf(id)
		w.must(t, "h1", Begin{Lease: l.ID})
	}
	l, _ := w.state.LeaseOf("w5")
	w.must(t, "h1", Promote{Lease: l.ID, Type: fleet.Threshold, Decision: "p4.1", Reason: "it is short"})
	return w
}

// fullest is richest, raised to the fifth level, with what that brought.
func fullest(t testing.TB) *world {
	w := richest(t)
	w.must(t, "h1", RaiseFeatureLevel{Level: levelInPlace, By: "alice"}, SetPolicy{Policy: inPlacePolicy(), By: "alice"})
	w.must(t, "h1", Adjust{Adjustment: fleet.Adjustment{Workload: "w9", Kind: fleet.Balloon, Before: 2 * gib, Want: gib + gib/2, Since: epoch, Decision: "p1.1", Reason: "memory is short"}})
	w.must(t, "h1", ReportAdjusted{Workload: "w9", Kind: fleet.Balloon, State: fleet.AdjustmentApplied, Given: gib / 2})
	w.must(t, "h1", Adjust{Adjustment: fleet.Adjustment{Workload: "w9", Kind: fleet.CPUWeight, Before: 100, Want: 200, Since: epoch}})
	w.must(t, "h1", SetFeature{Workload: "w9", Instance: "vm1", By: "alice"})
	w.must(t, "h1", SetThresholds{Thresholds: fleet.WorkloadThresholds{Workload: "w9", Thresholds: []fleet.FeatureThreshold{{Metric: fleet.CPU, Limit: 500, Clear: 900, Hold: time.Minute}}}})
	w.must(t, "h1", SetHostState{Host: "h2", State: fleet.HostDraining, By: "alice", DrainBy: epoch.Add(time.Hour)})
	return w
}

// richest is richer, raised to the third level, with what that brought.
func richest(t testing.TB) *world {
	w := richer(t)
	w.must(t, "h1", RaiseFeatureLevel{Level: levelSources, By: "alice"})
	w.must(t, "h1", everyOperation()["put-calendar-source"])
	file := fleet.CalendarSource{Entry: fleet.CalendarEntry{ID: "holidays", Kind: fleet.LoadChanges, Change: fleet.Vector{CPU: -500}}, ICS: "BEGIN:VCALENDAR"}
	w.must(t, "h2", PutCalendarSource{Source: file, By: "bob"})
	return w
}

func golden(t *testing.T, name string, data []byte) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name+".hex")
	if *update {
		if err := os.WriteFile(path, []byte(hex.Dump(data)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want := readGolden(t, path); !bytes.Equal(data, want) {
		t.Errorf("%s has other bytes than %s:\n%s", name, path, hex.Dump(data))
	}
}

// readGolden reads what hex.Dump wrote.
func readGolden(t testing.TB, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []byte
	for line := range strings.Lines(string(text)) {
		hexadecimal, _, _ := strings.Cut(line[10:], "|")
		row, err := hex.DecodeString(strings.Join(strings.Fields(hexadecimal), ""))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, row...)
	}
	return out
}
