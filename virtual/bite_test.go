package virtual

import (
	"bytes"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/hashicorp/raft"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
)

// TestDiskForgets: after a power cut a disk holds what a sync has returned for,
// and of the rest a beginning at most.
func TestDiskForgets(t *testing.T) {
	torn := 0
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			d := newDisk(seed)
			s := openLogs(d.open(), func(*raft.Log) {})
			entries := func(low, high uint64) (out []*raft.Log) {
				for i := low; i <= high; i++ {
					out = append(out, &raft.Log{Index: i, Term: 1, Data: bytes.Repeat([]byte{byte(i)}, 40)})
				}
				return out
			}
			if err := s.StoreLogs(entries(1, 5)); err != nil {
				t.Fatal(err)
			}
			d.set(time.Hour, false, false)
			go func() { _ = s.StoreLogs(entries(6, 9)) }()
			time.Sleep(time.Second)
			if last, _ := s.LastIndex(); last != 9 {
				t.Errorf("a process reads what it has written up to %d", last)
			}
			d.cut()
			again := openLogs(d.open(), func(*raft.Log) {})
			last, _ := again.LastIndex()
			if last < 5 || last > 9 {
				t.Errorf("entries up to %d survived", last)
			}
			if last < 9 {
				torn++
			}
			for i := uint64(1); i <= last; i++ {
				var l raft.Log
				if err := again.GetLog(i, &l); err != nil || l.Index != i || !bytes.Equal(l.Data, bytes.Repeat([]byte{byte(i)}, 40)) {
					t.Errorf("entry %d came back as %+v, %v", i, l, err)
				}
			}
		})
	}
	if torn == 0 {
		t.Error("no power cut ever lost anything")
	}
}

// TestDeletedEntriesStayDeleted: a truncation is part of what a disk remembers.
func TestDeletedEntriesStayDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(1)
		s := openLogs(d.open(), func(*raft.Log) {})
		for i := uint64(1); i <= 9; i++ {
			if err := s.StoreLog(&raft.Log{Index: i, Term: 1}); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.DeleteRange(1, 3); err != nil {
			t.Fatal(err)
		}
		if err := s.DeleteRange(8, 9); err != nil {
			t.Fatal(err)
		}
		d.cut()
		again := openLogs(d.open(), func(*raft.Log) {})
		first, _ := again.FirstIndex()
		last, _ := again.LastIndex()
		if first != 4 || last != 7 {
			t.Errorf("entries %d to %d are left, want 4 to 7", first, last)
		}
	})
}

// TestNewTermsAreNoticed: what waits for a vote is told of each new term, also
// after a power cut, and not of the term that a starting raft writes again.
func TestNewTermsAreNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, noticed := newDisk(1), 0
		write := func(s *voteStore, term uint64, want int) {
			t.Helper()
			if err := s.SetUint64([]byte("CurrentTerm"), term); err != nil {
				t.Fatal(err)
			}
			if noticed != want {
				t.Errorf("term %d: %d terms were noticed, want %d", term, noticed, want)
			}
		}
		s := openVote(d.open(), func() { noticed++ })
		write(s, 4, 1)
		write(s, 4, 1)
		d.cut()
		s = openVote(d.open(), func() { noticed++ })
		write(s, 4, 1)
		write(s, 5, 2)
		if err := s.Set([]byte("LastVoteCand"), []byte("h1")); err != nil || noticed != 2 {
			t.Errorf("a vote counts as a term (%d noticed), %v", noticed, err)
		}
	})
}

// TestModelBites: the model takes a history that can be explained and refuses a
// stale read, a grant above the capacity and a figure that never was.
func TestModelBites(t *testing.T) {
	initial := map[fleet.HostID]books{"h1": {{"w1", roomPerHost - 5}}}
	at := func(call, end int64, s step) porcupine.Operation {
		s.host = "h1"
		return porcupine.Operation{Input: s, Call: call, Return: end}
	}
	grant := at(1, 2, step{kind: add, workload: "w2", memory: 4})
	both := books{{"w1", roomPerHost - 5}, {"w2", 4}}
	for name, c := range map[string]struct {
		ops  []porcupine.Operation
		want bool
	}{
		"read after":         {[]porcupine.Operation{grant, at(3, 4, step{kind: look, books: both})}, true},
		"concurrent read":    {[]porcupine.Operation{grant, at(1, 4, step{kind: look, books: initial["h1"]})}, true},
		"stale read":         {[]porcupine.Operation{grant, at(3, 4, step{kind: look, books: initial["h1"]})}, false},
		"refused":            {[]porcupine.Operation{grant, at(3, 4, step{kind: short, workload: "w3", memory: 2, free: 1})}, true},
		"refused with room":  {[]porcupine.Operation{grant, at(3, 4, step{kind: short, workload: "w3", memory: 1, free: 1})}, false},
		"wrong figure":       {[]porcupine.Operation{grant, at(3, 4, step{kind: short, workload: "w3", memory: 9, free: 5})}, false},
		"above the capacity": {[]porcupine.Operation{grant, at(3, 4, step{kind: add, workload: "w3", memory: 2})}, false},
		"freed in between": {[]porcupine.Operation{grant, at(3, 4, step{kind: remove, workload: "w2"}),
			at(5, 6, step{kind: add, workload: "w3", memory: 5})}, true},
	} {
		if got := porcupine.CheckOperations(model(initial), c.ops); got != c.want {
			t.Errorf("%s: linearizable is %t", name, got)
		}
	}
}

