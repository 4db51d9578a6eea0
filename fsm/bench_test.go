package fsm

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/placed-dev/placed/fleet"
)

// newCell is a state of n hosts with per workloads each.
func newCell(b testing.TB, n, per int) *world {
	w := newWorld()
	w.must(b, "h0", InitCluster{Cluster: "c1"})
	for i := range n {
		id := fleet.HostID(fmt.Sprintf("h%d", i))
		var workloads []fleet.Workload
		large := host(string(id), 1<<20*gib)
		large.Capacity.CPU = 1 << 40
		for k := range per {
			workloads = append(workloads, instance(fmt.Sprintf("w%d-%d", i, k), gib))
		}
		w.must(b, id, RegisterHost{Host: large}, RegisterWorkloads{Host: id, Workloads: workloads})
	}
	policy := fleet.DefaultPolicy()
	policy.Automation, policy.MovesInFlight, policy.ChurnPerHour = fleet.Auto, 1<<40, 1<<40
	w.must(b, "h0", SetPolicy{Policy: policy})
	return w
}

// BenchmarkApplyGrant: one grant in an entry, every workload once, in a cell of
// 300 hosts and 10,200 workloads; when all are granted, in a new cell.
func BenchmarkApplyGrant(b *testing.B) {
	var w *world
	var entries [][]byte
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%10200 == 0 {
			b.StopTimer()
			w, entries = newCell(b, 300, 34), nil
			for k := range 10200 {
				entries = append(entries, w.encode(b, "h0", Grant{Workload: fleet.WorkloadID(fmt.Sprintf("w%d-%d", k%300, k/300)),
					Destination: fleet.HostID(fmt.Sprintf("h%d", (k+1)%300)), Type: fleet.Requested}))
			}
			b.StartTimer()
		}
		w.index++
		if err := w.state.Apply(w.index, entries[i%10200]).Refused(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkApplyBatch: 64 operations in an entry, 32 grants and their releases.
func BenchmarkApplyBatch(b *testing.B) {
	w := newCell(b, 300, 34)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		var ops []Operation
		for k := range 32 {
			ops = append(ops, Grant{Workload: fleet.WorkloadID(fmt.Sprintf("w%d-%d", (i*32+k)%299, k)), Destination: "h299", Type: fleet.Requested},
				Release{Lease: fleet.LeaseID(fmt.Sprintf("L%d.%d", w.index+1, k+1))})
		}
		data := w.encode(b, "h0", ops...)
		w.index++
		b.StartTimer()
		result := w.state.Apply(w.index, data)
		b.StopTimer()
		if err := result.Refused(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/64, "ns/operation")
}

// BenchmarkApplyPlacements: what `POST /v1/leases:batch` brings, 64 placements of
// new workloads in an entry, with 128 bytes of reason each.
func BenchmarkApplyPlacements(b *testing.B) {
	w := newCell(b, 300, 34)
	reason := strings.Repeat("r", 128)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		var grants, releases []Operation
		for k := range 64 {
			grants = append(grants, Grant{Workload: fleet.WorkloadID(fmt.Sprintf("bench-%d-%d", i, k)), Destination: fleet.HostID(fmt.Sprintf("h%d", (i+k)%300)),
				Kind: fleet.LeasePlacement, Type: fleet.Requested, Reason: reason, Reservation: fleet.Vector{CPU: 1, Memory: 1 << 20}})
			releases = append(releases, Release{Lease: fleet.LeaseID(fmt.Sprintf("L%d.%d", w.index+1, k+1))})
		}
		bundle := Bundle([][]byte{w.encode(b, "h0", grants...)})
		w.index++
		b.StartTimer()
		results, err := w.state.applyBundleShared(w.index, bundle)
		b.StopTimer()
		if err == nil {
			err = results[0].Refused()
		}
		if err != nil {
			b.Fatal(err)
		}
		w.must(b, "h0", releases...)
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/64, "ns/operation")
}

func BenchmarkCapture(b *testing.B) {
	w := newCell(b, 300, 34)
	b.ReportAllocs()
	for b.Loop() {
		w.state.Capture()
	}
}

func BenchmarkWriteSnapshot(b *testing.B) {
	w := newCell(b, 300, 34)
	captured := w.state.Capture()
	for b.Loop() {
		n, err := captured.WriteTo(io.Discard)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(n), "bytes")
	}
}

func BenchmarkRestore(b *testing.B) {
	w := newCell(b, 300, 34)
	data := snapshotBytes(b, w.state)
	for b.Loop() {
		if _, err := Restore(bytes.NewReader(data)); err != nil {
			b.Fatal(err)
		}
	}
}
