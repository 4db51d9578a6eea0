package fsm

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/placed-dev/placed/fleet"
)

// adjustable is a fleet at the newest level whose policy lets everything be changed
// in place.
func adjustable(t testing.TB) *world {
	w := newFleet(t)
	w.must(t, "h1", RaiseFeatureLevel{Level: FeatureLevel}, SetPolicy{Policy: inPlacePolicy()})
	return w
}

func adjust(id fleet.WorkloadID, kind fleet.AdjustmentKind, before, want int64) Adjust {
	return Adjust{Adjustment: fleet.Adjustment{Workload: id, Kind: kind, Before: before, Want: want, Since: epoch, Reason: "test"}}
}

func memoryOf(w *world, id fleet.WorkloadID) int64 {
	booked, _ := w.state.Workload(id)
	return booked.Reservation.Memory
}

// A reservation falls only when the guest has given its memory, stays down when the
// host reports the workload again, and rises before the guest gets it back.
func TestBalloonKeepsTheBooks(t *testing.T) {
	w := adjustable(t)
	w.must(t, "h1", adjust("w1", fleet.Balloon, 8*gib, 6*gib))
	if memoryOf(w, "w1") != 8*gib {
		t.Errorf("asking alone changed the reservation to %d", memoryOf(w, "w1"))
	}
	if err := w.apply(t, "h1", ReportAdjusted{Workload: "w1", Kind: fleet.Balloon, State: fleet.AdjustmentApplied, Given: 3 * gib}).Refused(); !errors.Is(err, ErrRule) {
		t.Errorf("more was given than asked for: %v", err)
	}
	if err := w.apply(t, "h2", ReportAdjusted{Workload: "w1", Kind: fleet.Balloon, State: fleet.AdjustmentApplied, Given: gib}).Refused(); !errors.Is(err, ErrProposer) {
		t.Errorf("another host's word was taken: %v", err)
	}
	w.must(t, "h1", ReportAdjusted{Workload: "w1", Kind: fleet.Balloon, State: fleet.AdjustmentApplied, Given: 2 * gib})
	w.must(t, "h1", RegisterWorkloads{Host: "h1", Workloads: []fleet.Workload{instance("w1", 8*gib)}})
	if memoryOf(w, "w1") != 6*gib {
		t.Errorf("after the guest gave 2 GiB of 8, %d are reserved", memoryOf(w, "w1"))
	}
	// Somebody takes the room: 6 + 4 + 40 of 64 are held, 13 more are asked for.
	w.must(t, "h2", RegisterWorkloads{Host: "h2", Workloads: []fleet.Workload{instance("w7", 13*gib)}})
	w.must(t, "h1", Grant{Workload: "w7", Destination: "h1", Type: fleet.Requested})
	if err := w.apply(t, "h1", EndAdjustment{Workload: "w1", Kind: fleet.Balloon}).Refused(); !errors.Is(err, ErrCapacity) {
		t.Errorf("memory was promised twice: %v", err)
	}
	if a := w.state.Adjustments(); len(a) != 1 || a[0].State != fleet.AdjustmentApplied || memoryOf(w, "w1") != 6*gib {
		t.Errorf("a refused end changed %+v", a)
	}
	l, _ := w.state.LeaseOf("w7")
	w.must(t, "h1", Release{Lease: l.ID})
	w.must(t, "h1", EndAdjustment{Workload: "w1", Kind: fleet.Balloon, Reason: "room"})
	if memoryOf(w, "w1") != 8*gib {
		t.Errorf("before the guest gets its memory %d are reserved", memoryOf(w, "w1"))
	}
	w.must(t, "h1", ReportAdjusted{Workload: "w1", Kind: fleet.Balloon, State: fleet.AdjustmentEnding})
	if a := w.state.Adjustments(); len(a) != 0 {
		t.Errorf("what was taken back is still there: %+v", a)
	}
	checkBooks(t, w.state)
}

