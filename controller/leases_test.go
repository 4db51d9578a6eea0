package controller

import (
	"testing"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// TestLateRenewal: a renewal in time keeps a lease, one that comes when its end
// has been asked for is refused, and one before the next term counts again.
func TestLateRenewal(t *testing.T) {
	start := time.Now()
	after := func(d time.Duration) time.Time { return start.Add(d) }
	clock := newLeaseClock(start, LeaseTTL)
	active := []fleet.Lease{{ID: "L1", State: fleet.Transferring}, {ID: "L2", State: fleet.Transferring}}
	if ended := clock.expired(active, after(time.Second)); len(ended) != 0 {
		t.Fatalf("%v ended at once", ended)
	}
	if err := clock.renew("L1", after(50*time.Second)); err != nil {
		t.Fatal(err)
	}
	late := after(LeaseTTL + LeaseTTL/100 + expireMargin + time.Second)
	if ended := clock.expired(active, late); len(ended) != 1 || ended[0] != "L2" {
		t.Fatalf("ended: %v, want L2", ended)
	}
	if err := clock.renew("L2", late); err == nil {
		t.Error("a renewal was answered well while the lease is being ended")
	}
	if err := clock.renew("L1", late); err != nil {
		t.Error(err)
	}
	if ended := clock.expired(active[:1], late); len(ended) != 0 {
		t.Errorf("%v ended after a renewal", ended)
	}
	if err := newLeaseClock(late, LeaseTTL).renew("L2", late); err != nil {
		t.Errorf("a new leader: %v", err)
	}
}
