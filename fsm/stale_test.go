package fsm

import (
	"bytes"
	"slices"
	"testing"

	"github.com/placed-dev/placed/cutover"
	"github.com/placed-dev/placed/fleet"
)

// tokenStore is what one host has durably stored: the newest token per workload
// and its own word on it (DESIGN §6).
type tokenStore map[fleet.WorkloadID]struct {
	token fleet.Token
	word  cutover.Word
}

// admit stores a token if it is newer than the one stored.
func (s tokenStore) admit(id fleet.WorkloadID, token fleet.Token) bool {
	kept := s[id]
	if !token.NewerThan(kept.token) {
		return false
	}
	kept.token, kept.word = token, cutover.Admitted
	s[id] = kept
	return true
}

// TestOldSnapshotUnderRunningLeases: a cluster is restored from a snapshot that
// knows nothing of the newest moves, while those are under way. No token of the
// lost history is admitted after a new one, nothing is activated on one, and every
// new token is newer than all that any host has stored.
func TestOldSnapshotUnderRunningLeases(t *testing.T) {
	w := newest(t)
	stores := map[fleet.HostID]tokenStore{"h1": {}, "h2": {}, "h3": {}}
	var lost []fleet.Lease // with every lease of the history to be lost
	grant := func(id fleet.WorkloadID, to fleet.HostID) fleet.Lease {
		t.Helper()
		l := *w.must(t, "h1", Grant{Workload: id, Destination: to, Type: fleet.Requested}).Ops[0].Lease
		if !stores[to].admit(id, l.Token) {
			t.Fatalf("host %s does not admit %s", to, l.Token)
		}
		return l
	}
	first := grant("w1", "h2")
	w.must(t, "h1", Begin{Lease: first.ID})
	old := snapshotBytes(t, w.state)

	// The history that will be lost: w1 arrives and moves on, w2 is prepared.
	move := func(l fleet.Lease) {
		t.Helper()
		w.must(t, l.Source, Begin{Lease: l.ID})
		w.must(t, l.Destination, ReportPrepared{Lease: l.ID, Digest: "d"})
	}
	move(first)
	w.must(t, "h1", Commit{Lease: first.ID, Digest: "d"})
	w.must(t, "h2", ReportActivated{Lease: first.ID})
	w.must(t, "h1", ReportReleased{Lease: first.ID})
	w.index += 100 // entries of no interest
	second := grant("w1", "h3")
	move(second)
	third := grant("w2", "h3")
	move(third)
	lost = append(lost, first, second, third)

	restored, err := Restore(bytes.NewReader(old))
	if err != nil {
		t.Fatal(err)
	}
	w = &world{state: restored, index: restored.Index(), now: w.now, ids: w.ids}
	w.must(t, "h1", RaiseGeneration{Reason: "restored from a snapshot"})
	for _, l := range restored.Leases() {
		if l.State != fleet.Uncertain {
			t.Errorf("lease %s is %s after the restore", l.ID, l.State)
		}
	}

	// Whatever the ends of the lost leases go on to say, nobody becomes owner.
	owners := func() (out []fleet.HostID) {
		for _, x := range restored.Workloads() {
			out = append(out, x.Owner)
		}
		return out
	}
	before := owners()
	for _, l := range lost {
		for _, from := range []fleet.HostID{l.Source, l.Destination} {
			w.apply(t, from, Begin{Lease: l.ID, Token: l.Token}, ReportPrepared{Lease: l.ID, Digest: "d", Token: l.Token},
				Commit{Lease: l.ID, Digest: "d", Token: l.Token}, ReportActivated{Lease: l.ID}, ReportReleased{Lease: l.ID}, Release{Lease: l.ID})
		}
		if now, ok := restored.Lease(l.ID); ok && now.State != fleet.Uncertain {
			t.Errorf("lease %s is %s on the word of a stale token", l.ID, now.State)
		}
		// Its destination holds a copy; what it learns of the books does not
		// make it run that.
		for _, word := range []cutover.Word{cutover.Admitted, cutover.Prepared} {
			end := cutover.Destination{Word: word, Copy: cutover.Frozen, Lease: fleet.Transferring}
			end, actions := end.Step(cutover.Event{Kind: cutover.Learned, Lease: fleet.Uncertain})
			if slices.ContainsFunc(actions, func(a cutover.Action) bool { return a.Kind == cutover.Activate }) || end.Word == cutover.Activated {
				t.Errorf("a destination that said %s activates under uncertain books: %v", word, actions)
			}
		}
	}
	if after := owners(); !slices.Equal(before, after) {
		t.Errorf("owners were %v, are %v", before, after)
	}

	// The hosts report; w1 is where the lost history brought it.
	reservations := map[fleet.WorkloadID]int64{"w1": 8 * gib, "w2": 4 * gib, "w3": 40 * gib}
	report := func(host fleet.HostID, ids ...fleet.WorkloadID) {
		var all []fleet.Workload
		for _, id := range ids {
			all = append(all, instance(string(id), reservations[id]))
		}
		w.apply(t, host, RegisterWorkloads{Host: host, Workloads: all})
	}
	report("h1", "w2", "w3")
	report("h2", "w1")
	report("h3")
	w.must(t, "h1", ObserveOwner{Lease: first.ID, Host: "h1", Seen: SeenAbsent})
	w.must(t, "h2", ObserveOwner{Lease: first.ID, Host: "h2", Seen: SeenRunning})
	if x, _ := restored.Workload("w1"); x.Owner != "h2" {
		t.Fatalf("workload w1 belongs to host %s, it runs on h2", x.Owner)
	}
	if l, ok := restored.LeaseOf("w1"); ok {
		w.must(t, l.Source, ReportReleased{Lease: l.ID})
	}
	for _, id := range []fleet.WorkloadID{"w1", "w2"} {
		l := *w.must(t, "h1", Grant{Workload: id, Destination: "h3", Type: fleet.Requested}).Ops[0].Lease
		if l.Token.Index >= third.Token.Index {
			t.Fatalf("the new index %d does not lie in the lost history: the test shows nothing", l.Token.Index)
		}
		for host, store := range stores {
			if kept := store[id]; !kept.token.IsZero() && !l.Token.NewerThan(kept.token) {
				t.Errorf("host %s has stored %s, the new token of workload %s is %s", host, kept.token, id, l.Token)
			}
		}
		if !stores["h3"].admit(id, l.Token) {
			t.Errorf("host h3 does not admit the new token %s", l.Token)
		}
		for _, stale := range lost {
			if stale.Workload == id && stores["h3"].admit(id, stale.Token) {
				t.Errorf("host h3 admits the stale token %s after %s", stale.Token, l.Token)
			}
			w.apply(t, "h2", ReportPrepared{Lease: l.ID, Digest: "d", Token: stale.Token})
			if now, _ := restored.Lease(l.ID); now.State != fleet.Granted {
				t.Errorf("lease %s is %s on the word of a stale token", l.ID, now.State)
			}
		}
	}
}