// TestJudgeBites: the judge finds what it is there to find.
func TestJudgeBites(t *testing.T) {
	lease := func(state fleet.LeaseState, discarded bool) *fleet.Lease {
		return &fleet.Lease{ID: "L5", Workload: "w1", Source: "h1", Destination: "h2", State: state, Discarded: discarded, Digest: "d",
			Token: fleet.Token{Cluster: "c", Generation: 1, Index: 5}, Reservation: fleet.Vector{Memory: 9}}
	}
	for name, c := range map[string]struct {
		from   fleet.LeaseState
		by     fleet.HostID
		op     fsm.Operation
		to     *fleet.Lease
		broken bool
	}{
		"begin by the source":         {fleet.Granted, "h1", fsm.Begin{Lease: "L5"}, lease(fleet.Transferring, false), false},
		"begin by the destination":    {fleet.Granted, "h2", fsm.Begin{Lease: "L5"}, lease(fleet.Transferring, false), true},
		"begin under an old token":    {fleet.Granted, "h1", fsm.Begin{Lease: "L5", Token: fleet.Token{Cluster: "c", Generation: 1, Index: 4}}, lease(fleet.Transferring, false), true},
		"commit by the source":        {fleet.Prepared, "h1", fsm.Commit{Lease: "L5", Digest: "d"}, lease(fleet.Committed, false), false},
		"commit by the destination":   {fleet.Prepared, "h2", fsm.Commit{Lease: "L5", Digest: "d"}, lease(fleet.Committed, false), true},
		"commit of what was not sent": {fleet.Prepared, "h1", fsm.Commit{Lease: "L5", Digest: "other"}, lease(fleet.Committed, false), true},
		"silence before the begin":    {fleet.Granted, "h1", fsm.Expire{Lease: "L5"}, lease(fleet.Aborted, true), false},
		"silence after it":            {fleet.Transferring, "h1", fsm.Expire{Lease: "L5"}, lease(fleet.Uncertain, false), false},
		"silence after it frees":      {fleet.Transferring, "h1", fsm.Expire{Lease: "L5"}, lease(fleet.Aborted, true), true},
		"silence settles":             {fleet.Uncertain, "h1", fsm.Expire{Lease: "L5"}, lease(fleet.Aborted, true), true},
		"one end settles":             {fleet.Uncertain, "h1", fsm.ObserveOwner{Lease: "L5", Host: "h1", Seen: fsm.SeenRunning}, lease(fleet.Aborted, true), true},
		"abort frees at once":         {fleet.Prepared, "h1", fsm.Abort{Lease: "L5"}, lease(fleet.Aborted, true), true},
		"abort waits for the report":  {fleet.Prepared, "h1", fsm.Abort{Lease: "L5"}, lease(fleet.Aborted, false), false},
	} {
		j := newJudge(func() {})
		j.operation(5, fsm.Header{Proposer: "h1"}, fsm.Grant{Workload: "w1", Destination: "h2"}, fsm.OpResult{Lease: lease(fleet.Granted, false)})
		j.books.leases["L5"].State = c.from
		j.operation(6, fsm.Header{Proposer: c.by}, c.op, fsm.OpResult{Lease: c.to})
		if got := len(j.verdicts) > 0; got != c.broken {
			t.Errorf("%s: verdicts %v", name, j.verdicts)
		}
	}
	j := newJudge(func() {})
	for i := range 2 {
		j.operation(uint64(5+i), fsm.Header{Proposer: "h1"}, fsm.Grant{Workload: "w1", Destination: "h2"}, fsm.OpResult{Lease: lease(fleet.Granted, false)})
	}
	if len(j.verdicts) != 2 { // two leases, and a token that is not newer
		t.Errorf("a second lease: %v", j.verdicts)
	}
	j = newJudge(func() {})
	j.stored("h1", &raft.Log{Index: 3, Term: 2, Data: []byte("a")})
	j.stored("h2", &raft.Log{Index: 3, Term: 3, Data: []byte("b")})
	if len(j.verdicts) != 0 {
		t.Error(j.verdicts)
	}
	j.stored("h3", &raft.Log{Index: 3, Term: 2, Data: []byte("b")})
	if len(j.verdicts) != 1 {
		t.Error("two entries of one index and term went unnoticed")
	}
}

// TestOnlyForgottenAnswersMayStay: what a bubble leaves behind is looked at.
func TestOnlyForgottenAnswersMayStay(t *testing.T) {
	if forgotten("deadlock: all goroutines in bubble are blocked", "") {
		t.Error("a deadlock passes for a forgotten answer")
	}
	left, bubble := "", ""
	func() {
		defer func() { left = fmt.Sprint(recover()) }()
		synctest.Test(t, func(*testing.T) {
			bubble = thisBubble()
			go func() { <-make(chan int) }()
		})
	}()
	if left == "" || forgotten(left, bubble) {
		t.Errorf("a leaked goroutine passes for a forgotten answer: %q", left)
	}
}