// A vCPU is reserved before it is added, and only if it fits.
func TestVCPUsAreReservedFirst(t *testing.T) {
	w := adjustable(t)
	if err := w.apply(t, "h1", adjust("w1", fleet.VCPUs, 1, 8)).Refused(); !errors.Is(err, ErrCapacity) {
		t.Errorf("8 cores for one of three on a host of 8: %v", err)
	}
	w.must(t, "h1", adjust("w1", fleet.VCPUs, 1, 2))
	if b, _ := w.state.Workload("w1"); b.Reservation.CPU != 2000 {
		t.Errorf("two vCPUs reserve %d millicores", b.Reservation.CPU)
	}
	w.must(t, "h1", ReportAdjusted{Workload: "w1", Kind: fleet.VCPUs, State: fleet.AdjustmentFailed, Reason: "the guest refuses"})
	if b, _ := w.state.Workload("w1"); b.Reservation.CPU != 500 {
		t.Errorf("after the failure %d millicores are reserved", b.Reservation.CPU)
	}
	if err := w.apply(t, "h1", adjust("w1", fleet.VCPUs, 1, 2)).Refused(); !errors.Is(err, ErrState) {
		t.Errorf("what failed is asked for again before it was ended: %v", err)
	}
	w.must(t, "h1", EndAdjustment{Workload: "w1", Kind: fleet.VCPUs})
	w.must(t, "h1", adjust("w1", fleet.VCPUs, 1, 2))
	checkBooks(t, w.state)
}

func TestAdjustIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		before []Operation
		op     Operation
		want   error
	}{
		"automation":     {[]Operation{SetPolicy{Policy: fleet.DefaultPolicy()}}, adjust("w1", fleet.CPUWeight, 100, 200), ErrRule},
		"switched off":   {[]Operation{SetPolicy{Policy: autoPolicy()}}, adjust("w1", fleet.CPUWeight, 100, 200), ErrRule},
		"under a lease":  {[]Operation{Grant{Workload: "w1", Destination: "h2", Type: fleet.Requested}}, adjust("w1", fleet.CPUWeight, 100, 200), ErrLeaseHeld},
		"twice":          {[]Operation{adjust("w1", fleet.CPUWeight, 100, 200)}, adjust("w1", fleet.CPUWeight, 100, 300), ErrState},
		"no change":      {nil, adjust("w1", fleet.CPUWeight, 100, 100), ErrRule},
		"nobody":         {nil, adjust("w99", fleet.CPUWeight, 100, 200), ErrNotFound},
		"end of nothing": {nil, EndAdjustment{Workload: "w1"}, ErrNotFound},
		"no feature":     {nil, SetThresholds{Thresholds: fleet.WorkloadThresholds{Workload: "w1", Thresholds: []fleet.FeatureThreshold{{Metric: "cpu", Limit: 1, Clear: 900}}}}, ErrRule},
		"deadline":       {nil, SetHostState{Host: "h1", State: fleet.HostActive, DrainBy: epoch}, ErrRule},
	} {
		w := adjustable(t)
		for _, op := range test.before {
			w.must(t, "h1", op)
		}
		if err := w.apply(t, "h1", test.op).Refused(); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

func autoPolicy() fleet.Policy {
	p := fleet.DefaultPolicy()
	p.Automation = fleet.Auto
	return p
}

// A feature stays one when its host, which does not know of it, reports it again;
// its thresholds end with it.
func TestFeatureAndDeadlineStay(t *testing.T) {
	w := adjustable(t)
	limits := fleet.WorkloadThresholds{Workload: "w1", Thresholds: []fleet.FeatureThreshold{{Metric: "latency_ms", Limit: 20_000, Clear: 900, Hold: time.Minute}}}
	w.must(t, "h1", SetFeature{Workload: "w1", Instance: "vm1"}, SetThresholds{Thresholds: limits}, SetHostState{Host: "h3", State: fleet.HostDraining, DrainBy: epoch.Add(time.Hour)})
	w.must(t, "h1", RegisterWorkloads{Host: "h1", Workloads: []fleet.Workload{instance("w1", 9*gib)}})
	w.must(t, "h3", RegisterHost{Host: host("h3", 32*gib)})
	if b, _ := w.state.Workload("w1"); b.Kind != fleet.Feature || b.Instance != "vm1" || b.Reservation.Memory != 9*gib {
		t.Errorf("after its host's report: %+v", b)
	}
	if by := w.state.DrainBy("h3"); !by.Equal(epoch.Add(time.Hour)) {
		t.Errorf("the deadline is %s", by)
	}
	w.must(t, "h3", SetHostState{Host: "h3", State: fleet.HostActive})
	if !w.state.DrainBy("h3").IsZero() {
		t.Error("an active host has a deadline")
	}
	w.must(t, "h1", adjust("w1", fleet.CPUWeight, 100, 200), DeregisterWorkload{Workload: "w1"})
	if len(w.state.Thresholds())+len(w.state.Adjustments()) != 0 {
		t.Error("a workload that is gone has thresholds or adjustments")
	}
	checkBooks(t, w.state)
}

// Whatever is asked for, applied, taken back and moved in any order: no command of
// ours brings a host further above its capacity, the sums stay right, and a restored
// snapshot goes on the same.
func TestAdjustmentsInRandomHistories(t *testing.T) {
	var adjusted, given, ended, moved int
	outer := t
	rapid.Check(t, func(t *rapid.T) {
		dice := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		roll := func(n int) int { return dice.IntN(n) }
		w := adjustable(outer)
		ids := []fleet.WorkloadID{"w1", "w2", "w3"}
		for range 60 {
			id := ids[roll(3)]
			booked, _ := w.state.Workload(id)
			kind := fleet.AdjustmentKind(roll(4))
			from, op := fleet.HostID("h1"), Operation(EndAdjustment{Workload: id, Kind: kind})
			observed := false
			switch roll(8) {
			case 0, 1:
				amounts := [][2]int64{{100, 400}, {1000, 2000}, {1, int64(2 + roll(5))}, {booked.Reservation.Memory, booked.Reservation.Memory - gib}}[kind]
				op = adjust(id, kind, amounts[0], amounts[1])
			case 2, 3:
				from = booked.Owner
				op = ReportAdjusted{Workload: id, Kind: kind, State: fleet.AdjustmentState(1 + roll(3)), Given: int64(roll(3)) * gib / 2}
			case 4:
				from, observed = booked.Owner, true
				op = RegisterWorkloads{Host: booked.Owner, Workloads: []fleet.Workload{instance(string(id), int64(2+roll(30))*gib)}}
			case 5:
				op = Grant{Workload: id, Destination: []fleet.HostID{"h1", "h2", "h3"}[roll(3)], Type: fleet.Requested}
			case 6:
				if l, ok := w.state.LeaseOf(id); ok {
					from, op = l.Source, finish(l)
					if l.State == fleet.Transferring || l.State == fleet.Committed {
						from = l.Destination
					}
				}
			}
			before := map[fleet.HostID]fleet.Vector{}
			for _, h := range w.state.Hosts() {
				before[h.ID] = excessOf(w.state, h.ID)
			}
			accepted := w.apply(outer, from, op).Refused() == nil
			checkBooks(t, w.state)
			for _, h := range w.state.Hosts() {
				if worse, grown := before[h.ID].Lacks(excessOf(w.state, h.ID)); grown && !observed {
					t.Fatalf("%#v brought %s of %s further above its capacity", op, worse, h.ID)
				}
			}
			if accepted {
				switch o := op.(type) {
				case Adjust:
					adjusted++
				case EndAdjustment:
					ended++
				case ReportAdjusted:
					given += int(o.Given)
				case Commit:
					moved++
				}
			}
		}
		restored, err := Restore(bytes.NewReader(snapshotBytes(outer, w.state)))
		if err != nil {
			t.Fatal(err)
		}
		if restored.Hash() != w.state.Hash() {
			t.Fatal("a restored state has another hash")
		}
	})
	if adjusted == 0 || given == 0 || ended == 0 || moved == 0 {
		t.Errorf("the histories adjusted %d times, gave %d bytes, ended %d, moved %d", adjusted, given, ended, moved)
	}
}

// finish is the next step of a lease on its way to its end.
func finish(l fleet.Lease) Operation {
	switch l.State {
	case fleet.Granted:
		return Begin{Lease: l.ID, Token: l.Token}
	case fleet.Transferring:
		return ReportPrepared{Lease: l.ID, Digest: "d", Token: l.Token}
	case fleet.Prepared:
		return Commit{Lease: l.ID, Digest: "d", Token: l.Token}
	case fleet.Committed:
		return ReportActivated{Lease: l.ID}
	}
	return ReportReleased{Lease: l.ID}
}
