package fsm

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/placed-dev/placed/fleet"
)

// Proposals in a bundle have what they would have had alone: their own results,
// their own proposer, and one life per idempotency id; the leases of one index
// have different names.
func TestBundleKeepsProposalsApart(t *testing.T) {
	w := newFleet(t)
	a := w.encode(t, "h1", Grant{Workload: "w1", Destination: "h2", Type: fleet.Requested})
	b := w.encode(t, "h2", Grant{Workload: "w2", Destination: "h3", Type: fleet.Requested})
	stranger := w.encode(t, "h9", Grant{Workload: "w2", Destination: "h3", Type: fleet.Requested})
	w.index++
	results, err := w.state.ApplyBundle(w.index, Bundle([][]byte{a, stranger, b, a}))
	if err != nil {
		t.Fatal(err)
	}
	if results[0].Refused() != nil || results[2].Refused() != nil {
		t.Fatalf("refused: %v, %v", results[0].Refused(), results[2].Refused())
	}
	if err := results[1].Refused(); !errors.Is(err, ErrProposer) {
		t.Errorf("the proposal of a stranger: %v", err)
	}
	if first, again := results[0], results[3]; !again.Replayed || again.Ops[0].Lease.ID != first.Ops[0].Lease.ID {
		t.Errorf("the same proposal twice in a bundle: %+v then %+v", first, again)
	}
	ids := []fleet.LeaseID{results[0].Ops[0].Lease.ID, results[2].Ops[0].Lease.ID}
	if ids[0] == ids[1] {
		t.Errorf("both leases are %s", ids[0])
	}
	events := w.state.EventsSince(w.index-1, 1<<30)
	seqs := map[int]bool{}
	for _, ev := range events {
		if ev.Index == w.index && seqs[ev.Seq] {
			t.Errorf("two events %d/%d", ev.Index, ev.Seq)
		}
		seqs[ev.Seq] = true
	}
	w.index++
	if got := w.state.Apply(w.index, b); !got.Replayed || got.Index != w.index-1 {
		t.Errorf("repeated alone: %+v", got)
	}
}

// A bundle of one is that one, byte for byte in the snapshot.
func TestBundleOfOneIsTheProposal(t *testing.T) {
	alone, bundled := newFleet(t), newFleet(t)
	data := alone.encode(t, "h1", Grant{Workload: "w1", Destination: "h2", Type: fleet.Requested})
	alone.applyBytes(t, data)
	bundled.index++
	if _, err := bundled.state.ApplyBundle(bundled.index, Bundle([][]byte{data})); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(snapshotBytes(t, alone.state), snapshotBytes(t, bundled.state)) {
		t.Error("the states differ")
	}
}

// One unreadable proposal, and nothing of the bundle is applied.
func TestDamagedBundleChangesNothing(t *testing.T) {
	w := newFleet(t)
	good := w.encode(t, "h1", Grant{Workload: "w1", Destination: "h2", Type: fleet.Requested})
	bad := slices.Clone(good)
	bad[len(bad)/2] ^= 1
	whole := Bundle([][]byte{good, good})
	later := slices.Clone(whole)
	later[bundleHead-1] = bundleStamped + 1
	before := snapshotBytes(t, w.state)
	for name, data := range map[string][]byte{"a proposal": Bundle([][]byte{good, bad}), "cut": whole[:len(whole)-1], "empty": Bundle(nil), "version": later} {
		if _, err := w.state.ApplyBundle(w.index+1, data); err == nil {
			t.Errorf("%s: applied", name)
		}
		if Verify(data) == nil {
			t.Errorf("%s: verified", name)
		}
	}
	if !bytes.Equal(before, snapshotBytes(t, w.state)) {
		t.Error("the state has changed")
	}
	if err := errors.Join(Verify(whole), Verify(good)); err != nil {
		t.Error(err)
	}
	var fatal error
	r := NewReplica(func(err error) { fatal = err })
	r.Apply(&raft.Log{Index: 1, Type: raft.LogCommand, Data: Bundle([][]byte{good, bad})})
	if !errors.Is(fatal, ErrCorrupt) {
		t.Errorf("the replica goes on: %v", fatal)
	}
}

func FuzzBundle(f *testing.F) {
	w := newWorld()
	one := w.encode(f, "h1", InitCluster{Cluster: "c1"})
	f.Add(Bundle([][]byte{one, one}))
	f.Fuzz(func(t *testing.T, data []byte) {
		if !IsBundle(data) || len(data) < bundleHead {
			return
		}
		_, proposals, err := split(data)
		if err != nil {
			return
		}
		// Lengths may be written longer than needed, so the bytes may differ.
		_, again, err := split(Bundle(proposals))
		if err != nil || !slices.EqualFunc(again, proposals, bytes.Equal) {
			t.Errorf("%d proposals became %d: %v", len(proposals), len(again), err)
		}
	})
}
