package fsm

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/placed-dev/placed/fleet"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const gib = int64(1) << 30

// world drives one State as a log would, and keeps that log.
type world struct {
	state *State
	index uint64
	now   time.Time // both clocks
	ids   int
	log   [][]byte
}

func newWorld() *world { return &world{state: New(), index: 10, now: epoch} }

func (w *world) encode(t testing.TB, from fleet.HostID, ops ...Operation) []byte {
	t.Helper()
	w.ids++
	data, err := Encode(Header{ID: fmt.Sprintf("id-%d", w.ids), Proposer: from, At: w.now, LoadAt: w.now}, ops...)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (w *world) applyBytes(t testing.TB, data []byte) Result {
	t.Helper()
	w.index++
	w.log = append(w.log, data)
	result := w.state.Apply(w.index, data)
	if result.Fatal != nil {
		t.Fatal(result.Fatal)
	}
	return result
}

func (w *world) apply(t testing.TB, from fleet.HostID, ops ...Operation) Result {
	t.Helper()
	return w.applyBytes(t, w.encode(t, from, ops...))
}

// must applies operations that have to be accepted.
func (w *world) must(t testing.TB, from fleet.HostID, ops ...Operation) Result {
	t.Helper()
	result := w.apply(t, from, ops...)
	if err := result.Refused(); err != nil {
		t.Fatalf("refused: %v", err)
	}
	return result
}

func host(id string, memory int64) fleet.Host {
	return fleet.Host{ID: fleet.HostID(id), Name: id, Zone: "z1", Voter: true, Address: "127.0.0.1:7000",
		Capacity: fleet.Vector{CPU: 8000, Memory: memory, Net: fleet.Unknown, Disk: fleet.Unknown}}
}

func instance(id string, memory int64) fleet.Workload {
	return fleet.Workload{ID: fleet.WorkloadID(id), Driver: "region", Tolerance: 500,
		Reservation: fleet.Vector{CPU: 500, Memory: memory}}
}

// newFleet is a world of three hosts of 64 GiB; h1 runs w1 (8 GiB), w2 and w3.
func newFleet(t testing.TB) *world {
	w := newWorld()
	w.must(t, "h1", InitCluster{Cluster: "c1"})
	for _, id := range []string{"h1", "h2", "h3"} {
		w.must(t, fleet.HostID(id), RegisterHost{Host: host(id, 64*gib)})
	}
	w.must(t, "h1", RegisterWorkloads{Host: "h1", Workloads: []fleet.Workload{
		instance("w1", 8*gib), instance("w2", 4*gib), instance("w3", 40*gib)}})
	w.must(t, "h2", RegisterWorkloads{Host: "h2"})
	w.must(t, "h3", RegisterWorkloads{Host: "h3"})
	policy := fleet.DefaultPolicy()
	policy.Automation = fleet.Auto
	w.must(t, "h1", SetPolicy{Policy: policy, By: "test"})
	return w
}

func snapshotBytes(t testing.TB, s *State) []byte {
	t.Helper()
	var buf bytes.Buffer
	if _, err := s.Capture().WriteTo(&buf); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}
